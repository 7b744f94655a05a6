"""Nova's HTTP face: metadata and tags, refused in the states in which Nova refuses them. Source: Compute API reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jetrun.devcloud.api import Answer, Call, Route
from jetrun.devcloud.errors import ApiError, bad_request, conflict, not_found
from jetrun.devcloud.http_actions import check_mapped
from jetrun.devcloud.http_nova import server_of
from jetrun.devcloud.server_record import ServerRecord
from jetrun.devcloud.wishes import MOST_TAGS, check_metadata, check_tags

Row = dict[str, Any]


def routes() -> list[Route]:
    """Nova's routes about what people write on servers."""

    def route(method: str, path: str, handler: Callable[[Call], Answer], point: str, *, writes: bool = False) -> Route:
        return Route(method=method, path="/compute/v2.1/servers/{key}" + path, handler=handler, point=f"nova.{point}",
                     service="compute", writes=writes)  # fmt: skip

    return [
        route("GET", "/metadata", lambda call: (200, {"metadata": server_of(call).metadata}), "metadata"),
        route("POST", "/metadata", _metadata, "metadata_update", writes=True),
        route("PUT", "/metadata/{item}", _metadata_item, "metadata_update", writes=True),
        route("DELETE", "/metadata/{item}", _metadata_delete, "metadata_delete", writes=True),
        route("GET", "/tags", _tags, "tags"),
        route("PUT", "/tags", _tags_replace, "tag_update", writes=True),
        route("DELETE", "/tags", _tags_remove, "tag_delete", writes=True),
        route("GET", "/tags/{tag}", _has_tag, "tags"),
        route("PUT", "/tags/{tag}", _tag, "tag_update", writes=True),
        route("DELETE", "/tags/{tag}", _untag, "tag_delete", writes=True),
    ]


def _open(call: Call, what: str) -> ServerRecord:
    """The instance that metadata are written on; a lock is in the way of these, but not of tags."""
    server = server_of(call)
    if server.locked_by is not None and not call.caller.is_admin:
        raise conflict(f"Instance {server.id} is locked")
    call.cloud.nova.check_writable(server, what)
    return server


def _metadata(call: Call) -> Answer:
    items = (call.body or {}).get("metadata", {})
    check_metadata(items)
    server = _open(call, "update metadata")
    server.metadata |= items
    return 200, {"metadata": server.metadata}


def _metadata_item(call: Call) -> Answer:
    items = (call.body or {}).get("meta", {})
    check_metadata(items)
    _open(call, "update metadata").metadata |= items
    return 200, {"meta": items}


def _metadata_delete(call: Call) -> Answer:
    if call.path["item"] not in server_of(call).metadata:  # what is not there is told before anything else
        raise not_found("Metadata item was not found")
    del _open(call, "delete metadata").metadata[call.path["item"]]
    return 204, None


def _tagged(call: Call, what: str) -> ServerRecord:
    """The instance that tags are written on."""
    check_mapped(call)
    server = server_of(call)
    call.cloud.nova.check_writable(server, what)
    return server


def _tags(call: Call) -> Answer:
    check_mapped(call)
    return 200, {"tags": server_of(call).tags}


def _tags_replace(call: Call) -> Answer:
    tags = check_tags((call.body or {}).get("tags"))
    server = _tagged(call, "update tags")
    server.tags = list(tags)
    return 200, {"tags": server.tags}


def _tags_remove(call: Call) -> Answer:
    _tagged(call, "delete tags").tags = []
    return 204, None


def _has_tag(call: Call) -> Answer:
    check_mapped(call)
    if call.path["tag"] not in server_of(call).tags:
        raise _no_tag(call)
    return 204, None


def _tag(call: Call) -> Answer:
    check_tags([call.path["tag"]])
    server = _tagged(call, "update tag")
    if call.path["tag"] in server.tags:
        return 204, None
    if len(server.tags) >= MOST_TAGS:
        raise bad_request(f"The number of tags exceeded the per-server limit {MOST_TAGS}")
    server.tags.append(call.path["tag"])
    return 201, None


def _untag(call: Call) -> Answer:
    server = _tagged(call, "delete tag")
    if call.path["tag"] not in server.tags:
        raise _no_tag(call)
    server.tags.remove(call.path["tag"])
    return 204, None


def _no_tag(call: Call) -> ApiError:
    return not_found(f"Instance {call.path['key']} has no tag '{call.path['tag']}'")
