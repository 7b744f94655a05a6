"""Keystone's HTTP face: what a token says, who may read what, and access rules at every service. Without a socket."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from model_lab import START

from jetrun.devcloud import http_identity, http_images, http_network
from jetrun.devcloud.api import Call
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.identity import rule_allows
from jetrun.devcloud.rules import ZERO
from jetrun.devcloud.state import PASSWORD, CloudState

ROUTES = [*http_identity.routes(), *http_network.routes(), *http_images.routes()]


class Faces:
    """A whole cloud behind its faces, as the dispatcher calls them."""

    def __init__(self) -> None:
        self.cloud = CloudState(timings=ZERO, net=20)
        self.cloud.seed(START, public_key="ssh-ed25519 AAAA")
        self.now = START
        self.headers: dict[str, str] = {}

    def __call__(self, method: str, url: str, body: Any = None, *, token: str = "", **headers: str) -> tuple[int, Any]:
        """(status, body) of an answer; a refusal is (status, its message)."""
        where, _, query = url.partition("?")
        lists: dict[str, list[str]] = {}
        for pair in filter(None, query.split("&")):
            key, _, value = pair.partition("=")
            lists.setdefault(key, []).append(value)
        for route in ROUTES:
            found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path), where)
            if found is None or route.method != method:
                continue
            call = Call(
                cloud=self.cloud, now=self.now, request_id="req-1", base="http://cloud", path=found.groupdict(), body=body,
                query={key: values[0] for key, values in lists.items()}, lists=lists,
                headers={key.lower().replace("_", "-"): value for key, value in headers.items()},
            )  # fmt: skip
            try:
                if not route.public:
                    call.who = self.cloud.identity.caller(token, self.now)
                answer = route.handler(call)
            except ApiError as error:
                return error.status, error.message
            self.headers = call.answer_headers
            return answer
        raise AssertionError(f"no route for {method} {where}")

    def login(self, user: str = "ada", project: str = "lab") -> str:
        domain = {"name": "Default"}
        who = {"name": user, "domain": domain, "password": PASSWORD}
        scope = {"project": {"name": project, "domain": domain}}
        auth = {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}
        status, _ = self("POST", "/identity/v3/auth/tokens", {"auth": auth})
        assert status == 201
        return self.headers["X-Subject-Token"]

    def own(self, token: str, what: str = "application_credentials") -> str:
        return f"/identity/v3/users/{self.cloud.identity.caller(token, self.now).user_id}/{what}"

    def credential(self, token: str, **wish: Any) -> dict[str, Any]:
        body = {"application_credential": {"name": "run", **wish}}
        status, answer = self("POST", self.own(token), body, token=token)
        assert status == 201
        return answer["application_credential"]

    def enter(self, made: dict[str, Any]) -> str:
        """A token of an application credential."""
        way = {"id": made["id"], "secret": made["secret"]}
        auth = {"identity": {"methods": ["application_credential"], "application_credential": way}}
        status, _ = self("POST", "/identity/v3/auth/tokens", {"auth": auth})
        assert status == 201
        return self.headers["X-Subject-Token"]


@pytest.fixture
def faces() -> Faces:
    return Faces()


def test_a_token_names_user_project_roles_and_every_service(faces):
    token = faces.login()
    status, answer = faces("GET", "/identity/v3/auth/tokens", token=token, x_subject_token=token)
    row = answer["token"]
    assert (status, row["user"]["name"], row["project"]["name"]) == (200, "ada", "lab")
    assert {role["name"] for role in row["roles"]} == {"member", "reader"}
    assert row["expires_at"] == "2026-11-20T13:00:00.000000Z"
    urls = {one["type"]: {point["url"] for point in one["endpoints"]} for one in row["catalog"]}
    assert urls == {
        "identity": {"http://cloud/identity"},
        "compute": {"http://cloud/compute/v2.1"},
        "network": {"http://cloud/network"},
        "image": {"http://cloud/image"},
    }
    assert all(
        {point["interface"] for point in one["endpoints"]} == {"public", "internal", "admin"} for one in row["catalog"]
    )


def test_a_token_can_be_asked_for_without_the_catalog(faces):
    token = faces.login()
    _, answer = faces("GET", "/identity/v3/auth/tokens?nocatalog=", token=token, x_subject_token=token)
    assert "catalog" not in answer["token"]


def test_a_revoked_token_is_nobodys_and_is_not_found(faces):
    token, other = faces.login(), faces.login()
    assert faces("DELETE", "/identity/v3/auth/tokens", token=other, x_subject_token=token) == (204, None)
    assert faces("GET", "/identity/v3/auth/projects", token=token)[0] == 401
    assert faces("GET", "/identity/v3/auth/tokens", token=other, x_subject_token=token)[0] == 404
    assert faces("GET", "/identity/v3/auth/projects", token=other)[0] == 200


def test_only_the_staff_look_at_other_peoples_tokens(faces):
    ada, eve, staff = faces.login(), faces.login("eve", "other-lab"), faces.login("admin", "admin")
    for method in ("GET", "DELETE"):
        assert faces(method, "/identity/v3/auth/tokens", token=eve, x_subject_token=ada)[0] == 403
    assert faces("GET", "/identity/v3/auth/tokens", token=staff, x_subject_token=ada)[0] == 200


def test_a_token_that_expires_early_says_it_does_not(faces):
    faces.cloud.faults.add("token-expires-early", seconds=5)
    token = faces.login()
    assert faces.cloud.identity.token(token, faces.now)["expires_at"] == "2026-11-20T13:00:00.000000Z"
    faces.now += timedelta(seconds=5)
    assert faces("GET", "/identity/v3/auth/projects", token=token)[0] == 401
    again = faces.login()
    faces.now += timedelta(seconds=3599)
    assert faces("GET", "/identity/v3/auth/projects", token=again)[0] == 200


def test_everybody_reads_his_own_projects_and_the_staff_all(faces):
    ada, staff = faces.login(), faces.login("admin", "admin")
    names = [[row["name"] for row in faces("GET", f"/identity/v3/{url}", token=who)[1]["projects"]]
             for url, who in (("auth/projects", ada), ("projects", staff), ("projects?name=lab", staff))]  # fmt: skip
    assert names == [["lab"], ["lab", "other-lab", "admin"], ["lab"]]
    status, words = faces("GET", "/identity/v3/projects", token=ada)
    assert (status, words) == (403, "You are not authorized to perform the requested action: identity:list_projects.")


def test_other_users_and_other_projects_are_the_staffs(faces):
    ada, eve, staff = faces.login(), faces.login("eve", "other-lab"), faces.login("admin", "admin")
    person, project = (getattr(faces.cloud.identity.caller(eve, faces.now), name) for name in ("user_id", "project_id"))
    for url in ("users", f"users/{person}", f"users/{person}/projects", f"projects/{project}"):
        asked = [faces("GET", f"/identity/v3/{url}", token=who)[0] for who in (ada, staff)]
        assert asked == [403, 200]
    assert faces("GET", f"/identity/v3/projects/{project}", token=eve)[0] == 200
    assert faces("GET", "/identity/v3/projects/nothing", token=staff)[0] == 404
    assert faces("GET", "/identity/v3/users/nobody", token=staff)[0] == 404


def test_no_answer_shows_a_password_or_a_secret(faces):
    ada, staff = faces.login(), faces.login("admin", "admin")
    made = faces.credential(ada)
    key = faces.cloud.identity.caller(ada, faces.now).user_id
    shown = [
        faces("GET", "/identity/v3/users", token=staff),
        faces("GET", f"/identity/v3/users/{key}", token=ada),
        faces("GET", faces.own(ada), token=ada),
        faces("GET", f"{faces.own(ada)}/{made['id']}", token=ada),
    ]
    assert [status for status, _ in shown] == [200] * 4
    assert PASSWORD not in str(shown)
    assert made["secret"] not in str(shown)


def test_one_user_cannot_touch_anothers_credentials(faces):
    ada, bob = faces.login(), faces.login("bob")
    made = faces.credential(ada)
    one = f"{faces.own(ada)}/{made['id']}"
    for method, url in (("GET", faces.own(ada)), ("GET", one), ("DELETE", one)):
        assert faces(method, url, token=bob)[0] == 403
    body = {"application_credential": {"name": "theirs"}}
    assert faces("POST", faces.own(ada), body, token=bob)[0] == 403
    assert faces("GET", f"{faces.own(bob)}/{made['id']}", token=bob)[0] == 404
    assert list(faces.cloud.identity.credentials) == [made["id"]]


def test_a_credential_reads_its_own_end(faces):
    made = faces.credential(faces.login(), expires_at="2026-11-20T12:30:00")
    token = faces.enter(made)
    status, answer = faces("GET", f"{faces.own(token)}/{made['id']}", token=token)
    assert (status, answer["application_credential"]["expires_at"]) == (200, "2026-11-20T12:30:00.000000")


def test_a_credential_with_access_rules_is_held_to_them_at_keystone_too(faces):
    """It cannot even read its own end: the cloud says 401, as if the token had expired."""
    rule = {"service": "compute", "method": "GET", "path": "/v2.1/servers/*"}
    made = faces.credential(faces.login(), access_rules=[rule])
    token = faces.enter(made)
    own = f"{faces.own(token)}/{made['id']}"
    assert faces("GET", own, token=token)[0] == 401
    status, answer = faces("GET", "/identity/v3/auth/tokens", token=token, x_subject_token=token)
    assert (status, answer["token"]["application_credential"]["restricted"]) == (200, True)
    (shown,) = answer["token"]["application_credential"]["access_rules"]
    assert {key: shown[key] for key in rule} == rule
    reads = {"service": "identity", "method": "GET", "path": "/v3/users/{user_id}/application_credentials/*"}
    wider = faces.credential(faces.login(), name="wider", access_rules=[rule, reads])
    token = faces.enter(wider)
    assert faces("GET", f"{faces.own(token)}/{wider['id']}", token=token)[0] == 200
    rules = faces.cloud.identity.caller(token, faces.now).access_rules
    assert rule_allows(rules, "compute", "GET", "/v2.1/servers/detail")
    assert not rule_allows(rules, "compute", "POST", "/v2.1/servers/1/action")


def test_access_rules_are_listed_and_deleted_by_their_user(faces):
    ada = faces.login()
    rule = {"service": "compute", "method": "GET", "path": "/v2.1/servers/*"}
    made = faces.credential(ada, access_rules=[rule])
    rules = faces.own(ada, "access_rules")
    (row,) = faces("GET", rules, token=ada)[1]["access_rules"]
    assert row == {"id": row["id"], **rule}
    assert faces("DELETE", f"{rules}/{row['id']}", token=ada)[0] == 403
    assert faces("DELETE", f"{faces.own(ada)}/{made['id']}", token=ada)[0] == 204
    assert faces("DELETE", f"{rules}/{row['id']}", token=faces.login("bob"))[0] == 403
    assert faces("DELETE", f"{rules}/{row['id']}", token=ada)[0] == 204
    assert faces("GET", f"{rules}/{row['id']}", token=ada)[0] == 404


@pytest.mark.parametrize("body", [None, [], {}, {"application_credential": None}])
def test_a_body_that_is_none_is_a_bad_request(faces, body):
    ada = faces.login()
    assert faces("POST", faces.own(ada), body, token=ada)[0] == 400


@pytest.mark.parametrize(
    ("url", "status", "word"),
    [
        ("/identity", 300, "v3.14"),
        ("/identity/v3", 200, "v3.14"),
        ("/identity/v3/", 200, "v3.14"),
        ("/network/", 200, "v2.0"),
        ("/network/v2.0/", 200, "floatingips"),
        ("/image", 300, "v2.9"),
        ("/image/versions", 200, "v2.9"),
        ("/image/v2/", 300, "v2.9"),
    ],
)
def test_versions_are_told_without_a_token(faces, url, status, word):
    answer = faces("GET", url)
    assert answer[0] == status
    assert word in str(answer[1])
