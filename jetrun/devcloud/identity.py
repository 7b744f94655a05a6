"""Users, projects, tokens and application credentials: as much of Keystone as jetrun and the openstack command need. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import ApiError

Row = dict[str, Any]

UNAUTHORIZED = ApiError(401, "Unauthorized", "The request you have made requires authentication.")


class IdentityModel:
    """Users, projects and what they may do.

    Args:
        new_id: gives a new uuid. token_life_s: how long a token lives.
    """

    def __init__(self, *, new_id: Callable[[], str], token_life_s: float = 3600.0) -> None:
        self._new_id = new_id
        self.token_life_s = token_life_s
        self.users: dict[str, Row] = {}
        self.projects: dict[str, Row] = {}
        self.grants: dict[str, dict[str, list[str]]] = {}
        self.credentials: dict[str, Row] = {}
        self.tokens: dict[str, Row] = {}

    # --- set-up ---

    def add_project(self, name: str) -> str:
        """A project; its id."""
        key = self._new_id().replace("-", "")
        self.projects[key] = {
            "id": key,
            "name": name,
            "domain_id": "default",
            "enabled": True,
            "description": "",
            "tags": [],
        }
        return key

    def add_user(self, name: str, password: str, project_id: str, roles: list[str]) -> str:
        """A user with roles on a project; its id."""
        key = self._new_id().replace("-", "")
        self.users[key] = {"id": key, "name": name, "domain_id": "default", "enabled": True, "password": password}
        self.grants[key] = {project_id: roles}
        return key

    # --- tokens ---

    def authenticate(self, body: Row, now: datetime) -> tuple[str, Row]:
        """A new token for the credentials in *body*: (its secret, what it says). Source: Keystone v3, POST /auth/tokens.

        Raises:
            ApiError: 401 as Keystone words it, 404 for a deleted application credential.
        """
        auth = body.get("auth", {})
        methods = auth.get("identity", {}).get("methods", [])
        if "application_credential" in methods:
            return self._by_credential(auth, now)
        if "password" in methods:
            user = self._by_password(auth["identity"]["password"].get("user", {}))
            return self._issue(user, self._scope(user, auth.get("scope")), now, methods=["password"])
        if "token" in methods:
            old = self.tokens.get(auth["identity"]["token"].get("id", ""))
            if old is None or _instant(old["expires_at"]) <= now:
                raise UNAUTHORIZED
            user = self.users[old["user_id"]]
            return self._issue(user, self._scope(user, auth.get("scope")), now, methods=["token"])
        raise UNAUTHORIZED

    def _by_password(self, wish: Row) -> Row:
        """The user whose password is given."""
        for user in self.users.values():
            if (user["id"] == wish.get("id") or user["name"] == wish.get("name")) and user["password"] == wish.get(
                "password"
            ):
                return user
        raise UNAUTHORIZED

    def _scope(self, user: Row, scope: Any) -> str:
        """The project that the token is for."""
        wish = (scope or {}).get("project", {}) if isinstance(scope, dict) else {}
        for key in self.grants[user["id"]]:
            project = self.projects[key]
            if not wish or key == wish.get("id") or project["name"] == wish.get("name"):
                return key
        raise UNAUTHORIZED

    def _by_credential(self, auth: Row, now: datetime) -> tuple[str, Row]:
        """A token of an application credential."""
        if auth.get("scope"):
            raise ApiError(401, "Unauthorized", "Application credentials cannot request a scope.")
        wish = auth["identity"]["application_credential"]
        found = self.credentials.get(wish.get("id", ""))
        if found is None and wish.get("name"):
            owner = wish.get("user", {})
            found = next(
                (
                    one
                    for one in self.credentials.values()
                    if one["name"] == wish["name"]
                    and (one["user_id"] == owner.get("id") or self.users[one["user_id"]]["name"] == owner.get("name"))
                ),
                None,
            )
        if found is None:
            raise ApiError(
                404, "Not Found", f"Could not find Application Credential: {wish.get('id') or wish.get('name')}."
            )
        if found["secret"] != wish.get("secret"):
            raise UNAUTHORIZED
        if found["expires_at"] is not None and _instant(found["expires_at"]) <= now:
            raise UNAUTHORIZED
        user = self.users[found["user_id"]]
        return self._issue(user, found["project_id"], now, methods=["application_credential"], credential=found)

    def _issue(
        self, user: Row, project_id: str, now: datetime, *, methods: list[str], credential: Row | None = None
    ) -> tuple[str, Row]:
        """A new token."""
        secret = "gAAAAA" + self._new_id().replace("-", "") + self._new_id().replace("-", "")
        token = {
            "user_id": user["id"],
            "project_id": project_id,
            "issued_at": _text(now),
            "expires_at": _text(now + timedelta(seconds=self.token_life_s)),
            "methods": methods,
            "audit_ids": [self._new_id()[:22]],
            "credential": credential["id"] if credential else None,
        }
        self.tokens = {key: one for key, one in self.tokens.items() if _instant(one["expires_at"]) > now}
        self.tokens[secret] = token
        return secret, token

    def caller(self, secret: str, now: datetime) -> Caller:
        """Who the token is; ApiError 401 for an unknown or expired one."""
        token = self.tokens.get(secret)
        if token is None or _instant(token["expires_at"]) <= now:
            raise UNAUTHORIZED
        user, project = self.users[token["user_id"]], self.projects[token["project_id"]]
        credential = self.credentials.get(token["credential"] or "")
        rules = tuple(credential["access_rules"]) if credential and credential["access_rules"] else None
        return Caller(
            user_id=user["id"],
            user_name=user["name"],
            project_id=project["id"],
            project_name=project["name"],
            roles=frozenset(self.grants[user["id"]][project["id"]]),
            token=secret,
            expires_at=_instant(token["expires_at"]),
            app_credential_id=token["credential"],
            access_rules=rules,
        )

    def expire_tokens(self) -> None:
        """Every token that is out ends now."""
        self.tokens.clear()

    # --- application credentials ---

    def create_credential(self, caller: Caller, wish: Row) -> Row:
        """A new application credential of the caller's; the answer is the only one that shows its secret."""
        if caller.app_credential_id is not None:
            raise ApiError(403, "Forbidden", "You are not authorized to perform the requested action: "
                           "identity:create_application_credential.")  # fmt: skip
        expires = wish.get("expires_at")
        if expires is not None:
            expires = _text(datetime.fromisoformat(expires).replace(tzinfo=UTC))
        key = self._new_id().replace("-", "")
        row = {
            "id": key,
            "name": wish["name"],
            "secret": wish.get("secret") or self._new_id() + self._new_id(),
            "description": wish.get("description"),
            "user_id": caller.user_id,
            "project_id": caller.project_id,
            "expires_at": expires,
            "unrestricted": bool(wish.get("unrestricted")),
            "roles": [{"id": role, "name": role} for role in sorted(caller.roles)],
            "access_rules": wish.get("access_rules") or [],
        }
        self.credentials[key] = row
        return row

    # --- keeping ---

    def to_state(self) -> Row:
        """Everything, as plain data."""
        return {name: getattr(self, name) for name in ("users", "projects", "grants", "credentials", "tokens")}

    def from_state(self, state: Row) -> None:
        """What ``to_state`` gave, taken back."""
        for name, value in state.items():
            setattr(self, name, value)


def rule_allows(rules: tuple[Row, ...], service: str, method: str, path: str) -> bool:
    """Whether access rules let a call through: by method and path only. Source: keystonemiddleware, seen in the lab."""
    return any(
        rule["service"] == service and rule["method"] == method and re.fullmatch(_pattern(rule["path"]), path)
        for rule in rules
    )


def _pattern(path: str) -> str:
    """A rule's path as a regular expression: ``*`` and ``{name}`` are one segment, ``**`` any number."""
    text = re.escape(path).replace(r"\*\*", ".*").replace(r"\*", "[^/]+")
    return re.sub(r"\\\{[^}]*\\\}", "[^/]+", text)


def _text(at: datetime) -> str:
    """Keystone's form of an instant."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _instant(text: str) -> datetime:
    """The instant that ``_text`` wrote."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
