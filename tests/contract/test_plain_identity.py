"""Application credentials with access rules, and Keystone's refusals, on the model, over HTTP and on a real Keystone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from plain_cloud import Reply
from plain_subjects import PlainSubject

MINE = "00000000-0000-4000-8000-00000000000a"
OTHER = "00000000-0000-4000-8000-00000000000b"
AUTHENTICATION = "401 The request you have made requires authentication."
FORM = "error(code,message,title)"


class Credential:
    """An application credential of the member's."""

    def __init__(self, plain: PlainSubject, name: str, rules: list[dict[str, str]]) -> None:
        self.cloud = plain.cloud
        me = plain.cloud.me()["user"]["id"]
        self.user = f"/users/{me}"
        self.path = f"{self.user}/application_credentials"
        wish = {"application_credential": {"name": name, "access_rules": rules}}
        reply = plain.cloud.call("identity", "POST", self.path, wish)
        assert reply.status == 201, reply
        self.row: dict[str, Any] = reply.body["application_credential"]
        about = {"id": self.row["id"], "secret": self.row["secret"]}
        self.auth = {"identity": {"methods": ["application_credential"], "application_credential": about}}

    def token(self) -> str:
        reply = self.cloud.login(self.auth)
        assert reply.status == 201, reply
        return reply.headers["x-subject-token"]

    def delete(self) -> None:
        """Its rules outlive it, and are deleted on their own."""
        assert self.cloud.call("identity", "DELETE", f"{self.path}/{self.row['id']}").status in {204, 404}
        for rule in self.row["access_rules"]:
            status = self.cloud.call("identity", "DELETE", f"{self.user}/access_rules/{rule['id']}").status
            assert status in {204, 404}


RULES = [
    {"service": "compute", "method": "GET", "path": "/v2.1/servers/*"},
    {"service": "compute", "method": "POST", "path": f"/v2.1/servers/{MINE}/action"},
]


@pytest.fixture
def credential(plain: PlainSubject) -> Iterator[Credential]:
    made = Credential(plain, "contract", RULES)
    yield made
    made.delete()


def ask(credential: Credential, token: str, service: str, method: str, path: str, body: Any = None) -> Reply:
    return credential.cloud.call(service, method, path, body, token=token)


# --- what a rule lets through ---


def test_a_rule_lets_through_what_it_names(plain: PlainSubject, credential: Credential) -> None:
    """The call goes on to Nova, which then says that there is no such instance."""
    token = credential.token()
    assert (
        ask(credential, token, "compute", "GET", f"/servers/{MINE}").told(I=MINE)
        == "404 Instance I could not be found."
    )
    acted = ask(credential, token, "compute", "POST", f"/servers/{MINE}/action", {"os-stop": None})
    assert acted.told(I=MINE) == "404 Instance I has no mapping to a cell."


NOT_NAMED = [
    ("compute", "GET", "/servers"),
    ("compute", "GET", f"/servers/{MINE}/os-instance-actions"),
    ("compute", "POST", f"/servers/{OTHER}/action"),
    ("compute", "DELETE", f"/servers/{MINE}"),
    ("compute", "POST", f"/servers/{MINE}/metadata"),
    ("network", "GET", "/ports"),
]


@pytest.mark.parametrize(("service", "method", "path"), NOT_NAMED)
def test_what_no_rule_names_is_401_and_not_403(
    plain: PlainSubject, credential: Credential, service: str, method: str, path: str
) -> None:
    """So a client cannot tell it from an expired token."""
    reply = ask(credential, credential.token(), service, method, path, {} if method == "POST" else None)
    assert (reply.told(), reply.form) == (AUTHENTICATION, FORM)


def test_a_star_is_one_segment_whatever_it_is(plain: PlainSubject, credential: Credential) -> None:
    """A rule for every server's own page lets the list of the whole project through too."""
    assert ask(credential, credential.token(), "compute", "GET", "/servers/detail").status == 200


def test_the_version_document_needs_no_rule(plain: PlainSubject, credential: Credential) -> None:
    assert ask(credential, credential.token(), "compute", "GET", "/").status == 200


@pytest.mark.parametrize("path", ["/v2.1/servers/{server}", "/v2.1/servers/{server_id}"])
def test_a_name_in_braces_is_one_segment(plain: PlainSubject, path: str) -> None:
    made = Credential(plain, "contract-braces", [{"service": "compute", "method": "GET", "path": path}])
    try:
        token = made.token()
        assert ask(made, token, "compute", "GET", f"/servers/{MINE}").status == 404
        assert ask(made, token, "compute", "GET", f"/servers/{MINE}/metadata").told() == AUTHENTICATION
    finally:
        made.delete()


def test_two_stars_are_any_number_of_segments(plain: PlainSubject) -> None:
    made = Credential(plain, "contract-stars", [{"service": "compute", "method": "GET", "path": "/v2.1/servers/**"}])
    try:
        words = "404 Instance I could not be found."
        assert ask(made, made.token(), "compute", "GET", f"/servers/{MINE}/metadata").told(I=MINE) == words
    finally:
        made.delete()


def test_its_token_tells_its_rules_and_that_it_is_restricted(plain: PlainSubject, credential: Credential) -> None:
    token = credential.cloud.login(credential.auth).body["token"]
    about = token["application_credential"]
    assert (about["id"], about["name"], about["restricted"]) == (credential.row["id"], "contract", True)
    rules = [{key: rule[key] for key in ("service", "method", "path")} for rule in about["access_rules"]]
    assert sorted(rules, key=str) == sorted(RULES, key=str)
    assert token["project"]["id"] == plain.things["project"]
    assert {row["type"] for row in token["catalog"]} >= {"compute", "network", "image", "identity"}


# --- logging in ---


def test_a_wrong_secret_is_the_401_of_a_wrong_password(plain: PlainSubject, credential: Credential) -> None:
    wrong = {"id": credential.row["id"], "secret": "no"}
    auth = {"identity": {"methods": ["application_credential"], "application_credential": wrong}}
    assert (plain.cloud.login(auth).told(), plain.cloud.login(auth).form) == (AUTHENTICATION, FORM)
    me = plain.cloud.me()["user"]["id"]
    password = {"identity": {"methods": ["password"], "password": {"user": {"id": me, "password": "no"}}}}
    assert plain.cloud.login(password).told() == AUTHENTICATION
    nobody = {"identity": {"methods": ["password"], "password": {"user": {"id": "nobody", "password": "no"}}}}
    assert plain.cloud.login(nobody).told() == AUTHENTICATION


def test_a_deleted_credential_is_404_at_login_and_its_token_goes_on_at_nova(
    plain: PlainSubject, credential: Credential
) -> None:
    """The services keep a token that they have seen for minutes."""
    token = credential.token()
    assert ask(credential, token, "compute", "GET", f"/servers/{MINE}").status == 404
    credential.delete()
    words = "404 Could not find Application Credential: C."
    assert plain.cloud.login(credential.auth).told(C=credential.row["id"]) == words
    assert (
        ask(credential, token, "compute", "GET", f"/servers/{MINE}").told(I=MINE)
        == "404 Instance I could not be found."
    )


def test_a_credential_cannot_ask_for_a_scope(plain: PlainSubject, credential: Credential) -> None:
    scoped = {**credential.auth, "scope": {"project": {"id": plain.things["project"]}}}
    reply = plain.cloud.login(scoped)
    assert reply.status == 401
    assert reply.body["error"]["message"].endswith("Application credentials cannot request a scope.")


def test_a_project_that_is_not_ones_own_is_401(plain: PlainSubject) -> None:
    scope = {"project": {"name": "admin", "domain": {"name": "Default"}}}
    assert plain.cloud.login({**plain.cloud.people["member"], "scope": scope}).told() == AUTHENTICATION


def test_a_body_without_auth_is_a_bad_request(plain: PlainSubject) -> None:
    reply = plain.cloud.send("POST", f"{plain.cloud.auth_url}/auth/tokens", {"Content-Type": "application/json"}, {})
    assert reply.told() == (
        "400 Expecting to find auth in request body. The server could not comply with the request since it is either "
        "malformed or otherwise incorrect. The client is assumed to be in error."
    )


# --- making them ---

STORE = "Conflict occurred attempting to store application_credential - Duplicate entry found with name contract."
UNASSIGNED = "Invalid application credential: Cannot create an application credential with unassigned role"
PAST = (
    "The 'expires_at' must not be before now. The server could not comply with the request since it is either malformed or "
    "otherwise incorrect. The client is assumed to be in error."
)
FETCH = "Invalid input for field 'access_rules/0/method': 'FETCH' does not match '^(POST|GET|HEAD|PATCH|PUT|DELETE)$'"
BAD = [
    ({"name": "contract"}, 409, STORE),
    ({"name": "c", "roles": [{"name": "admin"}]}, 400, UNASSIGNED),
    ({"name": "c", "expires_at": "2020-01-01T00:00:00"}, 400, PAST),
    ({}, 400, "'name' is a required property"),
    ({"name": "c", "access_rules": [{"service": "compute", "method": "FETCH", "path": "/x"}]}, 400, FETCH),
]


@pytest.mark.parametrize(("wish", "status", "words"), BAD)
def test_a_credential_is_refused(
    plain: PlainSubject, credential: Credential, wish: dict[str, Any], status: int, words: str
) -> None:
    """The first line of it: a schema's refusal goes on with the whole schema."""
    reply = plain.cloud.call("identity", "POST", credential.path, {"application_credential": wish})
    assert (reply.status, reply.form) == (status, FORM)
    assert reply.message.partition("\n")[0] == words


@pytest.mark.parametrize("who", ["colleague", "stranger"])
def test_a_credential_is_its_users_alone(plain: PlainSubject, credential: Credential, who: str) -> None:
    reply = plain.cloud.call("identity", "GET", f"{credential.path}/{credential.row['id']}", as_=who)
    words = "403 You are not authorized to perform the requested action: identity:get_application_credential."
    assert (reply.told(), reply.form) == (words, FORM)


def test_a_secret_is_told_once(plain: PlainSubject, credential: Credential) -> None:
    row = plain.cloud.get("identity", f"{credential.path}/{credential.row['id']}")["application_credential"]
    assert "secret" not in row
    assert (row["name"], row["expires_at"], bool(row["unrestricted"])) == ("contract", None, False)
