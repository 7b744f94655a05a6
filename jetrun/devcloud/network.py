"""Networks, subnets, ports with revisions, security groups and floating IPs: as much of Neutron as jetrun needs. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from datetime import datetime
from typing import Any

from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import ApiError

Row = dict[str, Any]


class NetworkModel:
    """All tables as plain rows, in Neutron's own field names.

    Args:
        new_id: gives a new uuid. net: the second byte of the addresses, 127.NET.0.0/16, on which instances listen.
    """

    def __init__(self, *, new_id: Callable[[], str], net: int) -> None:
        self._new_id = new_id
        self.net = net
        self.networks: dict[str, Row] = {}
        self.subnets: dict[str, Row] = {}
        self.ports: dict[str, Row] = {}
        self.groups: dict[str, Row] = {}
        self.floating: dict[str, Row] = {}
        self._next_address = 10
        self._next_floating = 10

    # --- set-up ---

    def seed(self, project_id: str, now: datetime) -> None:
        """A private network that everybody shares, an external one, and their subnets."""
        for name, external, cidr in (
            ("auto_allocated_network", False, f"127.{self.net}.0.0/17"),
            ("public", True, f"127.{self.net}.240.0/24"),
        ):
            network, subnet = self._new_id(), self._new_id()
            self.networks[network] = {
                "id": network, "name": name, "project_id": project_id, "tenant_id": project_id, "status": "ACTIVE",
                "admin_state_up": True, "shared": not external, "router:external": external, "subnets": [subnet],
                "port_security_enabled": True, "mtu": 1500, "is_default": external, "tags": [], "description": "",
                "created_at": _text(now), "updated_at": _text(now), "revision_number": 1, "availability_zones": ["nova"],
            }  # fmt: skip
            self.subnets[subnet] = {
                "id": subnet, "name": name, "network_id": network, "cidr": cidr, "ip_version": 4, "enable_dhcp": True,
                "gateway_ip": None, "project_id": project_id, "tenant_id": project_id, "dns_nameservers": [],
                "allocation_pools": [], "host_routes": [], "tags": [], "revision_number": 1,
            }  # fmt: skip

    def ensure_default_group(self, project_id: str) -> Row:
        """The project's security group ``default``, with SSH let in."""
        for group in self.groups.values():
            if group["project_id"] == project_id and group["name"] == "default":
                return group
        return self.create_group(project_id, "default", rules=((22, 22), (2222, 2222)))

    def create_group(self, project_id: str, name: str, *, rules: tuple[tuple[int, int], ...] = ()) -> Row:
        """A security group with TCP rules for port ranges."""
        key = self._new_id()
        group: Row = {
            "id": key, "name": name, "project_id": project_id, "tenant_id": project_id, "description": "", "tags": [],
            "revision_number": 1, "stateful": True, "security_group_rules": [],
        }  # fmt: skip
        self.groups[key] = group
        for low, high in rules:
            self.add_rule(group, {"protocol": "tcp", "port_range_min": low, "port_range_max": high})
        return group

    def add_rule(self, group: Row, wish: Row) -> Row:
        """A rule of *group*."""
        rule = {
            "id": self._new_id(), "security_group_id": group["id"], "direction": wish.get("direction", "ingress"),
            "ethertype": wish.get("ethertype", "IPv4"), "protocol": wish.get("protocol"),
            "port_range_min": wish.get("port_range_min"), "port_range_max": wish.get("port_range_max"),
            "remote_ip_prefix": wish.get("remote_ip_prefix"), "remote_group_id": wish.get("remote_group_id"),
            "project_id": group["project_id"], "tenant_id": group["project_id"], "description": "", "revision_number": 0,
        }  # fmt: skip
        group["security_group_rules"].append(rule)
        return rule

    # --- what a caller may see ---

    def visible(self, caller: Caller, table: dict[str, Row]) -> list[Row]:
        """The rows of *table* that *caller* may read."""
        return [
            row
            for row in table.values()
            if caller.is_admin
            or row.get("project_id") == caller.project_id
            or row.get("shared")
            or row.get("router:external")
            or (table is self.subnets and self.networks[row["network_id"]]["shared"])
        ]

    def get(self, caller: Caller, table: dict[str, Row], kind: str, key: str) -> Row:
        """One row; ApiError 404 for what is not there or not the caller's."""
        row = table.get(key)
        if row is None or row not in self.visible(caller, table):
            raise ApiError(404, f"{kind}NotFound", f"{kind} {key} could not be found.")
        return row

    # --- ports ---

    def create_port(self, caller: Caller, wish: Row, now: datetime) -> Row:
        """A port of the caller's on a network."""
        network = self.get(caller, self.networks, "Network", wish.get("network_id", ""))
        groups = wish.get("security_groups") or [self.ensure_default_group(caller.project_id)["id"]]
        for key in groups:
            self.get(caller, self.groups, "SecurityGroup", key)
        port = self._port(network, caller.project_id, now)
        port |= {key: wish[key] for key in ("name", "description") if key in wish}
        port["security_groups"] = list(groups)
        return port

    def _port(self, network: Row, project_id: str, now: datetime) -> Row:
        """A new port with an address."""
        key = self._new_id()
        self._next_address += 1
        address = str(ipaddress.ip_address(f"127.{self.net}.0.0") + self._next_address)
        tail = key.replace("-", "")
        port: Row = {
            "id": key, "name": "", "network_id": network["id"], "project_id": project_id, "tenant_id": project_id,
            "mac_address": f"fa:16:3e:{tail[0:2]}:{tail[2:4]}:{tail[4:6]}", "status": "DOWN", "admin_state_up": True,
            "device_id": "", "device_owner": "", "description": "", "tags": [], "revision_number": 1,
            "fixed_ips": [{"subnet_id": network["subnets"][0], "ip_address": address}], "security_groups": [],
            "binding:vnic_type": "normal", "port_security_enabled": True, "allowed_address_pairs": [],
            "created_at": _text(now), "updated_at": _text(now), "made_by_nova": False,
        }  # fmt: skip
        self.ports[key] = port
        return port

    def update_port(self, port: Row, changes: Row, now: datetime, *, if_match: str | None = None) -> Row:
        """Change a port, if it still has the revision named in *if_match*.

        Raises:
            ApiError: 412 when somebody else wrote since.
        """
        if if_match is not None and if_match != f"revision_number={port['revision_number']}":
            wanted = if_match.partition("=")[2]
            raise ApiError(
                412,
                "RevisionNumberConstraintFailed",
                f"Constrained to {wanted}, but current revision is {port['revision_number']}",
            )
        allowed = {"name", "description", "security_groups", "admin_state_up"}
        for key, value in changes.items():
            if key not in allowed:
                raise ApiError(400, "HTTPBadRequest", f"Attribute '{key}' not allowed in PUT")
            if key == "description" and len(value) > 255:
                raise ApiError(
                    400, "HTTPBadRequest", "Invalid input for description. Reason: exceeds maximum length of 255."
                )
            port[key] = value
        self.touch(port, now)
        return port

    def touch(self, row: Row, now: datetime) -> None:
        """Every change raises the revision."""
        row["revision_number"] += 1
        row["updated_at"] = _text(now)

    def delete_port(self, port: Row) -> None:
        """Delete a port; its floating IPs are left free."""
        for floating in self.floating.values():
            if floating["port_id"] == port["id"]:
                floating |= {"port_id": None, "fixed_ip_address": None, "status": "DOWN"}
        del self.ports[port["id"]]

    # --- what Nova asks ---

    def allocate_port(self, caller: Caller, network_id: str, device_id: str, now: datetime, groups: list[str]) -> str:
        """A port that Nova makes for an instance, and deletes with it."""
        network = self.get(caller, self.networks, "Network", network_id)
        port = self._port(network, caller.project_id, now)
        port["made_by_nova"] = True
        port["security_groups"] = groups or [self.ensure_default_group(caller.project_id)["id"]]
        self.bind_port(port["id"], device_id, now)
        return str(port["id"])

    def bind_port(self, port_id: str, device_id: str, now: datetime) -> None:
        """Give a port to an instance; ApiError 409 when it has one."""
        port = self.ports[port_id]
        if port["device_id"] not in ("", device_id):
            raise ApiError(409, "conflictingRequest", f"Port {port_id} is still in use.")
        port |= {"device_id": device_id, "device_owner": "compute:nova", "status": "ACTIVE"}
        self.touch(port, now)

    def set_plugged(self, device_id: str, now: datetime, *, plugged: bool) -> None:
        """A port is ACTIVE while its instance is on a host. Nova's own binding raises the revision."""
        for port in self.ports_of(device_id):
            port["status"] = "ACTIVE" if plugged else "DOWN"
            self.touch(port, now)

    def release_ports(self, device_id: str, now: datetime) -> None:
        """The instance is gone: its own ports go, a port that a user made stays and is free."""
        for port in self.ports_of(device_id):
            if port["made_by_nova"]:
                self.delete_port(port)
            else:
                port |= {"device_id": "", "device_owner": "", "status": "DOWN"}
                self.touch(port, now)

    def ports_of(self, device_id: str) -> list[Row]:
        """The ports of an instance."""
        return [port for port in self.ports.values() if port["device_id"] == device_id]

    def addresses_of(self, device_id: str) -> list[tuple[str, str, str, str]]:
        """(network name, address, ``fixed`` or ``floating``, mac) of an instance."""
        found = []
        for port in self.ports_of(device_id):
            name = self.networks[port["network_id"]]["name"]
            found += [(name, one["ip_address"], "fixed", port["mac_address"]) for one in port["fixed_ips"]]
            for floating in self.floating.values():
                if floating["port_id"] == port["id"]:
                    found.append((name, floating["floating_ip_address"], "floating", port["mac_address"]))
        return found

    # --- floating IPs ---

    def create_floating(self, caller: Caller, wish: Row, now: datetime) -> Row:
        """A floating IP, on a port where one is given."""
        network = self.get(caller, self.networks, "Network", wish.get("floating_network_id", ""))
        key = self._new_id()
        self._next_floating += 1
        row: Row = {
            "id": key, "floating_ip_address": f"127.{self.net}.240.{self._next_floating}", "port_id": None,
            "floating_network_id": network["id"], "fixed_ip_address": None, "router_id": None, "status": "DOWN",
            "project_id": caller.project_id, "tenant_id": caller.project_id, "description": wish.get("description", ""),
            "tags": [], "revision_number": 1, "created_at": _text(now), "updated_at": _text(now), "port_details": None,
        }  # fmt: skip
        self.floating[key] = row
        if wish.get("port_id"):
            self.associate(caller, row, wish["port_id"], now)
        return row

    def associate(self, caller: Caller, row: Row, port_id: str | None, now: datetime) -> None:
        """Put a floating IP on a port, or take it off."""
        if port_id is None:
            row |= {"port_id": None, "fixed_ip_address": None, "status": "DOWN"}
        else:
            port = self.get(caller, self.ports, "Port", port_id)
            row |= {"port_id": port_id, "fixed_ip_address": port["fixed_ips"][0]["ip_address"], "status": "ACTIVE"}
        self.touch(row, now)

    # --- keeping ---

    def to_state(self) -> Row:
        """Everything, as plain data."""
        names = ("net", "networks", "subnets", "ports", "groups", "floating", "_next_address", "_next_floating")
        return {name: getattr(self, name) for name in names}

    def from_state(self, state: Row) -> None:
        """What ``to_state`` gave, taken back."""
        for name, value in state.items():
            setattr(self, name, value)


def _text(now: datetime) -> str:
    """Neutron's form of an instant."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
