"""Application credentials: whom they let in, how they end, and that nothing ever makes one wider than it was made."""

from __future__ import annotations

from datetime import timedelta

import pytest
from model_lab import START
from test_identity import DEFAULT, TIRED, Keystone, by_credential, password, refused

from jetrun.devcloud.errors import ApiError


@pytest.fixture
def keystone() -> Keystone:
    return Keystone()


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


def test_deleting_a_credential_never_prolongs_a_token(keystone):
    made = keystone.credential()
    secret = keystone.login(by_credential(id=made["id"], secret=made["secret"]))
    keystone.passes(3500)
    keystone.model.delete_credential(keystone.ada_in(), made["id"], keystone.now)
    keystone.passes(100)
    with refused(401):
        keystone.caller(secret)


def test_a_secret_of_ones_own_is_taken(keystone):
    made = keystone.credential(secret="my own words")
    assert made["secret"] == "my own words"
    keystone.login(by_credential(id=made["id"], secret="my own words"))


def test_the_staff_are_those_with_the_role_admin(keystone):
    keystone.model.add_user("root", "pw-root", keystone.lab, ["admin"])
    assert keystone.caller(keystone.login(password("root", "pw-root"))).is_admin
    assert not keystone.ada_in().is_admin


def test_another_users_access_rule_is_not_shared(keystone):
    rule = {"service": "compute", "method": "GET", "path": "/v2.1/servers/*"}
    (mine,) = keystone.credential(access_rules=[rule])["access_rules"]
    eve = keystone.caller(keystone.login(password("eve", "pw-eve", scope="other")))
    (theirs,) = keystone.model.create_credential(eve, {"name": "run", "access_rules": [rule]}, keystone.now)[
        "access_rules"
    ]
    assert mine["id"] != theirs["id"]
    with refused(404, "Could not find Access Rule"):
        keystone.model.create_credential(eve, {"name": "2", "access_rules": [{"id": mine["id"]}]}, keystone.now)


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
