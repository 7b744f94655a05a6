"""Networks, subnets, ports with revisions, security groups and floating IPs: as much of Neutron as jetrun needs. Pure.

What a port takes and when: ``network_ports.py``; security groups: ``network_groups.py``; floating IPs: ``network_floating.py``.
Texts and rules: Neutron 21 (the lab's) and its source. A model kinder than the real thing is a bug.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from jetrun.devcloud import network_floating, network_groups
from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import ApiError, conflict
from jetrun.devcloud.network_ports import check_changes, check_revision, check_wish, new_port, text

Row = dict[str, Any]

MISSING = {
    "Network": "Network {} could not be found.",
    "Subnet": "Subnet {} could not be found.",
    "Port": "Port {} could not be found.",
    "SecurityGroup": "Security group {} does not exist",
    "FloatingIP": "Floating IP {} could not be found",
}
"""Neutron's 404 by kind. Source: neutron_lib.exceptions, l3.py; neutron.extensions.securitygroup."""

FIRST = 10
"""The first host of a subnet that is given out: room below for what a real network has there (gateway, DHCP)."""


class NetworkModel:
    """All tables as plain rows, in Neutron's own field names.

    Args:
        new_id: gives a new uuid. net: the second byte of the addresses, 127.NET.0.0/16, on which instances listen.
    """

    def __init__(self, *, new_id: Callable[[], str], net: int) -> None:
        self.new_id = new_id
        self.net = net
        self.quota = {"floatingip": 50, "port": 500, "security_group": 100}
        self.networks: dict[str, Row] = {}
        self.subnets: dict[str, Row] = {}
        self.ports: dict[str, Row] = {}
        self.groups: dict[str, Row] = {}
        self.floating: dict[str, Row] = {}
        self.cursors: dict[str, int] = {}

    # --- set-up ---

    def seed(self, project_id: str, now: datetime) -> None:
        """A private network that everybody shares, an external one, and their subnets."""
        for name, external, cidr in (
            ("auto_allocated_network", False, f"127.{self.net}.0.0/17"),
            ("public", True, f"127.{self.net}.240.0/24"),
        ):
            network, subnet = self.new_id(), self.new_id()
            hosts = ipaddress.ip_network(cidr)
            owned = {"project_id": project_id, "tenant_id": project_id, "tags": [], "description": "", "revision_number": 1,
                     "created_at": text(now), "updated_at": text(now)}  # fmt: skip
            self.networks[network] = {
                "id": network, "name": name, "status": "ACTIVE", "admin_state_up": True, "shared": not external,
                "router:external": external, "subnets": [subnet], "port_security_enabled": True, "mtu": 1500,
                "is_default": external, "availability_zones": ["nova"], "availability_zone_hints": [], "ipv4_address_scope": None,
                "ipv6_address_scope": None, "qos_policy_id": None, **owned,
            }  # fmt: skip
            self.subnets[subnet] = {
                "id": subnet, "name": name, "network_id": network, "cidr": cidr, "ip_version": 4, "enable_dhcp": True,
                "gateway_ip": None, "dns_nameservers": [], "host_routes": [], "ipv6_address_mode": None, "ipv6_ra_mode": None,
                "allocation_pools": [{"start": str(hosts[FIRST]), "end": str(hosts[-2])}], "service_types": [],
                "subnetpool_id": None, **owned,
            }  # fmt: skip

    # --- what a caller may see ---

    def visible(self, caller: Caller, table: dict[str, Row]) -> list[Row]:
        """The rows of *table* that *caller* may read."""
        return [row for row in table.values() if self._may_read(caller, row)]

    def _may_read(self, caller: Caller, row: Row) -> bool:
        shared = row.get("shared") or row.get("router:external")
        if "cidr" in row:  # a subnet is as open as its network, an external one's excepted
            shared = self.networks[row["network_id"]]["shared"]
        return bool(caller.is_admin or row["project_id"] == caller.project_id or shared)

    def get(self, caller: Caller, table: dict[str, Row], kind: str, key: str) -> Row:
        """One row; ApiError 404 for what is not there or not the caller's."""
        row = table.get(key)
        if row is None or not self._may_read(caller, row):
            raise ApiError(404, f"{kind}NotFound", MISSING[kind].format(key))
        return row

    def check_quota(self, project_id: str, kind: str, table: dict[str, Row]) -> None:
        """ApiError 409 where the project has as many as it may."""
        if sum(row["project_id"] == project_id for row in table.values()) >= self.quota[kind]:
            raise ApiError(409, "OverQuota", f"Quota exceeded for resources: ['{kind}'].")

    def touch(self, row: Row, now: datetime) -> None:
        """Every change raises the revision."""
        row["revision_number"] += 1
        row["updated_at"] = text(now)

    # --- addresses ---

    def take_address(self, network: Row, wanted: str | None = None) -> tuple[str, str]:
        """(subnet, address) that is free on *network*: the *wanted* one, else the next after the last one given.

        An address that was given back is the last to be given again: its old instance may still be closing its doors.

        Raises:
            ApiError: 409 when there is none left or it is taken, 400 when it is not of this network.
        """
        subnet = self.subnets[network["subnets"][0]]
        hosts, used = ipaddress.ip_network(subnet["cidr"]), self._used()
        if wanted is not None:
            if ipaddress.ip_address(wanted) not in hosts:
                words = f"IP address {wanted} is not a valid IP for any of the subnets on the specified network."
                raise ApiError(400, "InvalidIpForNetwork", words)
            if wanted in used:
                words = f"IP address {wanted} already allocated in subnet {subnet['id']}"
                raise ApiError(409, "IpAddressAlreadyAllocated", words)
            return subnet["id"], wanted
        room = hosts.num_addresses - 1 - FIRST
        cursor = self.cursors.get(network["id"], 0)
        for step in range(room):
            address = str(hosts[FIRST + (cursor + step) % room])
            if address not in used:
                self.cursors[network["id"]] = (cursor + step + 1) % room
                return subnet["id"], address
        words = f"No more IP addresses available on network {network['id']}."
        raise ApiError(409, "IpAddressGenerationFailure", words)

    def _used(self) -> set[str]:
        """Every address that is given out, fixed and floating."""
        fixed = {one["ip_address"] for port in self.ports.values() for one in port["fixed_ips"]}
        return fixed | {row["floating_ip_address"] for row in self.floating.values()}

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

    # --- ports ---

    def create_port(self, caller: Caller, wish: Mapping[str, Any], now: datetime) -> Row:
        """A port of the caller's on a network of its own or a shared one."""
        check_wish(caller, wish)
        network = self.get(caller, self.networks, "Network", str(wish["network_id"]))
        if not (network["shared"] or network["project_id"] == caller.project_id or caller.is_admin):
            raise ApiError(404, "NetworkNotFound", MISSING["Network"].format(network["id"]))
        groups = wish.get("security_groups")
        keys = [self.ensure_default_group(caller.project_id)["id"]] if groups is None else list(groups)
        for key in keys:
            self.get(caller, self.groups, "SecurityGroup", key)
        self.check_quota(caller.project_id, "port", self.ports)
        fixed = wish.get("fixed_ips") or [{}]
        port = self._port(network, caller.project_id, now, fixed[0].get("ip_address"))
        return self._change(port, {**wish, "security_groups": keys})

    def _port(self, network: Row, project_id: str, now: datetime, address: str | None = None) -> Row:
        """A new port with an address."""
        port = new_port(self.new_id(), network, project_id, self.take_address(network, address), now)
        self.ports[port["id"]] = port
        return port

    @staticmethod
    def _change(port: Row, changes: Mapping[str, Any]) -> Row:
        """*port*, with what was asked for and may be written."""
        port |= {key: value for key, value in changes.items() if key in port and key not in {"fixed_ips", "tags"}}
        port["tags"] = list(changes.get("tags", port["tags"]))
        return port

    def update_port(
        self,
        port: Row,
        changes: Mapping[str, Any],
        now: datetime,
        *,
        caller: Caller | None = None,
        if_match: str | None = None,
    ) -> Row:
        """Change a port, if it still has the revision named in *if_match*, and what the answer says of it.

        A change to what it is already counts as one. A description is kept beside the port and raises the revision a second
        time, after the answer was made: the answer's revision is then old at once (seen on Neutron 21).

        Args:
            caller: who asks; None for who may write everything.

        Raises:
            ApiError: 412 when somebody else wrote since, 400, 403 or 404 for what cannot be written.
        """
        check_changes(caller, port, changes)
        for key in changes.get("security_groups", []):
            if key not in self.groups or (caller is not None and not self._may_read(caller, self.groups[key])):
                raise ApiError(404, "SecurityGroupNotFound", MISSING["SecurityGroup"].format(key))
        check_revision(port, if_match)
        self._change(port, changes)
        self.touch(port, now)
        answered = dict(port)
        if "description" in changes:
            self.touch(port, now)
        return answered

    def delete_port(self, port: Row, *, if_match: str | None = None) -> None:
        """Delete a port, an instance's too, as Neutron does; its floating IPs are left free."""
        check_revision(port, if_match)
        for floating in self.floating.values():
            if floating["port_id"] == port["id"]:
                floating.update(network_floating.FREE)
        del self.ports[port["id"]]

    # --- what Nova asks ---

    def allocate_port(self, project_id: str, network_id: str, device_id: str, now: datetime, groups: list[str]) -> str:
        """A port that Nova makes for an instance, and deletes with it."""
        self.check_quota(project_id, "port", self.ports)
        port = self._port(self.networks[network_id], project_id, now)
        port["made_by_nova"] = True
        port["security_groups"] = groups or [self.ensure_default_group(project_id)["id"]]
        self.bind_port(port["id"], device_id, now)
        return str(port["id"])

    def bind_port(self, port_id: str, device_id: str, now: datetime) -> None:
        """Give a port to an instance; ApiError 409 when it has one, 404 when it went meanwhile."""
        port = self.ports.get(port_id)
        if port is None:
            raise ApiError(404, "PortNotFound", MISSING["Port"].format(port_id))
        if port["device_id"] not in ("", device_id):
            raise conflict(f"Port {port_id} is still in use.")
        port |= {"device_id": device_id, "device_owner": "compute:nova", "status": "ACTIVE"}
        self.touch(port, now)

    def set_plugged(self, device_id: str, now: datetime, *, plugged: bool) -> None:
        """A port is ACTIVE while its instance runs, and each change of that raises the revision, whoever holds a lease on it."""
        for port in self.ports_of(device_id):
            status = "ACTIVE" if plugged else "DOWN"
            if port["status"] != status:
                port["status"] = status
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

    # --- groups and floating IPs ---

    def ensure_default_group(self, project_id: str) -> Row:
        """The project's security group ``default``."""
        return network_groups.ensure_default(self, project_id)

    def create_floating(self, caller: Caller, wish: Mapping[str, Any], now: datetime) -> Row:
        """A floating IP, on a port where one is given."""
        return network_floating.create(self, caller, wish, now)

    # --- keeping ---

    def to_state(self) -> Row:
        """Everything, as plain data."""
        names = ("net", "quota", "networks", "subnets", "ports", "groups", "floating", "cursors")
        return {name: getattr(self, name) for name in names}

    def from_state(self, state: Row) -> None:
        """What ``to_state`` gave, taken back."""
        for name, value in state.items():
            setattr(self, name, value)
