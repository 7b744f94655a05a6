"""Callers: what a token says of them, the application credentials that narrow them down, Keystone's refusals. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jetrun.devcloud.errors import ApiError

DOMAIN = {"id": "default", "name": "Default"}
"""The only one."""

ASSUMED = (
    "The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed "
    "to be in error."
)
"""How many of Keystone's 400s end."""

METHODS = frozenset({"POST", "GET", "HEAD", "PATCH", "PUT", "DELETE"})
"""What an access rule can name. Source: Keystone 22, application_credential/schema.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The owner of a token.

    Attributes:
        token: its secret. expires_at: of the token.
        app_credential_id: the application credential that it came from, None for a password.
        access_rules: of that credential: rows with ``service``, ``method`` and ``path``; None for no restriction.
    """

    user_id: str
    user_name: str
    project_id: str
    project_name: str
    roles: frozenset[str]
    token: str
    expires_at: datetime
    app_credential_id: str | None = None
    access_rules: tuple[dict[str, Any], ...] | None = None

    @property
    def is_admin(self) -> bool:
        """Whether it has the role admin."""
        return "admin" in self.roles


def rule_matches(rule: Mapping[str, Any], service: str, method: str, path: str) -> bool:
    """Whether one access rule names the call. It knows service, method and path only, never the body.

    Source: keystonemiddleware, auth_token, ``_path_matches`` (seen at work in the lab, NOTES.md).
    """
    if rule["service"] != service or rule["method"] != method:
        return False
    return re.fullmatch(_pattern(str(rule["path"])), path) is not None


def _pattern(path: str) -> str:
    """A rule's path as a regular expression: ``*`` and ``{name}`` are one segment, ``**`` any number of them."""

    def meaning(word: str) -> str:
        if word == "**":
            return ".*"
        return "[^/]+" if word == "*" or word.endswith("}") else re.escape(word)

    return "".join(meaning(word) for word in re.findall(r"\*\*|\*|\{[^}]*\}|[^*{}]+", path))


def new_credential(caller: Caller, wish: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The row of the application credential that *caller* asks for, without ids and secret.

    Raises:
        ApiError: 400 for what Keystone would not take: no name, a past end, roles that the caller has not, a bad rule.
    """
    name = wish.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= 255:
        raise _bad("'name' is a required property")
    wanted = {str(one.get("id") or one.get("name")) for one in wish.get("roles") or []} or set(caller.roles)
    if not wanted <= caller.roles:
        raise _bad("Invalid application credential: Cannot create an application credential with unassigned role")
    return {
        "name": name,
        "description": wish.get("description"),
        "user_id": caller.user_id,
        "project_id": caller.project_id,
        "expires_at": _end(wish.get("expires_at"), now),
        "unrestricted": bool(wish.get("unrestricted")),
        "roles": [{"id": role, "name": role, "domain_id": None} for role in sorted(wanted)],
        "access_rules": [_rule(number, one) for number, one in enumerate(wish.get("access_rules") or [])],
    }


def _end(text: object, now: datetime) -> str | None:
    """When a credential ends. Keystone shows it back without a zone: a client that takes it for local time is wrong."""
    if not text:
        return None
    try:
        at = instant(str(text))
    except ValueError as error:
        raise _bad("Timestamp not in expected format.") from error
    if at <= now:
        raise _bad(f"The 'expires_at' must not be before now. {ASSUMED}")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def _rule(number: int, wish: Mapping[str, Any]) -> dict[str, str]:
    """An access rule that is asked for; one that is named by its id only is left to whoever keeps them."""
    if set(wish) == {"id"}:
        return {"id": str(wish["id"])}
    rule = {key: str(wish.get(key, "")) for key in ("service", "method", "path")}
    if rule["method"] not in METHODS:
        words = f"'{rule['method']}' does not match '^(POST|GET|HEAD|PATCH|PUT|DELETE)$'"
        raise _bad(f"Invalid input for field 'access_rules/{number}/method': {words}")
    if not rule["path"].startswith("/") or not rule["service"]:
        raise _bad(f"Invalid input for field 'access_rules': {rule} is not valid")
    return rule


def kept_rule(
    rules: dict[str, Any], user_id: str, wish: Mapping[str, str], new_key: Callable[[], str]
) -> dict[str, str]:
    """The access rule of the user's like *wish*, added to *rules* where there is none: rules outlive their credential."""
    for rule in rules.values():
        if rule["user_id"] == user_id and all(rule[key] == value for key, value in wish.items()):
            return {key: value for key, value in rule.items() if key != "user_id"}
    if "path" not in wish:
        raise ApiError(404, "Not Found", f"Could not find Access Rule: {wish['id']}.")
    rule = {"id": new_key(), **wish}
    rules[rule["id"]] = {**rule, "user_id": user_id}
    return rule


def instant(text: str) -> datetime:
    """The instant that a text of Keystone's means: UTC, with or without saying so; ValueError for what is none."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _bad(what: str) -> ApiError:
    """Keystone's 400."""
    return ApiError(400, "Bad Request", what)


class UnauthorizedError(ApiError):
    """Keystone's 401, which says the same for a wrong password, an expired credential and a call that no rule allows."""

    def __init__(self, message: str = "The request you have made requires authentication.") -> None:
        super().__init__(401, "Unauthorized", message)


def credential_not_found(key: str) -> ApiError:
    """Keystone's 404 for an application credential, also at login: it was deleted, or is of another cloud."""
    return ApiError(404, "Not Found", f"Could not find Application Credential: {key}.")


def forbidden_action(action: str) -> ApiError:
    """Keystone's 403."""
    return ApiError(403, "Forbidden", f"You are not authorized to perform the requested action: {action}.")


def expected(attribute: str, target: str) -> ApiError:
    """Keystone's 400 for what is missing."""
    return ApiError(
        400,
        "Bad Request",
        f"Expecting to find {attribute} in {target}. {ASSUMED}",
    )


def part(row: object, name: str, target: str) -> Mapping[str, Any]:
    """An object inside a request; ApiError 400 where it is not there."""
    value = row.get(name) if isinstance(row, Mapping) else None
    if not isinstance(value, Mapping):
        raise expected(name, target)
    return value


def in_domain(wish: Mapping[str, Any]) -> bool:
    """Whether *wish* names the domain that there is."""
    return wish.get("id") == DOMAIN["id"] or wish.get("name") == DOMAIN["name"]
