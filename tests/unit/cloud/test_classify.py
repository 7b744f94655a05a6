"""Every failure of the vendor libraries is transient, permanent or ambiguous, by class and status, never by text."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import keystoneauth1.exceptions as ka
import pytest
import requests.exceptions
from openstack import exceptions as sdk
from urllib3.exceptions import NewConnectionError

from jetrun.cloud.classify import by_status, of_answer, of_exception, translated
from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, CloudTransient


def vendor_classes() -> list[type[Exception]]:
    found = []
    for module in (ka, sdk, requests.exceptions):
        found += [one for _, one in inspect.getmembers(module, inspect.isclass) if issubclass(one, Exception)]
    return sorted(set(found), key=lambda one: f"{one.__module__}.{one.__name__}")


def made(kind: type[Exception]) -> Exception:
    """An instance, whatever its constructor wants."""
    for arguments in ((), ("text",), ("text", "more"), ("a", "b", "c")):
        try:
            return kind(*arguments)
        except (TypeError, AttributeError):
            continue
    one = kind.__new__(kind)
    Exception.__init__(one, "text")
    return one


@pytest.mark.parametrize("kind", vendor_classes(), ids=lambda one: f"{one.__module__}.{one.__name__}")
def test_every_vendor_exception_is_one_of_the_three(kind: type[Exception]) -> None:
    """A class that a later version adds is caught too: what is not known may have taken effect."""
    error = made(kind)
    for writes in (True, False):
        found = of_exception(error, call="doing it", writes=writes)
        assert type(found) in {CloudTransient, CloudPermanent, CloudAmbiguous}
        assert found.what
        assert found.next
        if not writes:
            assert not isinstance(found, CloudAmbiguous), "a read has no effect"


def test_a_write_that_may_have_arrived_is_ambiguous() -> None:
    """keystoneauth calls a read time-out a connect time-out, and would retry it."""
    for error in (
        ka.ConnectTimeout(),
        ka.ConnectFailure(),
        ka.UnknownConnectionError("x", Exception()),
        RuntimeError("odd"),
    ):
        assert isinstance(of_exception(error, call="asking", writes=True), CloudAmbiguous)


def test_a_connection_that_was_refused_carried_nothing() -> None:
    """Nothing was listening: the write never left."""
    refused = ka.ConnectFailure("refused")
    refused.__cause__ = requests.exceptions.ConnectionError(NewConnectionError(None, "refused"))  # type: ignore[arg-type]
    assert isinstance(of_exception(refused, call="asking", writes=True), CloudTransient)


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_of_a_write_is_classified(status: int) -> None:
    """Only clear refusals are no effect; every 5xx may have had one (seen: a 503 on create that made the instance)."""
    kind = by_status(status, writes=True)
    if status in {409, 429}:
        assert kind is CloudTransient
    elif status >= 500 and status not in {501, 505}:
        assert kind is CloudAmbiguous
    elif status in {400, 401, 403, 404, 412, 413}:
        assert kind is CloudPermanent
    assert by_status(status, writes=False) is not CloudAmbiguous


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_a_read_is_worth_repeating_after_a_passing_failure(status: int) -> None:
    """Nothing can go wrong by reading again."""
    assert by_status(status, writes=False) is CloudTransient


def answer(status: int, body: Any, **headers: str) -> Any:
    def json() -> Any:
        if body is None:
            raise ValueError("no JSON")
        return body

    return SimpleNamespace(status_code=status, headers=headers, json=json)


def test_an_answer_keeps_its_status_request_id_and_sentence() -> None:
    """For the help desk."""
    body = {"conflictingRequest": {"code": 409, "message": "Instance x is locked"}}
    error = of_answer(answer(409, body, **{"x-openstack-request-id": "req-7"}), call="asking", writes=True)
    assert (error.status, error.request_id) == (409, "req-7")
    assert "Instance x is locked" in error.what
    assert of_answer(answer(502, None), call="asking", writes=True).status == 502
    assert of_answer(answer(500, ["odd"]), call="asking", writes=True).what


def test_a_deleted_application_credential_says_so() -> None:
    """Keystone answers 404, not 401 (openstack-lab notes)."""
    error = of_exception(ka.NotFound("Could not find Application Credential: x"), call="logging in", writes=False)
    assert isinstance(error, CloudPermanent)
    assert error.code == "credential-gone"
    assert error.status == 401


def test_a_stray_project_beside_an_application_credential_is_explained() -> None:
    """The commonest mistake with openrc files (PEERS.md 5.a)."""
    error = of_exception(
        ka.Unauthorized("Application credentials cannot request a scope."), call="logging in", writes=False
    )
    assert "unset OS_PROJECT_ID" in error.next


def test_our_own_errors_go_through_unchanged() -> None:
    """They are classified already."""
    with pytest.raises(CloudError) as caught, translated("x", writes=True):
        raise CloudPermanent(what="said")
    assert caught.value.what == "said"
