"""Floating IPs: addresses of the external network that move from port to port. Pure; part of the model of Neutron.

Source: Neutron 21, db/l3_db.py. Routers are not modelled: every network is reached from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.network_ports import bad_request, text

if TYPE_CHECKING:
    from jetrun.devcloud.network import NetworkModel

Row = dict[str, Any]

FREE: Row = {"port_id": None, "fixed_ip_address": None, "router_id": None, "status": "DOWN", "port_details": None}
"""What a floating IP says that is on no port."""

DETAILS = ("name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner")
"""What it says of its port."""


def create(network: NetworkModel, caller: Caller, wish: Mapping[str, Any], now: datetime) -> Row:
    """A floating IP of the caller's, on a port where one is given."""
    if not wish.get("floating_network_id"):
        raise bad_request("Failed to parse request. Required attribute 'floating_network_id' not specified")
    outside = network.get(caller, network.networks, "Network", str(wish["floating_network_id"]))
    if not outside["router:external"]:
        words = f"Bad floatingip request: Network {outside['id']} is not a valid external network."
        raise ApiError(400, "BadRequest", words)
    network.check_quota(caller.project_id, "floatingip", network.floating)
    _, address = network.take_address(outside, wish.get("floating_ip_address"))
    row: Row = {
        "id": network.new_id(), "floating_ip_address": address, "floating_network_id": outside["id"], **FREE,
        "project_id": caller.project_id, "tenant_id": caller.project_id, "description": str(wish.get("description") or ""),
        "tags": list(wish.get("tags") or []), "revision_number": 0, "created_at": text(now), "updated_at": text(now),
        "dns_domain": "", "dns_name": "", "qos_policy_id": None, "port_forwardings": [],
    }  # fmt: skip
    if wish.get("port_id"):
        associate(network, caller, row, str(wish["port_id"]), now)
    network.floating[row["id"]] = row
    return row


def update(network: NetworkModel, caller: Caller, row: Row, changes: Mapping[str, Any], now: datetime) -> None:
    """Move a floating IP, take it off (``port_id`` None), or describe it."""
    for key in changes:
        if key not in {"port_id", "fixed_ip_address", "description"}:
            words = f"Cannot update read-only attribute {key}" if key in row else f"Unrecognized attribute(s) '{key}'"
            raise bad_request(words)
    if "port_id" in changes:
        associate(network, caller, row, changes["port_id"], now)
    if "description" in changes:
        row["description"] = str(changes["description"])
        network.touch(row, now)


def associate(network: NetworkModel, caller: Caller, row: Row, port_id: str | None, now: datetime) -> None:
    """Put a floating IP on a port, or take it off; ApiError 409 where the port has another one."""
    if port_id is None:
        row |= FREE
    else:
        port = network.get(caller, network.ports, "Port", port_id)
        fixed = port["fixed_ips"][0]["ip_address"]
        for other in network.floating.values():
            if other["port_id"] == port_id and other["id"] != row["id"]:
                words = (
                    f"Cannot associate floating IP {row['floating_ip_address']} ({row['id']}) with port {port_id} using "
                    f"fixed IP {fixed}, as that fixed IP already has a floating IP on external network "
                    f"{row['floating_network_id']}."
                )
                raise ApiError(409, "FloatingIPPortAlreadyAssociated", words)
        details = {key: port[key] for key in DETAILS}
        row |= {"port_id": port_id, "fixed_ip_address": fixed, "status": "ACTIVE", "port_details": details}
    network.touch(row, now)
