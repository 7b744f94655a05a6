"""HTTP around the four APIs: bytes to a request, what the faults do to the wire, keeping, and the answer's bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from jetrun.devcloud.faces import UNTOUCHED, Faces, Reply, Request
from jetrun.devcloud.state import CloudState


class Dispatcher:
    """The door of one cloud.

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
        self.faces = Faces(cloud)

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp: every path that nobody else took."""
        return [web.route("*", "/{path:.*}", self._serve)]

    async def _serve(self, asked: web.Request) -> web.StreamResponse:
        """One request, with whatever the faults do to it."""
        request = Request(
            method=asked.method,
            path=asked.rel_url.raw_path,
            query=asked.rel_url.raw_query_string,
            headers={key.lower(): value for key, value in asked.headers.items()},
            body=await _body(asked),
        )
        target = self.faces.target(request)
        outcome = self._cloud.faults.outcome(target.point) if target is not None else UNTOUCHED
        if outcome.delay_s:
            await asyncio.sleep(outcome.delay_s)
        if outcome.hang_s:
            await asyncio.sleep(outcome.hang_s)
        if outcome.close:
            return _cut(asked)
        reply = self.faces.answer(request, target, self._now(), outcome)
        await self._settle()
        if target is not None and target.route.writes:
            self._cloud.save(self._state_file)
        return _cut(asked) if outcome.lose else _answer(reply)


def _answer(reply: Reply) -> web.Response:
    """The HTTP answer."""
    if reply.body is None:
        return web.Response(status=reply.status, headers=reply.headers)
    if isinstance(reply.body, str):
        return web.Response(status=reply.status, headers=reply.headers, text=reply.body, content_type="text/html")
    return web.json_response(reply.body, status=reply.status, headers=reply.headers)


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
