"""Glance's HTTP face. Source: Image API reference, v2."""

from __future__ import annotations

from typing import Any

from jetrun.devcloud.api import Answer, Call, Route, matches


def routes() -> list[Route]:
    """Glance's routes."""

    def route(method: str, path: str, handler: Any, point: str, *, public: bool = False, writes: bool = False) -> Route:
        return Route(method=method, path=f"/image{path}", handler=handler, point=f"glance.{point}", service="image",
                     public=public, writes=writes)  # fmt: skip

    return [
        route("GET", "", _versions, "versions", public=True),
        route("GET", "/", _versions, "versions", public=True),
        route("GET", "/versions", _versions, "versions", public=True),
        route("GET", "/v2", _versions, "versions", public=True),
        route("GET", "/v2/", _versions, "versions", public=True),
        route("GET", "/v2/images", _list, "list"),
        route("POST", "/v2/images", _create, "create", writes=True),
        route("GET", "/v2/images/{key}", _show, "show"),
        route("DELETE", "/v2/images/{key}", _delete, "delete", writes=True),
        route("GET", "/v2/schemas/image", lambda call: (200, {"name": "image", "properties": {}}), "schema"),
    ]


def _versions(call: Call) -> Answer:
    row = {"id": "v2.9", "status": "CURRENT", "links": [{"rel": "self", "href": f"{call.base}/image/v2/"}]}
    return 300 if call.path == {} else 200, {"versions": [row]}


def _list(call: Call) -> Answer:
    names = ("name", "status", "visibility", "owner", "id")
    rows = [row for row in call.cloud.images.visible(call.caller) if matches(row, call.lists, names)]
    return 200, {"images": rows, "first": "/v2/images", "schema": "/v2/schemas/images"}


def _create(call: Call) -> Answer:
    body = call.body or {}
    row = call.cloud.images.create(str(body.get("name", "")), call.caller.project_id, call.now, status="queued")
    return 201, row


def _show(call: Call) -> Answer:
    return 200, call.cloud.images.get(call.caller, call.path["key"])


def _delete(call: Call) -> Answer:
    call.cloud.images.delete(call.cloud.images.get(call.caller, call.path["key"])["id"])
    return 204, None
