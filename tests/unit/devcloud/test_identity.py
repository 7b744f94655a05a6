"""Keystone's model refuses what is wrong, expired, deleted or not allowed, in the words in which Keystone does."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from model_lab import START, Counter

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
        (password(name=""), "id or name in user"),
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
