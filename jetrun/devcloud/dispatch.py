"""From an HTTP request to a handler and back: authentication, faults, microversions, request ids, keeping."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from jetrun.devcloud import http_compute, http_identity, http_images, http_labels, http_network, http_nova
from jetrun.devcloud.api import Call, Route, error_body
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.faults import Outcome
from jetrun.devcloud.identity import UNAUTHORIZED, rule_allows
from jetrun.devcloud.state import CloudState

MAX_MINOR = 90


class Dispatcher:
    """All routes over one cloud.

    Args:
        now: the cloud's time. state_file: where it is kept after every change.
        settle: carries out the effects that the models asked of the hosts.
    """

    def __init__(
        self,
        cloud: CloudState,
        *,
        now: Callable[[], datetime],
        state_file: Path,
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self._cloud = cloud
        self._now = now
        self._state_file = state_file
        self._settle = settle
        self.base = ""

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp."""
        modules = (http_identity, http_nova, http_labels, http_compute, http_network, http_images)
        return [
            web.route(route.method, route.path, self._endpoint(route))
            for module in modules
            for route in module.routes()
        ]

    def _endpoint(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def endpoint(request: web.Request) -> web.StreamResponse:
            return await self._serve(route, request)

        return endpoint

    async def _serve(self, route: Route, request: web.Request) -> web.StreamResponse:
        """One request, with whatever the faults do to it."""
        body = await _body(request)
        point = route.point(body) if callable(route.point) else route.point
        outcome = self._cloud.faults.outcome(point)
        if outcome.delay_s:
            await asyncio.sleep(outcome.delay_s)
        if outcome.hang_s:
            await asyncio.sleep(outcome.hang_s)
        if outcome.close:
            return _cut(request)
        call = self._call(request, body, stale=outcome.stale)
        status, answer = self._answer(route, call, request, outcome)
        await self._settle()
        if route.writes:
            self._cloud.save(self._state_file)
        if outcome.lose:
            return _cut(request)
        if outcome.fail_after is not None:
            status, answer = _failure(route.service, outcome.fail_after)
        return self._reply(call, route, status, answer)

    def _answer(self, route: Route, call: Call, request: web.Request, outcome: Outcome) -> tuple[int, Any]:
        """Status and body; every refusal in the service's own form."""
        try:
            self._cloud.nova.advance(call.now)
            if outcome.refuse is not None:
                return _failure(route.service, outcome.refuse)
            if not route.public:
                self._authenticate(route, call, request)
            _check_microversion(route, call)
            result = route.handler(call)
            self._cloud.nova.advance(call.now)
        except ApiError as error:
            return error.status, error_body(route.service, error.status, error.kind, error.message)
        return result

    def _call(self, request: web.Request, body: Any, *, stale: bool) -> Call:
        """The request as handlers take it."""
        lists: dict[str, list[str]] = {}
        for key, value in request.query.items():
            lists.setdefault(key, []).append(value)
        wanted = request.headers.get("OpenStack-API-Version", "") or request.headers.get(
            "X-OpenStack-Nova-API-Version", ""
        )
        found = re.search(r"2\.(\d+)", wanted)
        minor = MAX_MINOR if "latest" in wanted else int(found[1]) if found else 1
        return Call(
            cloud=self._cloud,
            now=self._now(),
            request_id=f"req-{uuid.uuid4()}",
            base=self.base,
            path=dict(request.match_info),
            query={key: values[0] for key, values in lists.items()},
            lists=lists,
            headers={key.lower(): value for key, value in request.headers.items()},
            body=body,
            microversion=(2, minor),
            stale=stale,
        )

    def _authenticate(self, route: Route, call: Call, request: web.Request) -> None:
        """Who asks; ApiError 401 for nobody, and for what an access rule does not name."""
        call.who = self._cloud.identity.caller(call.headers.get("x-auth-token", ""), call.now)
        rules = call.who.access_rules
        path = (
            request.path.removeprefix("/compute")
            .removeprefix("/network")
            .removeprefix("/image")
            .removeprefix("/identity")
        )
        if (
            rules is not None
            and route.service != "identity"
            and not rule_allows(rules, route.service, request.method, path)
        ):
            raise UNAUTHORIZED

    def _reply(self, call: Call, route: Route, status: int, answer: Any) -> web.Response:
        """The HTTP answer."""
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
        if answer is None:
            return web.Response(status=status, headers=headers)
        return web.json_response(answer, status=status, headers=headers)


def _check_microversion(route: Route, call: Call) -> None:
    """Nova's 406 for a microversion that it has not."""
    minor = call.microversion[1]
    if route.service == "compute" and minor > MAX_MINOR:
        words = f"Version 2.{minor} is not supported by the API. Minimum is 2.1 and maximum is 2.{MAX_MINOR}."
        raise ApiError(406, "computeFault", words)


def _failure(service: str, status: int) -> tuple[int, Any]:
    """An answer that a fault asked for."""
    kinds = {401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 409: "conflictingRequest", 429: "overLimit"}
    return status, error_body(service, status, kinds.get(status, "computeFault"), f"a fault was set: HTTP {status}")


def _cut(request: web.Request) -> web.Response:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _body(request: web.Request) -> Any:
    """The JSON of a request, None without one or for what is none."""
    if not request.can_read_body:
        return None
    try:
        return json.loads(await request.read())
    except ValueError:
        return None
