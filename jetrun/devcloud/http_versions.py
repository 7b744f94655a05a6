"""Where Keystone, Neutron and Glance tell which versions they speak; clients read it before they log in.

Each face takes its own documents from here. Nova's are in ``http_nova``, with its microversions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jetrun.devcloud.api import Answer, Call, Route

Row = dict[str, Any]
Handler = Callable[[Call], Answer]

POINTS = {"identity": "keystone", "network": "neutron", "image": "glance"}

NETWORK_RESOURCES = ("network", "subnet", "port", "floatingip", "security_group", "extension")


def documents(service: str) -> list[Route]:
    """The discovery documents of *service*, by every path at which clients look for them; no token is needed."""
    found: dict[str, dict[str, Handler]] = {
        "identity": {"": _keystone, "/": _keystone, "/v3": _keystone_v3, "/v3/": _keystone_v3},
        "network": {"": _neutron, "/": _neutron, "/v2.0": _neutron_v2, "/v2.0/": _neutron_v2},
        "image": {"": _choices, "/": _choices, "/versions": _glance, "/v2": _choices, "/v2/": _choices},
    }
    return [
        Route(
            method="GET",
            path=f"/{service}{path}",
            handler=handler,
            point=f"{POINTS[service]}.versions",
            service=service,
            public=True,
        )
        for path, handler in found[service].items()
    ]


def _keystone_row(call: Call) -> Row:
    """Keystone's v3, as the lab's (Keystone 22) says it."""
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{call.base}/identity/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


def _keystone(call: Call) -> Answer:
    return 300, {"versions": {"values": [_keystone_row(call)]}}


def _keystone_v3(call: Call) -> Answer:
    return 200, {"version": _keystone_row(call)}


def _neutron(call: Call) -> Answer:
    row = {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": f"{call.base}/network/v2.0/"}]}
    return 200, {"versions": [row]}


def _neutron_v2(call: Call) -> Answer:
    rows = [
        {
            "name": name,
            "collection": f"{name}s",
            "links": [{"rel": "self", "href": f"{call.base}/network/v2.0/{name.replace('_', '-')}s"}],
        }
        for name in NETWORK_RESOURCES
    ]
    return 200, {"resources": rows}


def _glance(call: Call) -> Answer:
    """Newest first; older minor versions are told too."""
    links = [{"rel": "self", "href": f"{call.base}/image/v2/"}]
    rows = [
        {"id": f"v2.{minor}", "status": "CURRENT" if minor == 9 else "SUPPORTED", "links": links}
        for minor in (9, 7, 6, 5, 4, 3, 2, 1, 0)
    ]
    return 200, {"versions": rows}


def _choices(call: Call) -> Answer:
    """Glance answers 300 everywhere but at /versions."""
    return 300, _glance(call)[1]
