"""An OpenStack cloud as plain requests: log in, call a service by its name in the catalog, keep what it says.

Nothing of jetrun's own adapter is used: what is held to the contract here is the cloud itself, real or ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LATEST = "2.90"
"""Nova's microversion in this suite: the newest that the model speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer. Header names are lower-case; ``body`` is None where there is none."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def request_id(self) -> str:
        """The cloud's name for the request."""
        return self.headers["x-openstack-request-id"]

    @property
    def form(self) -> str:
        """How an error's body is built: its keys, outermost first."""
        if not isinstance(self.body, dict):
            return type(self.body).__name__
        (key,) = self.body if len(self.body) == 1 else ("",)
        inner = self.body.get(key)
        return f"{key}({','.join(sorted(inner))})" if isinstance(inner, dict) else ",".join(sorted(self.body))

    @property
    def message(self) -> str:
        """An error's words, whichever service says them."""
        if not isinstance(self.body, dict):
            return str(self.body or "")
        inner = next((one for one in self.body.values() if isinstance(one, dict)), self.body)
        return str(inner.get("message", inner))

    def told(self, **names: str) -> str:
        """Status and words, with each id replaced by its name: ``409 Instance I is locked``."""
        words = self.message
        for name, key in names.items():
            words = words.replace(key, name)
        return f"{self.status} {words}".strip()


Send = Callable[[str, str, Mapping[str, str], Any], Reply]
"""Method, URL, headers, body (JSON's values): the answer."""


class PlainCloud:
    """One cloud and the people who use it.

    Args:
        people: what each logs in with: an ``auth`` object of Keystone's.
        wait: lets time pass until something may have happened.
        together: makes all of these calls at the same moment, as far as the subject has such a thing.
    """

    def __init__(
        self,
        send: Send,
        auth_url: str,
        people: Mapping[str, Any],
        *,
        wait: Callable[[], None],
        together: Callable[[list[Callable[[], Reply]]], list[Reply]],
    ) -> None:
        self.send = send
        self.auth_url = auth_url.rstrip("/")
        self.people = dict(people)
        self.wait = wait
        self.together = together
        self._tokens: dict[str, tuple[str, dict[str, Any]]] = {}

    def login(self, auth: Any) -> Reply:
        """Keystone's answer to a login."""
        return self.send("POST", f"{self.auth_url}/auth/tokens", {"Content-Type": "application/json"}, {"auth": auth})

    def token(self, who: str) -> tuple[str, dict[str, Any]]:
        """Somebody's token and what it says."""
        if who not in self._tokens:
            reply = self.login(self.people[who])
            assert reply.status == 201, (who, reply)
            self._tokens[who] = reply.headers["x-subject-token"], reply.body["token"]
        return self._tokens[who]

    def forget_tokens(self) -> None:
        """Everybody logs in anew."""
        self._tokens.clear()

    def me(self, who: str = "member") -> dict[str, Any]:
        """What somebody's token says of its owner."""
        return self.token(who)[1]

    def endpoint(self, service: str) -> str:
        """Where a service is, as the catalog says."""
        if service == "identity":
            return self.auth_url
        rows = next(row for row in self.me()["catalog"] if row["type"] == service)["endpoints"]
        url = next(row["url"] for row in rows if row["interface"] == "public").rstrip("/")
        version = {"network": "/v2.0", "image": "/v2"}.get(service, "")
        return str(url if not version or url.endswith(version) else url + version)

    def call(
        self,
        service: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        as_: str = "member",
        token: str | None = None,
    ) -> Reply:
        """One request: *path* below the service's endpoint, as *as_* or with *token* (empty for none)."""
        sent = {"X-Auth-Token": self.token(as_)[0] if token is None else token, "Accept": "application/json"}
        if not sent["X-Auth-Token"]:
            del sent["X-Auth-Token"]
        if service == "compute":
            sent["OpenStack-API-Version"] = f"compute {LATEST}"
        if body is not None:
            sent["Content-Type"] = "application/json"
        return self.send(method, self.endpoint(service) + path, {**sent, **(headers or {})}, body)

    def get(self, service: str, path: str, **more: Any) -> Any:
        """The body of a read that must succeed."""
        reply = self.call(service, "GET", path, **more)
        assert reply.status == 200, (path, reply)
        return reply.body

    def act(self, instance: str, action: str, argument: Any = None, *, as_: str = "member") -> Reply:
        """An action on an instance."""
        return self.call("compute", "POST", f"/servers/{instance}/action", {action: argument}, as_=as_)
