"""The four APIs without a wire: a request in, an answer out. Routing, authentication, microversions, refusals. Pure.

The process puts HTTP around it (``dispatch.py``); a test in virtual time calls it as it is. Nothing in it waits.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

from jetrun.devcloud import http_actions, http_compute, http_identity, http_images, http_labels, http_network, http_nova
from jetrun.devcloud.api import Call, Route, error_body
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.faults import Outcome
from jetrun.devcloud.identity import UNAUTHORIZED, rule_allows
from jetrun.devcloud.state import CloudState

MAX_MINOR = 90

UNTOUCHED = Outcome()
"""What the faults do to a call on most days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks.

    Attributes:
        path: as it is on the wire, percent-encoded, without the query. query: the same, after the question mark.
        headers: by lower-case name. body: JSON's values, None where there is none.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What it is told. ``body`` is JSON's values, None for no body at all; a text is a page of HTML."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a request leads: a route, with the variables of its path.

    Attributes:
        point: the name of the call, on which faults are set.
    """

    route: Route
    variables: Mapping[str, str]
    point: str


class Faces:
    """All routes over one cloud.

    Attributes:
        base: where clients reach it; addresses in answers begin so.
    """

    def __init__(self, cloud: CloudState) -> None:
        self._cloud = cloud
        self.base = ""
        self._routes: dict[tuple[str, int], list[tuple[list[str], Route]]] = {}
        for module in (http_identity, http_nova, http_actions, http_labels, http_compute, http_network, http_images):
            for route in module.routes():
                words = route.path.split("/")
                self._routes.setdefault((route.method, len(words)), []).append((words, route))

    def target(self, request: Request) -> Target | None:
        """Where a request leads; None for a path that no service has. The first route that fits is taken."""
        words = request.path.split("/")
        for pattern, route in self._routes.get((request.method, len(words)), []):
            variables = _variables(pattern, words)
            if variables is not None:
                point = route.point(request.body) if callable(route.point) else route.point
                return Target(route=route, variables=variables, point=point)
        return None

    def answer(self, request: Request, target: Target | None, now: datetime, outcome: Outcome = UNTOUCHED) -> Reply:
        """The answer; what it brings about has begun, and what a host must do is in the model's effects."""
        if target is None:
            return Reply(status=404, headers={}, body=_no_such_path(request.path))
        route, call = target.route, self._call(request, target, now, stale=outcome.stale)
        status, body = self._answer(route, call, request, outcome)
        if outcome.fail_after is not None:
            status, body = _failure(route.service, outcome.fail_after)
        return Reply(status=status, headers=self._headers(call, route, status), body=body)

    def _answer(self, route: Route, call: Call, request: Request, outcome: Outcome) -> tuple[int, Any]:
        """Status and body; every refusal in the service's own form."""
        try:
            self._cloud.nova.advance(call.now)
            if outcome.refuse is not None:
                return _failure(route.service, outcome.refuse)
            if not route.public:
                self._authenticate(route, call, request)
            _choose_microversion(route, call)
            result = route.handler(call)
            self._cloud.nova.advance(call.now)
        except ApiError as error:
            return error.status, error_body(route.service, error.status, error.kind, error.message)
        return result

    def _call(self, request: Request, target: Target, now: datetime, *, stale: bool) -> Call:
        """The request as handlers take it."""
        lists: dict[str, list[str]] = {}
        for key, value in parse_qsl(request.query, keep_blank_values=True):
            lists.setdefault(key, []).append(value)
        return Call(
            cloud=self._cloud,
            now=now,
            request_id=f"req-{uuid.uuid4()}",
            base=self.base,
            path=target.variables,
            query={key: values[0] for key, values in lists.items()},
            lists=lists,
            headers=request.headers,
            body=request.body,
            stale=stale,
        )

    def _authenticate(self, route: Route, call: Call, request: Request) -> None:
        """Who asks; ApiError 401 for nobody, and for what an access rule does not name."""
        call.who = self._cloud.identity.caller(call.headers.get("x-auth-token", ""), call.now)
        rules = call.who.access_rules
        if rules is None or route.service == "identity":
            return
        path = "/" + unquote(request.path).split("/", 2)[2]
        if not rule_allows(rules, route.service, request.method, path):
            raise UNAUTHORIZED

    def _headers(self, call: Call, route: Route, status: int) -> dict[str, str]:
        """The headers of an answer."""
        headers = {
            "x-openstack-request-id": call.request_id,
            "Date": format_datetime(call.now, usegmt=True),
            **call.answer_headers,
        }
        if route.service == "compute":
            headers["OpenStack-API-Version"] = f"compute 2.{call.microversion[1]}"
            headers["X-OpenStack-Nova-API-Version"] = f"2.{call.microversion[1]}"
            headers["Vary"] = "OpenStack-API-Version, X-OpenStack-Nova-API-Version"
        if status == 401:
            headers["WWW-Authenticate"] = f'Keystone uri="{self.base}/identity"'
        return headers


def _variables(pattern: list[str], words: list[str]) -> dict[str, str] | None:
    """What a path says for each ``{name}`` of a route's; None where it is another path."""
    found: dict[str, str] = {}
    for wanted, word in zip(pattern, words, strict=True):
        if wanted.startswith("{") and word:
            found[wanted[1:-1]] = unquote(word)
        elif wanted != word:
            return None
    return found


def _wanted_version(headers: Mapping[str, str]) -> str:
    """The microversion of Nova that a request names, empty for none; others' versions stand in the same header."""
    for part in headers.get("openstack-api-version", "").split(","):
        service, _, version = part.strip().partition(" ")
        if service == "compute":
            return version.strip()
    return headers.get("x-openstack-nova-api-version", "").strip()


def _choose_microversion(route: Route, call: Call) -> None:
    """Set the call's microversion; ApiError 400 for a text that is none, 406 for one that Nova has not."""
    version = _wanted_version(call.headers)
    if route.service != "compute" or not version:
        return
    found = re.fullmatch(r"2\.(\d+)", version)
    if version != "latest" and found is None:
        words = f"API Version String {version} is of invalid format. Must be of format MajorNum.MinorNum."
        raise ApiError(400, "badRequest", words)
    minor = int(found[1]) if found else MAX_MINOR
    if minor > MAX_MINOR:
        words = f"Version 2.{minor} is not supported by the API. Minimum is 2.1 and maximum is 2.{MAX_MINOR}."
        raise ApiError(406, "computeFault", words)
    call.microversion = (2, minor)


def _no_such_path(path: str) -> Any:
    """How each service says that it has no such path."""
    service, words = path.split("/")[1] if "/" in path else "", "The resource could not be found."
    if service == "network":
        return error_body("network", 404, "HTTPNotFound", words)
    if service in {"compute", "image"}:
        return {"message": f"{words}<br /><br />\n\n\n", "code": "404 Not Found", "title": "Not Found"}
    return "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n"


def _failure(service: str, status: int) -> tuple[int, Any]:
    """An answer that a fault asked for."""
    kinds = {401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 409: "conflictingRequest", 429: "overLimit"}
    return status, error_body(service, status, kinds.get(status, "computeFault"), f"a fault was set: HTTP {status}")
