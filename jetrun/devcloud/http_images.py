"""Glance's HTTP face. Source: Image API reference, v2; filters and refusals: Glance 25's source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from jetrun.devcloud.api import Answer, Call, Route
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.http_versions import documents

Row = dict[str, Any]

LIMIT, MOST = 25, 1000
"""Of a page, where none is asked for and at most. Source: Glance's limit_param_default and api_limit_max."""

NOT_FILTERS = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "visibility", "os_hidden"})

PROPERTIES = {
    "id": "string", "name": "string", "owner": "string", "status": "string", "visibility": "string", "protected": "boolean",
    "size": "integer", "min_disk": "integer", "min_ram": "integer", "container_format": "string", "disk_format": "string",
    "created_at": "string", "updated_at": "string", "tags": "array", "os_hidden": "boolean",
}  # fmt: skip


def routes() -> list[Route]:
    """Glance's routes."""

    def route(method: str, path: str, handler: Callable[[Call], Answer], point: str, *, writes: bool = False) -> Route:
        return Route(method=method, path=f"/image/v2{path}", handler=handler, point=f"glance.{point}", service="image",
                     writes=writes)  # fmt: skip

    return [
        *documents("image"),
        route("GET", "/images", _list, "list"),
        route("POST", "/images", _create, "create", writes=True),
        route("GET", "/images/{key}", _show, "show"),
        route("PUT", "/images/{key}/file", _upload, "upload", writes=True),
        route("DELETE", "/images/{key}", _delete, "delete", writes=True),
        route("GET", "/schemas/image", lambda call: (200, _schema()), "schema"),
        route("GET", "/schemas/images", lambda call: (200, _schema_of_many()), "schema"),
    ]


def _schema() -> Row:
    properties = {name: {"type": [kind, "null"]} for name, kind in PROPERTIES.items()}
    return {"name": "image", "properties": properties, "additionalProperties": {"type": "string"}, "links": []}


def _schema_of_many() -> Row:
    items = {"type": "array", "items": _schema()}
    return {"name": "images", "properties": {"images": items, "first": {"type": "string"}, "next": {"type": "string"}}}


def _list(call: Call) -> Answer:
    """A page of images, newest first, with the address of the next."""
    rows = [row for row in call.cloud.images.visible(call.caller) if _fits(row, call)]
    limit, marker = min(_limit(call), MOST), call.query.get("marker")
    if marker:
        keys = [row["id"] for row in rows]
        if marker not in keys:
            raise ApiError(400, "Bad Request", f"No image found with ID {marker}")
        rows = rows[keys.index(marker) + 1 :]
    query = {key: value for key, value in call.query.items() if key != "marker"}
    first = "/v2/images" + (f"?{urlencode(query)}" if query else "")
    body: Row = {"images": rows[:limit], "first": first, "schema": "/v2/schemas/images"}
    if 0 < limit < len(rows):
        body["next"] = f"/v2/images?{urlencode({**query, 'marker': rows[limit - 1]['id']})}"
    return 200, body


def _limit(call: Call) -> int:
    """How many a page has; ApiError 400 for what is no number."""
    text = call.query.get("limit", str(LIMIT))
    if not text.lstrip("-").isdecimal():
        raise ApiError(400, "Bad Request", "limit param must be an integer")
    if int(text) < 0:
        raise ApiError(400, "Bad Request", "limit param must be positive")
    return int(text)


def _fits(row: Row, call: Call) -> bool:
    """Whether an image has what the query wants. Hidden ones are told only to who asks for them."""
    if row["os_hidden"] != (call.query.get("os_hidden", "false").lower() == "true"):
        return False
    visibility = call.query.get("visibility", "all")
    if visibility not in {"all", row["visibility"]}:
        return False
    for key, values in call.lists.items():
        if key == "tag":
            if not set(values) <= set(row["tags"]):
                return False
        elif key not in NOT_FILTERS and not _means(row.get(key), values[0]):
            return False
    return True


def _means(value: object, wanted: str) -> bool:
    """Whether a field is what a query's text means: the text itself, or one of ``in:a,b``."""
    word = str(value).lower() if isinstance(value, bool) else str(value)
    return word in wanted[3:].split(",") if wanted.startswith("in:") else word == wanted


def _create(call: Call) -> Answer:
    row = call.cloud.images.register(call.caller, call.body if isinstance(call.body, dict) else {}, call.now)
    call.answer_headers["Location"] = f"{call.base}/image/v2/images/{row['id']}"
    return 201, row


def _show(call: Call) -> Answer:
    return 200, call.cloud.images.get(call.caller, call.path["key"])


def _upload(call: Call) -> Answer:
    length = call.headers.get("content-length", "0")
    call.cloud.images.upload(call.caller, call.path["key"], int(length) if length.isdecimal() else 0, call.now)
    return 204, None


def _delete(call: Call) -> Answer:
    call.cloud.images.remove(call.caller, call.path["key"])
    return 204, None
