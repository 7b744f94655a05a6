"""Keystone's model refuses what is wrong, expired, deleted or not allowed, in the words in which Keystone does."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from lab import START, Counter

from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.identity import UNAUTHORIZED, IdentityModel

TIRED = "The request you have made requires authentication."


class Keystone:
    """Two people of one project, one of another, in virtual time."""

    def __init__(self) -> None:
        self.model = IdentityModel(new_id=Counter(), token_life_s=3600, cache_s=300)
        self.lab, self.other = self.model.add_project("lab"), self.model.add_project("other")
        self.ada = self.model.add_user("ada", "pw-ada", self.lab, ["member", "reader"])
        self.eve = self.model.add_user("eve", "pw-eve", self.other, ["member"])
        self.model.grants[self.ada][self.other] = ["reader"]
        self.now = START

    def login(self, body: dict[str, Any], **more: Any) -> str:
        return self.model.authenticate({"auth": body}, self.now, **more)[0]

    def caller(self, secret: str) -> Any:
        return self.model.caller(secret, self.now)

    def ada_in(self) -> Any:
        return self.caller(self.login(password()))

    def credential(self, **wish: Any) -> dict[str, Any]:
        return self.model.create_credential(self.ada_in(), {"name": "run", **wish}, self.now)

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


DEFAULT = {"name": "Default"}


def password(user: str = "ada", word: str = "pw-ada", scope: Any = "lab", **who: Any) -> dict[str, Any]:
    by = who or {"name": user, "domain": DEFAULT}
    body: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": {**by, "password": word}}}}
    if isinstance(scope, str):
        scope = {"project": {"name": scope, "domain": DEFAULT}}
    return body | ({} if scope is None else {"scope": scope})


def by_credential(**who: Any) -> dict[str, Any]:
    return {"identity": {"methods": ["application_credential"], "application_credential": who}}


@pytest.fixture
def keystone() -> Keystone:
    return Keystone()


@contextmanager
def refused(status: int, message: str = TIRED) -> Iterator[None]:
    with pytest.raises(ApiError, match=message) as error:
        yield
    assert error.value.status == status


def test_a_password_gives_a_token_for_the_project_asked_for(keystone):
    caller = keystone.caller(keystone.login(password()))
    assert (caller.user_name, caller.project_name, caller.roles) == ("ada", "lab", {"member", "reader"})
    elsewhere = keystone.caller(keystone.login(password(scope="other")))
    assert (elsewhere.project_name, elsewhere.roles) == ("other", {"reader"})


def test_a_user_and_a_project_can_be_named_by_id(keystone):
    body = password(scope={"project": {"id": keystone.other}}, id=keystone.ada)
    assert keystone.caller(keystone.login(body)).project_id == keystone.other


def test_without_a_scope_it_is_the_users_own_project(keystone):
    assert keystone.caller(keystone.login(password(scope=None))).project_id == keystone.lab


@pytest.mark.parametrize(
    "body",
    [
        password(word="guess"),
        password(word=""),
        password(user="nobody"),
        password(user="eve"),
        password(name="ada", domain={"name": "elsewhere"}),
        password(id="no-such-id"),
        password(scope="no-such-project"),
        password(scope={"project": {"name": "lab", "domain": {"id": "elsewhere"}}}),
        password(scope={"system": {"all": True}}),
        password("eve", "pw-eve", scope="lab"),
        {"identity": {"methods": ["totp"]}},
        {"identity": {"methods": ["token"], "token": {"id": "no-such-token"}}},
    ],
    ids=lambda body: json.dumps(body)[-50:],
)
def test_a_wrong_login_is_refused_without_a_word_of_what_is_wrong(keystone, body):
    with pytest.raises(ApiError) as error:
        keystone.login(body)
    assert (error.value.status, error.value.message) == (401, TIRED)
    assert keystone.model.tokens == {}


@pytest.mark.parametrize(
    ("body", "missing"),
    [
        ({}, "identity in auth"),
        ({"identity": {"methods": ["password"]}}, "password in identity"),
        (password(name="ada"), "domain in user"),
        (password(scope={"project": {"name": "lab"}}), "domain in project"),
        (by_credential(secret="x"), "id or name in application credential"),
    ],
)
def test_what_is_no_login_is_a_bad_request(keystone, body, missing):
    with pytest.raises(ApiError, match=f"Expecting to find {missing}") as error:
        keystone.login(body)
    assert error.value.status == 400


def test_a_token_ends_when_its_time_is_over(keystone):
    secret = keystone.login(password())
    keystone.passes(3599.9)
    assert keystone.caller(secret).expires_at == START + timedelta(hours=1)
    keystone.passes(0.1)
    with refused(401):
        keystone.caller(secret)


def test_a_token_can_end_before_the_time_that_it_says(keystone):
    secret = keystone.login(password(), ends_after_s=2)
    assert keystone.caller(secret).expires_at == START + timedelta(hours=1)
    keystone.passes(2)
    with refused(401):
        keystone.caller(secret)


def test_every_token_can_be_ended_at_once(keystone):
    secrets = [keystone.login(password()) for _ in range(3)]
    assert len(set(secrets)) == 3
    keystone.model.expire_tokens()
    for secret in secrets:
        with refused(401):
            keystone.caller(secret)


def test_a_token_for_a_token_lives_no_longer_than_the_first(keystone):
    secret = keystone.login(password())
    keystone.passes(3000)
    again = keystone.login({"identity": {"methods": ["token"], "token": {"id": secret}}})
    keystone.passes(600)
    with refused(401):
        keystone.caller(again)


def test_ended_tokens_are_forgotten(keystone):
    for _ in range(3):
        keystone.login(password())
    keystone.passes(3600)
    keystone.login(password())
    assert len(keystone.model.tokens) == 1


def test_refusals_do_not_pile_up(keystone):
    """One exception object for all of them would keep the frames of every refusal for ever."""
    seen = []
    for _ in range(2):
        with pytest.raises(UNAUTHORIZED) as error:
            keystone.caller("nothing")
        seen.append(error.value)
    assert seen[0] is not seen[1]


def test_an_application_credential_logs_in_by_id_or_by_name_and_user(keystone):
    made = keystone.credential()
    for who in (
        {"id": made["id"]},
        {"name": "run", "user": {"id": keystone.ada}},
        {"name": "run", "user": {"name": "ada", "domain": DEFAULT}},
    ):
        caller = keystone.caller(keystone.login(by_credential(secret=made["secret"], **who)))
        assert (caller.user_id, caller.project_id, caller.app_credential_id) == (keystone.ada, keystone.lab, made["id"])


def test_an_application_credential_with_a_wrong_secret_is_refused(keystone):
    made = keystone.credential()
    with refused(401):
        keystone.login(by_credential(id=made["id"], secret="guess"))


@pytest.mark.parametrize("scope", [None, {}, {"project": {"name": "lab", "domain": DEFAULT}}])
def test_an_application_credential_cannot_request_a_scope_not_even_an_empty_one(keystone, scope):
    made = keystone.credential()
    with refused(401, "Application credentials cannot request a scope"):
        keystone.login({**by_credential(id=made["id"], secret=made["secret"]), "scope": scope})


def test_an_application_credential_of_another_project_follows_the_token_it_was_made_with(keystone):
    reader = keystone.caller(keystone.login(password(scope="other")))
    made = keystone.model.create_credential(reader, {"name": "reads"}, keystone.now)
    caller = keystone.caller(keystone.login(by_credential(id=made["id"], secret=made["secret"])))
    assert (caller.project_id, caller.roles) == (keystone.other, {"reader"})


def test_roles_taken_from_the_user_are_taken_from_the_credential(keystone):
    made = keystone.credential(roles=[{"name": "member"}])
    login = by_credential(id=made["id"], secret=made["secret"])
    assert keystone.caller(keystone.login(login)).roles == {"member"}
    keystone.model.grants[keystone.ada][keystone.lab] = ["reader"]
    with refused(401):
        keystone.login(login)


def test_an_expired_application_credential_is_refused_like_a_wrong_password(keystone):
    made = keystone.credential(expires_at="2026-11-20T12:10:00")
    login = by_credential(id=made["id"], secret=made["secret"])
    keystone.passes(599)
    keystone.login(login)
    keystone.passes(1)
    with pytest.raises(ApiError) as error:
        keystone.login(login)
    assert (error.value.status, error.value.message) == (401, TIRED)


def test_a_token_ends_with_its_credential_and_says_so_without_a_zone(keystone):
    """Keystone 22, token/provider.py: the one time that it writes without a Z. A client that reads local time is wrong."""
    made = keystone.credential(expires_at="2026-11-20T12:10:00")
    secret = keystone.login(by_credential(id=made["id"], secret=made["secret"]))
    assert keystone.model.token(secret, keystone.now)["expires_at"] == "2026-11-20T12:10:00"
    keystone.passes(599)
    assert keystone.caller(secret).expires_at == START + timedelta(minutes=10)
    keystone.passes(1)
    with refused(401):
        keystone.caller(secret)


def test_a_deleted_application_credential_is_not_found(keystone):
    made = keystone.credential()
    keystone.model.delete_credential(keystone.ada_in(), made["id"], keystone.now)
    with pytest.raises(ApiError) as error:
        keystone.login(by_credential(id=made["id"], secret=made["secret"]))
    assert (error.value.status, error.value.message) == (404, f"Could not find Application Credential: {made['id']}.")


def test_a_deleted_application_credential_by_name_is_an_error_of_the_server(keystone):
    """Keystone 22 takes the first of an empty list there: a client sees 500, and must not believe that it will pass."""
    with pytest.raises(ApiError) as error:
        keystone.login(by_credential(name="gone", user={"id": keystone.ada}, secret="x"))
    assert error.value.status == 500


def test_a_token_of_a_deleted_credential_works_until_the_caches_have_forgotten_it_and_is_no_wider(keystone):
    made = keystone.credential(access_rules=[{"service": "compute", "method": "GET", "path": "/v2.1/servers"}])
    secret = keystone.login(by_credential(id=made["id"], secret=made["secret"]))
    keystone.model.delete_credential(keystone.ada_in(), made["id"], keystone.now)
    keystone.passes(299)
    assert keystone.caller(secret).access_rules[0]["path"] == "/v2.1/servers"
    keystone.passes(1)
    with refused(401):
        keystone.caller(secret)


@pytest.mark.parametrize(("unrestricted", "may"), [(False, False), (True, True)])
def test_only_an_unrestricted_credential_makes_and_deletes_others(keystone, unrestricted, may):
    made = keystone.credential(unrestricted=unrestricted)
    caller = keystone.caller(keystone.login(by_credential(id=made["id"], secret=made["secret"])))
    if may:
        other = keystone.model.create_credential(caller, {"name": "other"}, keystone.now)
        keystone.model.delete_credential(caller, other["id"], keystone.now)
        return
    with refused(403, "You are not authorized to perform the requested action: Using method 'application_credential'"):
        keystone.model.create_credential(caller, {"name": "other"}, keystone.now)
    with refused(403, "You are not authorized"):
        keystone.model.delete_credential(caller, made["id"], keystone.now)
    assert list(keystone.model.credentials) == [made["id"]]


def test_a_credentials_token_cannot_be_exchanged(keystone):
    made = keystone.credential()
    secret = keystone.login(by_credential(id=made["id"], secret=made["secret"]))
    with refused(403, "You are not authorized .* delegated token"):
        keystone.login({"identity": {"methods": ["token"], "token": {"id": secret}}})


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({"name": ""}, 400),
        ({"name": "x" * 256}, 400),
        ({"expires_at": "tomorrow"}, 400),
        ({"expires_at": "2026-11-20T12:00:00"}, 400),
        ({"expires_at": "2026-11-20T13:30:00+02:00"}, 400),
        ({"roles": [{"name": "admin"}]}, 400),
        ({"access_rules": [{"service": "compute", "method": "LIST", "path": "/v2.1"}]}, 400),
        ({"access_rules": [{"service": "compute", "method": "GET", "path": "v2.1"}]}, 400),
        ({"access_rules": [{"id": "no-such-rule"}]}, 404),
    ],
)
def test_a_credential_that_cannot_be_is_not_made(keystone, wish, status):
    with pytest.raises(ApiError) as error:
        keystone.credential(**wish)
    assert error.value.status == status
    assert keystone.model.credentials == {}


def test_two_credentials_of_one_user_cannot_have_one_name(keystone):
    keystone.credential()
    with pytest.raises(ApiError) as error:
        keystone.credential()
    assert error.value.status == 409


@pytest.mark.parametrize("text", ["2026-11-20T14:00:00", "2026-11-20T14:00:00Z", "2026-11-20T16:00:00+02:00"])
def test_the_end_of_a_credential_is_shown_in_utc_without_saying_so(keystone, text):
    assert keystone.credential(expires_at=text)["expires_at"] == "2026-11-20T14:00:00.000000"


def test_access_rules_outlive_their_credential_and_are_shared_by_the_next(keystone):
    rule = {"service": "compute", "method": "GET", "path": "/v2.1/servers/*"}
    made = keystone.credential(access_rules=[rule])
    (key,) = keystone.model.rules
    with refused(403, "May not delete access rule in use"):
        keystone.model.delete_rule(key)
    keystone.model.delete_credential(keystone.ada_in(), made["id"], keystone.now)
    again = keystone.credential(access_rules=[rule])
    assert again["access_rules"] == [{"id": key, **rule}]
    by_id = keystone.model.create_credential(
        keystone.ada_in(), {"name": "2", "access_rules": [{"id": key}]}, keystone.now
    )
    assert by_id["access_rules"] == [{"id": key, **rule}]


def test_everything_survives_its_own_state(keystone):
    made = keystone.credential(access_rules=[{"service": "compute", "method": "GET", "path": "/v2.1/servers"}])
    secret = keystone.login(by_credential(id=made["id"], secret=made["secret"]))
    state = json.loads(json.dumps(keystone.model.to_state()))
    again = IdentityModel(new_id=Counter())
    again.from_state(state)
    assert again.caller(secret, keystone.now) == keystone.caller(secret)
    assert again.to_state() == keystone.model.to_state()


def test_a_copy_goes_its_own_way(keystone):
    secret = keystone.login(password())
    twin = copy.deepcopy(keystone.model)
    twin.expire_tokens()
    assert keystone.caller(secret).user_name == "ada"
    with refused(401):
        twin.caller(secret, keystone.now)
