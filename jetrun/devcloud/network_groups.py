"""Security groups and their rules. Pure; part of the model of Neutron.

Source: Neutron 21, db/securitygroups_db.py and extensions/securitygroup.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.network_ports import bad_request

if TYPE_CHECKING:
    from jetrun.devcloud.network import NetworkModel

Row = dict[str, Any]

SSH = (22, 2222)
"""Ports that the group ``default`` lets in. Neutron's own lets nobody in but its members; a demo must work at once."""

FIELDS = (
    "direction",
    "ethertype",
    "protocol",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_group_id",
)
"""Two rules with the same of these are the same rule."""


def ensure_default(network: NetworkModel, project_id: str) -> Row:
    """The project's group ``default``: its members reach each other, SSH reaches them, they reach everybody."""
    for group in network.groups.values():
        if group["project_id"] == project_id and group["name"] == "default":
            return group
    group = _group(network, project_id, "default", "Default security group")
    _add(network, group, {"direction": "ingress", "remote_group_id": group["id"]})
    for port in SSH:
        _add(network, group, {"protocol": "tcp", "port_range_min": port, "port_range_max": port})
    return group


def create(network: NetworkModel, caller: Caller, wish: Mapping[str, Any]) -> Row:
    """A group of the caller's that lets nobody in yet."""
    ensure_default(network, caller.project_id)
    if wish.get("name") == "default":
        raise ApiError(409, "SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
    network.check_quota(caller.project_id, "security_group", network.groups)
    return _group(network, caller.project_id, str(wish.get("name", "")), str(wish.get("description", "")))


def _group(network: NetworkModel, project_id: str, name: str, description: str) -> Row:
    """A new group, with the rules that every one has: all traffic out."""
    key = network.new_id()
    group: Row = {
        "id": key, "name": name, "project_id": project_id, "tenant_id": project_id, "description": description, "tags": [],
        "revision_number": 1, "stateful": True, "shared": False, "security_group_rules": [],
    }  # fmt: skip
    network.groups[key] = group
    for ethertype in ("IPv4", "IPv6"):
        _add(network, group, {"direction": "egress", "ethertype": ethertype})
    return group


def delete(network: NetworkModel, caller: Caller, key: str) -> None:
    """Delete a group that no port has."""
    group = network.get(caller, network.groups, "SecurityGroup", key)
    if any(key in port["security_groups"] for port in network.ports.values()):
        raise ApiError(409, "SecurityGroupInUse", f"Security Group {key} in use.")
    if group["name"] == "default" and not caller.is_admin:
        words = "Insufficient rights for removing default security group."
        raise ApiError(409, "SecurityGroupCannotRemoveDefault", words)
    del network.groups[key]


def add_rule(network: NetworkModel, caller: Caller, wish: Mapping[str, Any]) -> Row:
    """A new rule of a group of the caller's."""
    group = network.get(caller, network.groups, "SecurityGroup", str(wish.get("security_group_id", "")))
    low, high = wish.get("port_range_min"), wish.get("port_range_max")
    if wish.get("direction") not in {"ingress", "egress"}:
        raise bad_request(
            f"Invalid input for direction. Reason: '{wish.get('direction')}' is not in ['ingress', 'egress']."
        )
    if (low is not None or high is not None) and not wish.get("protocol"):
        words = "Must also specify protocol if port range is given."
        raise ApiError(400, "SecurityGroupProtocolRequiredWithPorts", words)
    if str(wish.get("protocol")).lower() in {"tcp", "udp", "6", "17"} and (low is None) != (high is None):
        raise _bad_range()
    if low is not None and high is not None and wish.get("protocol") != "icmp" and int(low) > int(high):
        raise _bad_range()
    return _add(network, group, wish)


def _bad_range() -> ApiError:
    words = "For TCP/UDP protocols, port_range_min must be <= port_range_max"
    return ApiError(400, "SecurityGroupInvalidPortRange", words)


def _add(network: NetworkModel, group: Row, wish: Mapping[str, Any]) -> Row:
    """A rule of *group*; ApiError 409 for one that it has."""
    fields = {"direction": "ingress", "ethertype": "IPv4"} | {
        key: wish[key] for key in FIELDS if wish.get(key) is not None
    }
    rule = {key: fields.get(key) for key in FIELDS}
    for one in group["security_group_rules"]:
        if all(one[key] == rule[key] for key in FIELDS):
            words = f"Security group rule already exists. Rule id is {one['id']}."
            raise ApiError(409, "SecurityGroupRuleExists", words)
    row = {
        "id": network.new_id(), "security_group_id": group["id"], "project_id": group["project_id"],
        "tenant_id": group["project_id"], "description": str(wish.get("description") or ""), "tags": [], "revision_number": 0,
        "remote_address_group_id": None, **rule,
    }  # fmt: skip
    group["security_group_rules"].append(row)
    group["revision_number"] += 1
    return row


def rules(network: NetworkModel, caller: Caller) -> list[Row]:
    """Every rule that the caller may see."""
    return [rule for group in network.visible(caller, network.groups) for rule in group["security_group_rules"]]


def delete_rule(network: NetworkModel, caller: Caller, key: str) -> None:
    """Delete a rule."""
    for group in network.visible(caller, network.groups):
        kept = [rule for rule in group["security_group_rules"] if rule["id"] != key]
        if len(kept) < len(group["security_group_rules"]):
            group["security_group_rules"] = kept
            group["revision_number"] += 1
            return
    raise ApiError(404, "SecurityGroupRuleNotFound", f"Security group rule {key} does not exist")
