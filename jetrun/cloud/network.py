"""Neutron's part of the cloud interface: the port that holds the lease, addresses, floating IPs, security groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jetrun.cloud import parse
from jetrun.cloud.interface import Address, AddressKind, LaunchPlan, LeasePort, SshRule
from jetrun.cloud.wire import Params, Wire, nothing, segment
from jetrun.errors import CloudPermanent
from jetrun.guarantee.power import InstanceId

Row = Mapping[str, Any]

_LEASE_FIELDS = [("fields", name) for name in ("id", "revision_number", "description", "device_id")]


class Network:
    """Neutron of one cloud."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._conditional: bool | None = None

    # --- the lease's port ---

    def lease_ports(self, params: Params) -> list[LeasePort]:
        """Ports by filter, as holders of leases."""
        return [parse.port(row) for row in self._ports([*params, *_LEASE_FIELDS])]

    def port(self, port_id: str) -> LeasePort | None:
        """One port, None for Neutron's own 404."""
        path = f"/ports/{segment(port_id)}"
        try:
            return self._wire.call("GET", "network", path, doing=f"reading port {port_id}", pick=_port)
        except CloudPermanent as error:
            if error.status == 404:
                return None
            raise

    def write_port(self, port: LeasePort, description: str) -> LeasePort:
        """Write *description* if nobody wrote since *port* was read.

        Raises:
            CloudError: 412 where somebody did; ``no-conditional-writes`` where Neutron would write whatever happened.
        """
        if port.revision is None or not self._writes_conditionally():
            raise CloudPermanent(
                what="this cloud's Neutron has no conditional writes (its extension revision-if-match)",
                next="openstack extension show revision-if-match",
                code="no-conditional-writes",
            )
        return self._wire.call(
            "PUT",
            "network",
            f"/ports/{segment(port.port_id)}",
            doing="writing the lease",
            body={"port": {"description": description}},
            headers={"If-Match": f"revision_number={port.revision}"},
            pick=_port,
        )

    def _writes_conditionally(self) -> bool:
        """Whether Neutron heeds If-Match, asked once: without the extension it shows revisions and ignores the condition.

        Source: Neutron API reference, extension revision-if-match (Ocata), apart from standard-attr-revisions (Newton).
        """
        if self._conditional is None:
            path = "/extensions/revision-if-match"
            try:
                self._wire.call("GET", "network", path, doing="asking for conditional writes", pick=nothing)
                self._conditional = True
            except CloudPermanent as error:
                if error.status != 404:
                    raise
                self._conditional = False
        return self._conditional

    def create_port(self, plan: LaunchPlan, *, name: str, description: str) -> LeasePort:
        """Make the port that the launch will use."""
        body: dict[str, Any] = {"network_id": plan.network_id, "name": name, "description": description}
        if plan.security_group_ids:
            body["security_groups"] = list(plan.security_group_ids)
        wish = {"port": body}
        return self._wire.call("POST", "network", "/ports", doing="making a port", body=wish, good=(201,), pick=_port)

    def delete_port(self, port_id: str) -> None:
        """Delete a port; Neutron's own 404 is success."""
        self._delete(f"/ports/{segment(port_id)}", doing="deleting a port")

    # --- addresses ---

    def addresses(self, instance: InstanceId) -> list[Address]:
        """Addresses of an instance's ports, floating first."""
        ports = self.ports_of(instance)
        floating = [
            Address(
                ip=str(row["floating_ip_address"]), kind=AddressKind.FLOATING, version=4, port_id=str(row["port_id"])
            )
            for row in self._floating([str(row["id"]) for row in ports])
        ]
        fixed = [
            Address(ip=ip, kind=AddressKind.FIXED, version=6 if ":" in ip else 4, port_id=str(row["id"]))
            for row in ports
            for ip in (str(one["ip_address"]) for one in row.get("fixed_ips") or ())
        ]
        return floating + fixed

    def attach_floating_ip(self, port_id: str, external_network_id: str) -> tuple[str, str]:
        """Make a floating IP on *port_id*."""
        body = {"floatingip": {"floating_network_id": external_network_id, "port_id": port_id}}
        return self._wire.call(
            "POST",
            "network",
            "/floatingips",
            doing="making a floating IP",
            body=body,
            good=(201,),
            pick=lambda answer: _floating_ip(answer.json()["floatingip"]),
        )

    def floating_ips(self, port_id: str) -> list[tuple[str, str]]:
        """Floating IPs of *port_id*."""
        return [_floating_ip(row) for row in self._floating([port_id])]

    def delete_floating_ip(self, floating_ip_id: str) -> None:
        """Delete a floating IP; Neutron's own 404 is success."""
        self._delete(f"/floatingips/{segment(floating_ip_id)}", doing="deleting a floating IP")

    # --- security groups ---

    def ssh_rule(self, instance: InstanceId, port: int) -> SshRule:
        """Whether security groups let TCP *port* in."""
        ports = self.ports_of(instance)
        wanted = {str(key) for row in ports for key in row.get("security_groups") or ()}
        if not wanted:
            return bare_rule(ports)
        rows = self._wire.pages("network", "/security-groups", "security_groups", doing="reading security groups")
        groups = [row for row in rows if row["id"] in wanted]
        return rule_of(groups, port, versions=_versions(ports), all_seen=len(groups) == len(wanted))

    # --- Neutron ---

    def ports_of(self, instance: InstanceId) -> list[Row]:
        """An instance's ports, by id."""
        return sorted(self._ports([("device_id", instance)]), key=lambda row: str(row["id"]))

    def _ports(self, params: Params) -> list[Row]:
        return self._wire.pages("network", "/ports", "ports", doing="listing ports", params=params)

    def _floating(self, port_ids: Sequence[str]) -> list[Row]:
        """Floating IPs of any of these ports."""
        if not port_ids:
            return []
        params = [("port_id", one) for one in port_ids]
        return self._wire.pages("network", "/floatingips", "floatingips", doing="listing floating IPs", params=params)

    def _delete(self, path: str, *, doing: str) -> None:
        try:
            self._wire.call("DELETE", "network", path, doing=doing, good=(204,), pick=nothing)
        except CloudPermanent as error:
            if error.status != 404:
                raise


def _port(answer: Any) -> LeasePort:
    return parse.port(answer.json()["port"])


def _floating_ip(row: Row) -> tuple[str, str]:
    return str(row["id"]), str(row["floating_ip_address"])


# --- what security groups let in ---


def bare_rule(ports: Sequence[Row]) -> SshRule:
    """The verdict on ports without any group: everything is let in, or nothing, as port security says."""
    secured = {row.get("port_security_enabled") for row in ports}
    allowed = True if secured == {False} else False if secured == {True} else None
    return SshRule(allowed=allowed, groups=())


def rule_of(groups: Sequence[Row], port: int, *, versions: frozenset[str], all_seen: bool) -> SshRule:
    """Whether a rule of *groups* lets TCP *port* in.

    Args:
        versions: of IP that the instance has addresses of, in Neutron's words. all_seen: no group is missing in *groups*.

    Returns:
        ``allowed`` None where only members of some other group are let in, or where not every group could be read.
    """
    own = frozenset(str(row["id"]) for row in groups)
    verdicts = [_lets_in(rule, port, versions, own) for row in groups for rule in row.get("security_group_rules", ())]
    allowed = True if True in verdicts else None if None in verdicts or not all_seen else False
    return SshRule(allowed=allowed, groups=tuple(str(row["name"]) for row in groups))


def _lets_in(rule: Row, port: int, versions: frozenset[str], own: frozenset[str]) -> bool | None:
    """Whether *rule* lets TCP *port* in from some address; None where only from members of another group.

    The rule that every group ``default`` has, for its own members, is no: they are the instances beside this one.

    Source: Neutron API reference, security group rules: no protocol, ``any`` and 0 are every protocol, 6 is TCP.
    """
    if rule.get("direction") != "ingress" or rule.get("ethertype", "IPv4") not in versions:
        return False
    if str(rule.get("protocol") or "any").lower() not in {"any", "0", "tcp", "6"}:
        return False
    low, high = rule.get("port_range_min"), rule.get("port_range_max")
    if low is not None and not int(low) <= port <= int(low if high is None else high):
        return False
    if rule.get("remote_address_group_id"):
        return None
    members = rule.get("remote_group_id")
    return True if not members else False if members in own else None


def _versions(ports: Sequence[Row]) -> frozenset[str]:
    """Versions of IP that these ports have addresses of; IPv4 where they have none yet."""
    found = {"IPv6" if ":" in str(one["ip_address"]) else "IPv4" for row in ports for one in row.get("fixed_ips") or ()}
    return frozenset(found or {"IPv4"})
