"""Every failure of the vendor libraries is transient, permanent or ambiguous, by class and status, never by text."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import SimpleNamespace
from typing import Any

import keystoneauth1.exceptions as ka
import pytest
import requests.exceptions as rq
from openstack import exceptions as sdk
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError

from jetrun.cloud.classify import by_status, meaning, of_answer, of_exception, translated
from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, CloudTransient


def vendor_classes() -> list[type[Exception]]:
    """Every exception that the vendors have, those included that no package exports."""
    modules = [sdk, rq]
    modules += [importlib.import_module(one.name) for one in pkgutil.iter_modules(ka.__path__, f"{ka.__name__}.")]
    found = {
        one
        for module in (ka, *modules)
        for _, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, Exception) and one.__module__.partition(".")[0] in {"keystoneauth1", "openstack", "requests"}
    }
    return sorted(found, key=lambda one: f"{one.__module__}.{one.__name__}")


@pytest.mark.parametrize("kind", vendor_classes(), ids=lambda one: f"{one.__module__}.{one.__name__}")
def test_no_vendor_exception_is_left_to_chance(kind: type[Exception]) -> None:
    """A class that a later version adds fails here until somebody has thought about it."""
    assert meaning(kind) is not None


def test_a_class_that_nobody_thought_about_is_noticed() -> None:
    """Or the test above could not fail."""
    assert len(vendor_classes()) > 80
    assert meaning(RuntimeError) is None
    assert meaning(type("Later", (ka.ClientException,), {})) is None
    assert meaning(type("Later", (sdk.SDKException,), {})) is None


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


def as_keystoneauth_raises(inner: Exception, kind: type[Exception] = ka.ConnectFailure) -> Exception:
    """While the inner one is handled, without ``from``. Source: keystoneauth1.session, _send_request."""
    try:
        try:
            raise inner
        except rq.RequestException:
            raise kind("Unable to establish connection")  # noqa: B904
    except kind as error:
        return error


@pytest.mark.parametrize(
    "inner",
    [
        rq.ConnectionError(MaxRetryError(None, "/", NewConnectionError(None, "refused"))),  # type: ignore[arg-type]
        rq.ConnectTimeout(MaxRetryError(None, "/", ConnectTimeoutError("late"))),  # type: ignore[arg-type]
    ],
    ids=["refused", "no-connection-in-time"],
)
def test_a_request_without_a_connection_was_never_sent(inner: Exception) -> None:
    """Nothing was listening: the write never left."""
    assert isinstance(of_exception(as_keystoneauth_raises(inner), call="asking", writes=True), CloudTransient)


@pytest.mark.parametrize(
    "inner",
    [
        rq.ReadTimeout(ReadTimeoutError(None, "/", "late")),  # type: ignore[arg-type]
        rq.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))),
        rq.ChunkedEncodingError("cut"),
        rq.SSLError("cut"),
    ],
    ids=["read-time-out", "reset", "answer-cut", "tls"],
)
def test_a_request_on_a_connection_may_have_arrived(inner: Exception) -> None:
    """What happened to it is only known by looking."""
    assert isinstance(of_exception(as_keystoneauth_raises(inner), call="asking", writes=True), CloudAmbiguous)


def test_an_older_refusal_being_handled_does_not_make_a_write_harmless() -> None:
    """A shutdown is asked for where a failed read is handled: the read's refused connection is in the write's chain."""
    refused = rq.ConnectionError(MaxRetryError(None, "/", NewConnectionError(None, "refused")))  # type: ignore[arg-type]
    late = rq.ReadTimeout(ReadTimeoutError(None, "/", "late"))  # type: ignore[arg-type]
    try:
        raise as_keystoneauth_raises(refused)
    except ka.ConnectFailure:
        error = as_keystoneauth_raises(late, ka.ConnectTimeout)
    assert isinstance(of_exception(error, call="asking", writes=True), CloudAmbiguous)


@pytest.mark.parametrize("status", range(300, 600))
def test_every_status_of_a_write_is_classified(status: int) -> None:
    """Only clear refusals are no effect; every 5xx may have had one (seen: a 503 on create that made the instance)."""
    kind = by_status(status, writes=True)
    if status in {409, 429}:
        assert kind is CloudTransient
    elif status >= 500:
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

    return SimpleNamespace(status_code=status, headers=headers, json=json, text="")


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


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_a_login_that_keystone_cannot_answer_now_is_worth_another_try(status: int) -> None:
    """Also before a write: nothing of it was sent."""
    error = of_exception(ka.from_response(answer(status, None), "POST", "/"), call="asking", writes=True)
    assert isinstance(error, CloudTransient)
    assert error.status == status


def test_a_404_that_no_service_gave_proves_nothing() -> None:
    """A proxy that lost its way would otherwise prove a deletion."""
    for body in (None, [], {}, {"message": "no Route matched"}, "gone"):
        error = of_answer(answer(404, body), call="reading", writes=False)
        assert isinstance(error, CloudTransient), body
    own = {"itemNotFound": {"code": 404, "message": "Instance x could not be found."}}
    assert isinstance(of_answer(answer(404, own), call="reading", writes=False), CloudPermanent)


def test_what_the_cloud_repeats_of_the_request_is_cut() -> None:
    """Nova's sentence about a field that it refuses has the whole field in it: user data is nobody's to read."""
    data = "c2VjcmV0" * 20
    body = {
        "badRequest": {"code": 400, "message": f"Invalid input for field user_data.\nValue: {data}. {data} is too long"}
    }
    error = of_answer(answer(400, body), call="making an instance", writes=True)
    assert "c2VjcmV0" not in error.what
    assert "user_data" in error.what
    assert "\n" not in error.what


def test_an_answer_that_cannot_be_understood_hides_no_effect() -> None:
    """HTML from a portal, or JSON without the field."""
    for error in (rq.JSONDecodeError("x", "y", 0), KeyError("server"), ka.InvalidResponse(answer(200, None))):
        assert isinstance(of_exception(error, call="making", writes=True), CloudAmbiguous)
        assert isinstance(of_exception(error, call="reading", writes=False), CloudTransient)


def test_no_text_of_a_vendor_reaches_the_user() -> None:
    """It may hold an address with a token, or a password of the configuration (invariant 9)."""
    for kind in (ka.ConnectFailure, ka.AuthorizationFailure, ka.EndpointNotFound, sdk.ConfigException, RuntimeError):
        for writes in (True, False):
            assert "hunter2" not in of_exception(kind("hunter2"), call="asking", writes=writes).render()


def test_our_own_errors_go_through_unchanged() -> None:
    """They are classified already."""
    with pytest.raises(CloudError) as caught, translated("x", writes=True):
        raise CloudPermanent(what="said")
    assert caught.value.what == "said"
