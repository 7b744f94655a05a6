"""Keystone's HTTP face. Source: Keystone API reference, v3; who may do what: Keystone 22's own policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jetrun.devcloud.api import Answer, Call, Route
from jetrun.devcloud.caller import DOMAIN, UnauthorizedError, credential_not_found, forbidden_action, part
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.http_versions import documents
from jetrun.devcloud.identity import rule_allows

Row = dict[str, Any]
Handler = Callable[[Call], Answer]

SERVICES = {
    "identity": ("keystone", "/identity"),
    "compute": ("nova", "/compute/v2.1"),
    "network": ("neutron", "/network"),
    "image": ("glance", "/image"),
}
"""Service type: its name and where it is, in the catalog's order."""


def routes() -> list[Route]:
    """Keystone's routes."""
    own = "/v3/users/{user}/application_credentials"
    rules = "/v3/users/{user}/access_rules"
    return [
        *documents("identity"),
        _route("POST", "/v3/auth/tokens", _login, "auth", public=True, writes=True),
        _route("GET", "/v3/auth/tokens", _validate, "validate"),
        _route("DELETE", "/v3/auth/tokens", _revoke, "revoke", writes=True),
        _route("GET", "/v3/auth/catalog", lambda call: (200, {"catalog": catalog(call), "links": {}}), "catalog"),
        _route("GET", "/v3/auth/projects", _own_projects, "projects"),
        _route("GET", "/v3/projects", _all_projects, "projects"),
        _route("GET", "/v3/projects/{key}", _project, "project"),
        _route("GET", "/v3/users", _users, "users"),
        _route("GET", "/v3/users/{user}", _user, "user"),
        _route("GET", "/v3/users/{user}/projects", _projects_of, "projects"),
        _route("GET", own, _credentials, "credentials"),
        _route("POST", own, _create_credential, "credential_create", writes=True),
        _route("GET", own + "/{key}", _credential, "credential"),
        _route("DELETE", own + "/{key}", _delete_credential, "credential_delete", writes=True),
        _route("GET", rules, _rules, "access_rules"),
        _route("GET", rules + "/{key}", lambda call: (200, {"access_rule": _shown_rule(_rule(call))}), "access_rules"),
        _route("DELETE", rules + "/{key}", _delete_rule, "access_rule_delete", writes=True),
    ]


def _route(
    method: str, path: str, handler: Handler, point: str, *, public: bool = False, writes: bool = False
) -> Route:
    """A route; a token with access rules passes only where one of them names it, as at every other service."""

    def guarded(call: Call) -> Answer:
        rules = call.caller.access_rules
        validates = (method, path) == ("GET", "/v3/auth/tokens")
        if rules is not None and not validates and not rule_allows(rules, "identity", method, path.format(**call.path)):
            raise UnauthorizedError
        return handler(call)

    return Route(method=method, path=f"/identity{path}", handler=handler if public else guarded, point=f"keystone.{point}",
                 service="identity", public=public, writes=writes)  # fmt: skip


def catalog(call: Call) -> list[Row]:
    """The service catalog."""
    return [
        {
            "id": name,
            "type": kind,
            "name": name,
            "endpoints": [
                {"id": f"{name}-{face}", "interface": face, "region": "RegionOne", "region_id": "RegionOne",
                 "url": f"{call.base}{path}"}
                for face in ("public", "internal", "admin")
            ],
        }
        for kind, (name, path) in SERVICES.items()
    ]  # fmt: skip


# --- tokens ---


def _login(call: Call) -> Answer:
    fault = call.cloud.faults.take("keystone.token", "token-expires-early")
    ends_after_s = fault.seconds if fault else None
    secret, token = call.cloud.identity.authenticate(call.body or {}, call.now, ends_after_s=ends_after_s)
    call.answer_headers["X-Subject-Token"] = secret
    return 201, {"token": _token_row(call, token)}


def _token_row(call: Call, token: Row) -> Row:
    """What a token says, in Keystone's form."""
    identity = call.cloud.identity
    user, project, credential = (
        identity.users[token["user_id"]],
        identity.projects[token["project_id"]],
        token["credential"],
    )
    row = {
        "methods": token["methods"],
        "user": {"id": user["id"], "name": user["name"], "domain": DOMAIN, "password_expires_at": None},
        "project": {"id": project["id"], "name": project["name"], "domain": DOMAIN},
        "roles": [{"id": role, "name": role} for role in token["roles"]],
        "is_domain": False,
        "audit_ids": token["audit_ids"],
        "issued_at": token["issued_at"],
        "expires_at": token["expires_at"],
    }
    if credential:
        about = {"id": credential["id"], "name": credential["name"], "restricted": not credential["unrestricted"]}
        rules = {"access_rules": credential["access_rules"]} if credential["access_rules"] else {}
        row["application_credential"] = about | rules
    if "nocatalog" not in call.query:
        row["catalog"] = catalog(call)
    return row


def _subject(call: Call) -> tuple[str, Row]:
    """The token that the call is about: the caller's own kind, or any for the staff."""
    secret = call.headers.get("x-subject-token", "")
    try:
        token = call.cloud.identity.token(secret, call.now)
    except UnauthorizedError as error:
        raise ApiError(404, "Not Found", f"Could not find token: {secret}.") from error
    if token["user_id"] != call.caller.user_id and not call.caller.is_admin:
        raise forbidden_action("identity:validate_token")
    return secret, token


def _validate(call: Call) -> Answer:
    secret, token = _subject(call)
    call.answer_headers["X-Subject-Token"] = secret
    return 200, {"token": _token_row(call, token)}


def _revoke(call: Call) -> Answer:
    del call.cloud.identity.tokens[_subject(call)[0]]
    return 204, None


# --- projects and users ---


def _projects(call: Call, user_id: str | None) -> Answer:
    """The projects of a user, of everybody for None, by name where one is asked for."""
    identity = call.cloud.identity
    keys = identity.projects if user_id is None else identity.grants.get(user_id, {})
    name = call.query.get("name")
    rows = [identity.projects[key] for key in keys if name in (None, identity.projects[key]["name"])]
    return 200, {"projects": rows, "links": {"next": None, "previous": None}}


def _own_projects(call: Call) -> Answer:
    return _projects(call, call.caller.user_id)


def _projects_of(call: Call) -> Answer:
    _check_own(call, "list_user_projects")
    return _projects(call, call.path["user"])


def _all_projects(call: Call) -> Answer:
    if not call.caller.is_admin:
        raise forbidden_action("identity:list_projects")
    return _projects(call, None)


def _project(call: Call) -> Answer:
    row = call.cloud.identity.projects.get(call.path["key"])
    if not call.caller.is_admin and call.path["key"] != call.caller.project_id:
        raise forbidden_action("identity:get_project")
    if row is None:
        raise ApiError(404, "Not Found", f"Could not find project: {call.path['key']}.")
    return 200, {"project": row}


def _public(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in {"password", "secret"}}


def _users(call: Call) -> Answer:
    if not call.caller.is_admin:
        raise forbidden_action("identity:list_users")
    name = call.query.get("name")
    rows = [_public(row) for row in call.cloud.identity.users.values() if name in (None, row["name"])]
    return 200, {"users": rows, "links": {"next": None, "previous": None}}


def _user(call: Call) -> Answer:
    _check_own(call, "get_user")
    row = call.cloud.identity.users.get(call.path["user"])
    if row is None:
        raise ApiError(404, "Not Found", f"Could not find user: {call.path['user']}.")
    return 200, {"user": _public(row)}


def _check_own(call: Call, action: str) -> None:
    """Everybody for himself, the staff for all."""
    if call.path["user"] != call.caller.user_id and not call.caller.is_admin:
        raise forbidden_action(f"identity:{action}")


# --- application credentials and access rules ---


def _credentials(call: Call) -> Answer:
    _check_own(call, "list_application_credentials")
    rows = [row for row in call.cloud.identity.credentials.values() if row["user_id"] == call.path["user"]]
    name = call.query.get("name")
    shown = [_public(row) for row in rows if name in (None, row["name"])]
    return 200, {"application_credentials": shown, "links": {"next": None, "previous": None}}


def _create_credential(call: Call) -> Answer:
    if call.path["user"] != call.caller.user_id:
        raise forbidden_action("identity:create_application_credential")
    wish = part(call.body, "application_credential", "request body")
    return 201, {"application_credential": call.cloud.identity.create_credential(call.caller, wish, call.now)}


def _named(call: Call, action: str) -> Row:
    """The credential that the path names."""
    _check_own(call, action)
    row = call.cloud.identity.credentials.get(call.path["key"])
    if row is None or row["user_id"] != call.path["user"]:
        raise credential_not_found(call.path["key"])
    return row


def _credential(call: Call) -> Answer:
    return 200, {"application_credential": _public(_named(call, "get_application_credential"))}


def _delete_credential(call: Call) -> Answer:
    row = _named(call, "delete_application_credential")
    call.cloud.identity.delete_credential(call.caller, row["id"], call.now)
    return 204, None


def _rules(call: Call) -> Answer:
    _check_own(call, "list_access_rules")
    rows = [row for row in call.cloud.identity.rules.values() if row["user_id"] == call.path["user"]]
    return 200, {"access_rules": [_shown_rule(row) for row in rows], "links": {"next": None, "previous": None}}


def _shown_rule(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != "user_id"}


def _rule(call: Call) -> Row:
    """The access rule that the path names."""
    _check_own(call, "get_access_rule")
    row = call.cloud.identity.rules.get(call.path["key"])
    if row is None or row["user_id"] != call.path["user"]:
        raise ApiError(404, "Not Found", f"Could not find Access Rule: {call.path['key']}.")
    return row


def _delete_rule(call: Call) -> Answer:
    call.cloud.identity.delete_rule(_rule(call)["id"])
    return 204, None
