"""Nova's HTTP face: metadata and tags, refused in the states in which Nova refuses them. Source: Compute API reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jetrun.devcloud.api import Answer, Call, Route
from jetrun.devcloud.errors import bad_request, not_found
from jetrun.devcloud.http_nova import server_of

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
        route("GET", "/tags", lambda call: (200, {"tags": server_of(call).tags}), "tags"),
        route("PUT", "/tags", _tags_replace, "tag_update", writes=True),
        route("PUT", "/tags/{tag}", _tag, "tag_update", writes=True),
        route("DELETE", "/tags/{tag}", _untag, "tag_delete", writes=True),
    ]


def _metadata(call: Call) -> Answer:
    server = server_of(call)
    call.cloud.nova.check_writable(server, "update metadata")
    items = (call.body or {}).get("metadata", {})
    if any(len(str(value)) > 255 for value in items.values()):
        raise bad_request("Metadata property value greater than 255 characters")
    server.metadata |= items
    return 200, {"metadata": server.metadata}


def _metadata_item(call: Call) -> Answer:
    server = server_of(call)
    call.cloud.nova.check_writable(server, "update metadata")
    server.metadata |= (call.body or {}).get("meta", {})
    return 200, {"meta": (call.body or {}).get("meta", {})}


def _metadata_delete(call: Call) -> Answer:
    server = server_of(call)
    call.cloud.nova.check_writable(server, "update metadata")
    if server.metadata.pop(call.path["item"], None) is None:
        raise not_found("Metadata item was not found")
    return 204, None


def _tags_replace(call: Call) -> Answer:
    server = server_of(call)
    call.cloud.nova.check_writable(server, "update tag")
    server.tags = list((call.body or {}).get("tags", []))
    return 200, {"tags": server.tags}


def _tag(call: Call) -> Answer:
    server = server_of(call)
    call.cloud.nova.check_writable(server, "update tag")
    if call.path["tag"] in server.tags:
        return 204, None
    server.tags.append(call.path["tag"])
    return 201, None


def _untag(call: Call) -> Answer:
    server = server_of(call)
    call.cloud.nova.check_writable(server, "update tag")
    if call.path["tag"] not in server.tags:
        raise not_found(f"Server {server.id} has no tag '{call.path['tag']}'")
    server.tags.remove(call.path["tag"])
    return 204, None
