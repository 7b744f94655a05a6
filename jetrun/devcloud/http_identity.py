"""Keystone's HTTP face. Source: Keystone API reference, v3."""

from __future__ import annotations

from typing import Any

from jetrun.devcloud.api import Answer, Call, Route
from jetrun.devcloud.errors import ApiError

Row = dict[str, Any]


def routes() -> list[Route]:
    """Keystone's routes."""

    def route(method: str, path: str, handler: Any, point: str, *, public: bool = False, writes: bool = False) -> Route:
        return Route(method=method, path=f"/identity{path}", handler=handler, point=f"keystone.{point}", service="identity",
                     public=public, writes=writes)  # fmt: skip

    return [
        route("GET", "", _versions, "versions", public=True),
        route("GET", "/", _versions, "versions", public=True),
        route("GET", "/v3", _version, "version", public=True),
        route("GET", "/v3/", _version, "version", public=True),
        route("POST", "/v3/auth/tokens", _login, "auth", public=True, writes=True),
        route("GET", "/v3/auth/tokens", _validate, "validate"),
        route("DELETE", "/v3/auth/tokens", _revoke, "revoke", writes=True),
        route("GET", "/v3/auth/catalog", lambda call: (200, {"catalog": catalog(call)}), "catalog"),
        route("GET", "/v3/auth/projects", _own_projects, "projects"),
        route("GET", "/v3/projects", _own_projects, "projects"),
        route("GET", "/v3/projects/{key}", _project, "project"),
        route("GET", "/v3/users", _users, "users"),
        route("GET", "/v3/users/{key}", _user, "user"),
        route("GET", "/v3/users/{user}/application_credentials", _credentials, "credentials"),
        route("POST", "/v3/users/{user}/application_credentials", _create_credential, "credential_create", writes=True),
        route("GET", "/v3/users/{user}/application_credentials/{key}", _credential, "credential"),
        route(
            "DELETE",
            "/v3/users/{user}/application_credentials/{key}",
            _delete_credential,
            "credential_delete",
            writes=True,
        ),
        route("GET", "/v3/users/{user}/access_rules", lambda call: (200, {"access_rules": []}), "access_rules"),
    ]


def catalog(call: Call) -> list[Row]:
    """The service catalog."""
    paths = {
        "identity": ("keystone", "/identity"),
        "compute": ("nova", "/compute/v2.1"),
        "network": ("neutron", "/network"),
        "image": ("glance", "/image"),
    }
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
        for kind, (name, path) in paths.items()
    ]  # fmt: skip


def _version_row(call: Call) -> Row:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{call.base}/identity/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


def _versions(call: Call) -> Answer:
    return 300, {"versions": {"values": [_version_row(call)]}}


def _version(call: Call) -> Answer:
    return 200, {"version": _version_row(call)}


def _login(call: Call) -> Answer:
    identity = call.cloud.identity
    if call.cloud.faults.take("keystone.token", "token-expires-early"):
        identity.expire_tokens()
    secret, token = identity.authenticate(call.body or {}, call.now)
    call.answer_headers["X-Subject-Token"] = secret
    return 201, {"token": _token_row(call, token, with_catalog="nocatalog" not in call.query)}


def _token_row(call: Call, token: Row, *, with_catalog: bool) -> Row:
    identity = call.cloud.identity
    user, project = identity.users[token["user_id"]], identity.projects[token["project_id"]]
    roles = identity.grants[user["id"]][project["id"]]
    domain = {"id": "default", "name": "Default"}
    row = {
        "methods": token["methods"],
        "user": {"id": user["id"], "name": user["name"], "domain": domain, "password_expires_at": None},
        "project": {"id": project["id"], "name": project["name"], "domain": domain},
        "roles": [{"id": role, "name": role} for role in roles],
        "is_domain": False,
        "audit_ids": token["audit_ids"],
        "issued_at": token["issued_at"],
        "expires_at": token["expires_at"],
    }
    if token["credential"]:
        row["application_credential"] = {"id": token["credential"], "restricted": True}
    if with_catalog:
        row["catalog"] = catalog(call)
    return row


def _validate(call: Call) -> Answer:
    secret = call.headers.get("x-subject-token", "")
    call.cloud.identity.caller(secret, call.now)
    call.answer_headers["X-Subject-Token"] = secret
    return 200, {"token": _token_row(call, call.cloud.identity.tokens[secret], with_catalog=True)}


def _revoke(call: Call) -> Answer:
    call.cloud.identity.tokens.pop(call.headers.get("x-subject-token", ""), None)
    return 204, None


def _public(row: Row) -> Row:
    return {key: value for key, value in row.items() if key not in {"password", "secret"}}


def _own_projects(call: Call) -> Answer:
    identity = call.cloud.identity
    own = list(identity.projects) if call.caller.is_admin else list(identity.grants[call.caller.user_id])
    rows = [identity.projects[key] for key in own]
    name = call.query.get("name")
    return 200, {"projects": [row for row in rows if name in (None, row["name"])], "links": {"next": None}}


def _project(call: Call) -> Answer:
    row = call.cloud.identity.projects.get(call.path["key"])
    if row is None:
        raise ApiError(404, "Not Found", f"Could not find project: {call.path['key']}.")
    return 200, {"project": row}


def _users(call: Call) -> Answer:
    if not call.caller.is_admin:
        raise ApiError(403, "Forbidden", "You are not authorized to perform the requested action: identity:list_users.")
    return 200, {"users": [_public(row) for row in call.cloud.identity.users.values()], "links": {"next": None}}


def _user(call: Call) -> Answer:
    row = call.cloud.identity.users.get(call.path["key"])
    if row is None or (row["id"] != call.caller.user_id and not call.caller.is_admin):
        raise ApiError(403, "Forbidden", "You are not authorized to perform the requested action: identity:get_user.")
    return 200, {"user": _public(row)}


def _own(call: Call) -> list[Row]:
    if call.path["user"] != call.caller.user_id and not call.caller.is_admin:
        raise ApiError(403, "Forbidden", "You are not authorized to perform the requested action.")
    return [row for row in call.cloud.identity.credentials.values() if row["user_id"] == call.path["user"]]


def _credentials(call: Call) -> Answer:
    rows = [_public(row) for row in _own(call) if call.query.get("name") in (None, row["name"])]
    return 200, {"application_credentials": rows, "links": {"next": None}}


def _create_credential(call: Call) -> Answer:
    _own(call)
    row = call.cloud.identity.create_credential(call.caller, (call.body or {}).get("application_credential", {}))
    return 201, {"application_credential": row}


def _credential(call: Call) -> Answer:
    for row in _own(call):
        if row["id"] == call.path["key"]:
            return 200, {"application_credential": _public(row)}
    raise ApiError(404, "Not Found", f"Could not find Application Credential: {call.path['key']}.")


def _delete_credential(call: Call) -> Answer:
    _credential(call)
    del call.cloud.identity.credentials[call.path["key"]]
    return 204, None
