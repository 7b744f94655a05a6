"""Nova's HTTP face: flavors, key pairs, limits and quotas. Source: Compute API reference, v2.1 to 2.90."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable
from typing import Any

from jetrun.devcloud.api import Answer, Call, Route
from jetrun.devcloud.errors import ApiError, bad_request, forbidden, not_found
from jetrun.devcloud.server_record import log_time
from jetrun.devcloud.steps import HOST
from jetrun.devcloud.wishes import invalid

Row = dict[str, Any]


def routes() -> list[Route]:
    """Nova's routes about what instances are made of."""

    def route(method: str, path: str, handler: Callable[[Call], Answer], point: str, *, writes: bool = False) -> Route:
        return Route(method=method, path=f"/compute/v2.1{path}", handler=handler, point=f"nova.{point}", service="compute",
                     writes=writes)  # fmt: skip

    return [
        route("GET", "/flavors", _flavors, "flavor_list"),
        route("GET", "/flavors/detail", _flavors, "flavor_list"),
        route("GET", "/flavors/{key}", _flavor, "flavor_show"),
        route("GET", "/flavors/{key}/os-extra_specs", lambda call: (200, {"extra_specs": {}}), "flavor_show"),
        route("GET", "/os-keypairs", _keypairs, "keypair_list"),
        route("POST", "/os-keypairs", _create_keypair, "keypair_create", writes=True),
        route("GET", "/os-keypairs/{key}", _keypair, "keypair_show"),
        route("DELETE", "/os-keypairs/{key}", _delete_keypair, "keypair_delete", writes=True),
        route("GET", "/limits", _limits, "limits"),
        route("GET", "/os-availability-zone", _zones, "zones"),
        route("GET", "/os-availability-zone/detail", _zones_detail, "zones"),
        route("GET", "/os-quota-sets/{key}", _quota, "quota"),
        route("GET", "/extensions", lambda call: (200, {"extensions": []}), "extensions"),
    ]


def _flavor_row(row: Row) -> Row:
    return {
        **row, "OS-FLV-DISABLED:disabled": False, "OS-FLV-EXT-DATA:ephemeral": 0, "os-flavor-access:is_public": True,
        "rxtx_factor": 1.0, "swap": 0, "links": [], "description": None, "extra_specs": {},
    }  # fmt: skip


def _flavors(call: Call) -> Answer:
    rows = [] if call.query.get("marker") else [_flavor_row(row) for row in call.cloud.nova.flavors.values()]
    return 200, {"flavors": rows}


def _flavor(call: Call) -> Answer:
    row = call.cloud.nova.flavors.get(call.path["key"])
    if row is None:
        raise not_found(f"Flavor {call.path['key']} could not be found.")
    return 200, {"flavor": _flavor_row(row)}


def _own(call: Call) -> dict[str, Row]:
    return call.cloud.nova.keypairs.setdefault(call.caller.user_id, {})


def _keypairs(call: Call) -> Answer:
    rows = [] if call.query.get("marker") else [{"keypair": row} for row in _own(call).values()]
    return 200, {"keypairs": rows}


def _create_keypair(call: Call) -> Answer:
    wish = (call.body or {}).get("keypair", {})
    name, key = wish.get("name"), wish.get("public_key")
    if not isinstance(name, str):
        raise invalid("keypair", wish, "'name' is a required property")
    if not re.fullmatch(r"[_\- 0-9a-zA-Z]{1,255}", name):
        words = f"Only expected characters: [_- {string.digits}{string.ascii_lowercase}{string.ascii_uppercase}]"
        raise bad_request(f"An invalid 'name' value was provided. The name must be: {words}")
    if name in _own(call):
        raise ApiError(409, "conflictingRequest", f"Key pair '{name}' already exists.")
    private = None
    if key is None:
        key, private = _generate()
    fingerprint = _fingerprint(key)
    row = {"name": name, "public_key": key, "fingerprint": fingerprint, "type": "ssh", "user_id": call.caller.user_id}
    _own(call)[name] = row
    return 201, {"keypair": row | ({"private_key": private} if private else {})}


def _fingerprint(key: str) -> str:
    """The fingerprint of a public key; ApiError 400 for a text that is none."""
    import asyncssh  # noqa: PLC0415 - heavy, and seldom asked for

    try:
        data = asyncssh.import_public_key(key).public_data
    except (asyncssh.KeyImportError, ValueError) as error:
        raise bad_request("Keypair data is invalid: failed to generate fingerprint") from error
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return ":".join(digest[number : number + 2] for number in range(0, 32, 2))


def _generate() -> tuple[str, str]:
    """A new key pair: (public, private)."""
    import asyncssh  # noqa: PLC0415 - heavy, and seldom asked for

    key = asyncssh.generate_private_key("ssh-ed25519")
    return key.export_public_key().decode().strip(), key.export_private_key().decode()


def _keypair(call: Call) -> Answer:
    row = _own(call).get(call.path["key"])
    if row is None:
        raise not_found(f"Keypair {call.path['key']} not found for user {call.caller.user_id}")
    return 200, {"keypair": row}


def _delete_keypair(call: Call) -> Answer:
    _keypair(call)
    del _own(call)[call.path["key"]]
    return (204 if call.microversion[1] >= 2 else 202), None


def _limits(call: Call) -> Answer:
    nova = call.cloud.nova
    used = [one for one in nova.list(call.caller) if one.vm_state != "shelved_offloaded"]
    absolute = {
        "maxTotalInstances": nova.quota["instances"],
        "maxTotalCores": nova.quota["cores"],
        "maxTotalRAMSize": nova.quota["ram"],
        "maxServerMeta": 128,
        "maxTotalKeypairs": 100,
        "totalInstancesUsed": len(used),
        "totalCoresUsed": sum(one.flavor["vcpus"] for one in used),
        "totalRAMUsed": sum(one.flavor["ram"] for one in used),
    }
    return 200, {"limits": {"rate": [], "absolute": absolute}}


def _zones(_call: Call) -> Answer:
    return 200, {"availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}]}


def _zones_detail(call: Call) -> Answer:
    """With their hosts, for the staff only."""
    if not call.caller.is_admin:
        raise forbidden("Policy doesn't allow os_compute_api:os-availability-zone:detail to be performed.")
    alive = {"available": True, "active": True, "updated_at": log_time(call.now)}
    rows = [("internal", ("nova-scheduler", "nova-conductor")), ("nova", ("nova-compute",))]
    zones = [
        {"zoneName": zone, "zoneState": {"available": True}, "hosts": {HOST: dict.fromkeys(services, alive)}}
        for zone, services in rows
    ]
    return 200, {"availabilityZoneInfo": zones}


def _quota(call: Call) -> Answer:
    return 200, {"quota_set": {"id": call.path["key"], **call.cloud.nova.quota}}
