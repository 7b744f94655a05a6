"""Users, projects, tokens and application credentials: as much of Keystone as jetrun and the openstack command need. Pure.

Texts and rules: Keystone 22's, from the lab and its source. A model kinder than the real thing is a bug.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from jetrun.devcloud.caller import (
    DOMAIN,
    Caller,
    UnauthorizedError,
    credential_not_found,
    expected,
    forbidden_action,
    in_domain,
    instant,
    kept_rule,
    new_credential,
    part,
    rule_matches,
)
from jetrun.devcloud.errors import ApiError

Row = dict[str, Any]

UNAUTHORIZED = UnauthorizedError
"""Raised as a class: one instance for all would collect the traceback of every refusal."""


class IdentityModel:
    """Users, projects and what they may do.

    Args:
        new_id: gives a new uuid, for ids and secrets.
        token_life_s: how long a token lives.
        cache_s: how long the services go on taking a token whose credential was deleted. Source: lab NOTES.md,
            keystonemiddleware's cache, 300 s by default.
    """

    def __init__(self, *, new_id: Callable[[], str], token_life_s: float = 3600.0, cache_s: float = 300.0) -> None:
        self._new_id = new_id
        self.token_life_s = token_life_s
        self.cache_s = cache_s
        self.users: dict[str, Row] = {}
        self.projects: dict[str, Row] = {}
        self.grants: dict[str, dict[str, list[str]]] = {}
        self.credentials: dict[str, Row] = {}
        self.rules: dict[str, Row] = {}
        self.tokens: dict[str, Row] = {}

    # --- set-up ---

    def add_project(self, name: str) -> str:
        """A project; its id."""
        key = self.new_key()
        about = {"id": key, "name": name, "domain_id": DOMAIN["id"], "enabled": True, "description": "", "tags": []}
        self.projects[key] = {**about, "parent_id": DOMAIN["id"], "is_domain": False}
        return key

    def add_user(self, name: str, password: str, project_id: str, roles: list[str]) -> str:
        """A user with roles on a project; its id."""
        key = self.new_key()
        about = {"id": key, "name": name, "domain_id": DOMAIN["id"], "enabled": True, "default_project_id": project_id}
        self.users[key] = {**about, "password": password}
        self.grants[key] = {project_id: list(roles)}
        return key

    def new_key(self) -> str:
        """An id in Keystone's form."""
        return self._new_id().replace("-", "")

    # --- tokens ---

    def authenticate(
        self, body: Mapping[str, Any], now: datetime, *, ends_after_s: float | None = None
    ) -> tuple[str, Row]:
        """A new token for the credentials in *body*: (its secret, what it says). Source: Keystone v3, POST /auth/tokens.

        Args:
            ends_after_s: when it ends in truth, whatever it says; None for when it says.

        Raises:
            ApiError: 401 as Keystone words it, 404 for a deleted application credential, 400 for what is no login.
        """
        auth = part(body, "auth", "request body")
        identity = part(auth, "identity", "auth")
        methods = identity.get("methods") or []
        if "application_credential" in methods:
            secret, token = self._by_credential(auth, part(identity, "application_credential", "identity"), now)
        elif "password" in methods:
            user = self._by_password(part(part(identity, "password", "identity"), "user", "password"))
            project = self._scope(user, auth.get("scope"))
            secret, token = self._issue(user, project, self.grants[user["id"]][project], now, methods=["password"])
        elif "token" in methods:
            secret, token = self._by_token(auth, str(part(identity, "token", "identity").get("id")), now)
        else:
            raise UnauthorizedError
        if ends_after_s is not None:
            token["ends_at"] = _text(now + timedelta(seconds=ends_after_s))
        return secret, token

    def _named_user(self, wish: Mapping[str, Any]) -> Row | None:
        """The user that a login names, by id or by name and domain."""
        if wish.get("id"):
            return self.users.get(str(wish["id"]))
        if not wish.get("name"):
            raise expected("id or name", "user")
        inside = in_domain(part(wish, "domain", "user"))
        return next((one for one in self.users.values() if inside and one["name"] == wish["name"]), None)

    def _by_password(self, wish: Mapping[str, Any]) -> Row:
        """The user whose password is given."""
        user = self._named_user(wish)
        if user is None or not user["enabled"] or user["password"] != wish.get("password"):
            raise UnauthorizedError
        return user

    def _scope(self, user: Row, scope: object) -> str:
        """The project that the token is for: the one asked for, else the user's own. Other scopes are not modelled."""
        if not scope:
            return str(user["default_project_id"])
        wish = scope.get("project") if isinstance(scope, dict) else None
        if not isinstance(wish, dict):
            raise UnauthorizedError
        inside = bool(wish.get("id")) or in_domain(part(wish, "domain", "project"))
        for key in self.grants[user["id"]]:
            if inside and (key == wish["id"] if wish.get("id") else self.projects[key]["name"] == wish.get("name")):
                return key
        raise UnauthorizedError

    def _by_credential(self, auth: Mapping[str, Any], wish: Mapping[str, Any], now: datetime) -> tuple[str, Row]:
        """A token of an application credential."""
        if "scope" in auth:
            raise UnauthorizedError("Application credentials cannot request a scope.")
        found = self._named_credential(wish)
        user, project = self.users[found["user_id"]], found["project_id"]
        over = found["expires_at"] is not None and instant(found["expires_at"]) <= now
        if over or found["secret"] != wish.get("secret") or not user["enabled"]:
            raise UnauthorizedError
        granted = self.grants[user["id"]].get(project, [])
        roles = [one["name"] for one in found["roles"] if one["name"] in granted]
        return self._issue(user, project, roles, now, methods=["application_credential"], credential=found)

    def _named_credential(self, wish: Mapping[str, Any]) -> Row:
        """The application credential that a login names. By name it must be there: Keystone 22 has no answer of its own then."""
        if wish.get("id"):
            found = self.credentials.get(str(wish["id"]))
            if found is None:
                raise credential_not_found(str(wish["id"]))
            return found
        if not wish.get("name"):
            raise expected("id or name", "application credential")
        user = self._named_user(part(wish, "user", "application_credential"))
        if user is None:
            raise UnauthorizedError
        for one in self.credentials.values():
            if (one["user_id"], one["name"]) == (user["id"], wish["name"]):
                return one
        raise ApiError(
            500, "Internal Server Error", "An unexpected error prevented the server from fulfilling your request."
        )

    def _by_token(self, auth: Mapping[str, Any], secret: str, now: datetime) -> tuple[str, Row]:
        """A token for a token. It lives no longer than the first; one of an application credential cannot be exchanged."""
        old = self.token(secret, now)
        if old["credential"] is not None:
            raise forbidden_action("Using a delegated token to create another token is not allowed.")
        user = self.users[old["user_id"]]
        project = self._scope(user, auth.get("scope"))
        roles = self.grants[user["id"]][project]
        new, token = self._issue(user, project, roles, now, methods=["token", *old["methods"]])
        token |= {"expires_at": old["expires_at"], "ends_at": old["ends_at"]}
        return new, token

    def _issue(
        self,
        user: Row,
        project_id: str,
        roles: list[str],
        now: datetime,
        *,
        methods: list[str],
        credential: Row | None = None,
    ) -> tuple[str, Row]:
        """A new token. It keeps what its credential allowed: a deleted credential must not make it wider."""
        if not roles:
            raise UnauthorizedError
        expires_at = _text(now + timedelta(seconds=self.token_life_s))
        last = credential["expires_at"] if credential else None
        if last is not None and instant(last) < instant(expires_at):
            expires_at = instant(last).replace(tzinfo=None).isoformat()  # without a zone, as Keystone writes it then
        token = {
            "user_id": user["id"],
            "project_id": project_id,
            "roles": list(roles),
            "issued_at": _text(now),
            "expires_at": expires_at,
            "ends_at": expires_at,
            "methods": list(dict.fromkeys(methods)),
            "audit_ids": [self.new_key()[:22]],
            "credential": None if credential is None else {
                key: credential[key] for key in ("id", "name", "unrestricted", "access_rules")},
        }  # fmt: skip
        self.tokens = {key: one for key, one in self.tokens.items() if instant(one["ends_at"]) > now}
        secret = f"gAAAAA{self.new_key()}{self.new_key()}"
        self.tokens[secret] = token
        return secret, token

    def token(self, secret: str, now: datetime) -> Row:
        """What a token says; ApiError 401 for one that is unknown, expired, revoked, or cut short."""
        found = self.tokens.get(secret)
        if found is None or instant(found["ends_at"]) <= now:
            raise UnauthorizedError
        return found

    def caller(self, secret: str, now: datetime) -> Caller:
        """Whose token it is; ApiError 401 where it is nobody's any more."""
        token = self.token(secret, now)
        user, project = self.users[token["user_id"]], self.projects[token["project_id"]]
        credential = token["credential"]
        return Caller(
            user_id=user["id"],
            user_name=user["name"],
            project_id=project["id"],
            project_name=project["name"],
            roles=frozenset(token["roles"]),
            token=secret,
            expires_at=instant(token["expires_at"]),
            app_credential_id=credential["id"] if credential else None,
            access_rules=tuple(credential["access_rules"]) if credential and credential["access_rules"] else None,
        )

    def expire_tokens(self) -> None:
        """Every token that is out ends now."""
        self.tokens.clear()

    # --- application credentials ---

    def create_credential(self, caller: Caller, wish: Mapping[str, Any], now: datetime) -> Row:
        """A new application credential of the caller's, with its secret, which no other answer shows."""
        self._check_unrestricted(caller)
        row = new_credential(caller, wish, now)
        if any((one["user_id"], one["name"]) == (caller.user_id, row["name"]) for one in self.credentials.values()):
            words = f"Duplicate entry found with name {row['name']}."
            raise ApiError(409, "Conflict", f"Conflict occurred attempting to store application_credential - {words}")
        secret = str(wish.get("secret") or self.new_key() + self.new_key())
        rules = [kept_rule(self.rules, caller.user_id, rule, self.new_key) for rule in row["access_rules"]]
        row |= {"id": self.new_key(), "secret": secret, "access_rules": rules}
        self.credentials[row["id"]] = row
        return row

    def delete_credential(self, caller: Caller, key: str, now: datetime) -> None:
        """Delete one. Its tokens go on for as long as the services have them in their caches."""
        self._check_unrestricted(caller)
        del self.credentials[key]
        last = now + timedelta(seconds=self.cache_s)
        for token in self.tokens.values():
            if token["credential"] and token["credential"]["id"] == key and instant(token["ends_at"]) > last:
                token["ends_at"] = _text(last)

    def delete_rule(self, key: str) -> None:
        """Delete an access rule that no credential uses."""
        if any(rule["id"] == key for one in self.credentials.values() for rule in one["access_rules"]):
            raise ApiError(403, "Forbidden", "May not delete access rule in use")
        del self.rules[key]

    def _check_unrestricted(self, caller: Caller) -> None:
        """ApiError 403 where an application credential would make or delete others without leave to do so."""
        own = self.credentials.get(caller.app_credential_id or "")
        if caller.app_credential_id is not None and not (own and own["unrestricted"]):
            way = (
                "Using method 'application_credential' is not allowed for managing additional application credentials."
            )
            raise forbidden_action(way)

    # --- keeping ---

    def to_state(self) -> Row:
        """Everything, as plain data."""
        names = ("users", "projects", "grants", "credentials", "rules", "tokens")
        return {name: getattr(self, name) for name in names}

    def from_state(self, state: Row) -> None:
        """What ``to_state`` gave, taken back."""
        for name, value in state.items():
            setattr(self, name, value)


def rule_allows(rules: tuple[Row, ...], service: str, method: str, path: str) -> bool:
    """Whether one of *rules* lets the call through."""
    return any(rule_matches(rule, service, method, path) for rule in rules)


def _text(at: datetime) -> str:
    """Keystone's form of an instant."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
