"""What a project needs before its first launch: network, subnet, router, security group, key pair. Looked at, named, then made.

Nothing that exists is changed. Objects are found by name within the project, so a call that was interrupted goes on where it stood,
and a reply that was lost is resolved by looking. What Nova and Neutron call them: Networking API v2, Compute API 2.1.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from jetrun.cloud import launching
from jetrun.cloud.topology_pieces import MARK, Piece, Row, Wish, id_of, lets_ssh_in, source_of
from jetrun.cloud.wire import Wire, nothing, segment
from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, CloudTransient, UsageError


class Topology:
    """The objects of one project."""

    def __init__(self, wire: Wire, wish: Wish) -> None:
        self._wire, self._wish = wire, wish
        self._project = str(wire.access().project_id)
        self._automatic = self._is_automatic()
        self._external, self._external_name = ("", "") if self._automatic else self._external_network()
        self._cidr = "" if self._automatic else self._range()

    # --- looking ---

    def look(self) -> list[Piece]:
        """Every object, there or to be made, in the order in which they are made.

        Raises:
            UsageError: one that exists is not as it must be; it is never changed.
        """
        network = [self._topology()] if self._automatic else self._own()
        return [*network, self._group(), *self._rules(), self._keypair()]

    def make(self, told: Callable[[Piece], None]) -> list[Piece]:
        """Makes what is missing, one after the other; *told* hears of each. What is there already is left as it is.

        Raises:
            CloudError: an object could not be made; those before it stay, and the next call goes on there.
        """
        makers = {
            "topology": self._make_topology, "network": self._make_network, "subnet": self._make_subnet,
            "router": self._make_router, "interface": self._make_interface, "security group": self._make_group,
            "rule": self._make_rule, "key pair": self._make_keypair,
        }  # fmt: skip
        done: list[str] = []
        while True:
            missing = next((piece for piece in self.look() if not piece.exists), None)
            if missing is None:
                return self.look()
            label = f"{missing.kind} {missing.name} {missing.detail}"
            if label in done:
                raise CloudPermanent(
                    what=f"the {missing.kind} {missing.name} was made, and is not there", next="jetrun network create --dry-run",
                    code="made-and-gone",
                )  # fmt: skip
            done.append(label)
            try:
                makers[missing.kind](missing)
            except CloudAmbiguous:
                # The reply is lost; the next look says whether it is there. If not, it is not asked for again.
                if not any(f"{one.kind} {one.name} {one.detail}" == label and one.exists for one in self.look()):
                    raise
            except CloudTransient as error:
                if error.status == 409:
                    raise CloudPermanent(
                        what=f"the {missing.kind} {missing.name} was refused: {error.what}",
                        next="openstack quota show --usage", code="network-refused", status=409,
                    ) from error  # fmt: skip
                raise
            told(missing)

    def _rows(self, kind: str, name: str) -> list[Row]:
        """This project's objects of that name."""
        params = [("name", name), ("project_id", self._project)]
        return self._wire.pages("network", f"/{kind}", kind.replace("-", "_"), doing=f"listing {kind}", params=params)

    def _one(self, kind: str, name: str) -> Row | None:
        """The object of that name, None where there is none.

        Raises:
            UsageError: there are two.
        """
        rows = self._rows(kind, name)
        if len(rows) > 1:
            ids = ", ".join(str(row["id"]) for row in rows)
            raise UsageError(
                code="network-ambiguous",
                what=f"this project has {len(rows)} {kind} named {name!r}: {ids}",
                next=f"jetrun network create --name {name}-2",
            )
        return rows[0] if rows else None

    def _is_automatic(self) -> bool:
        """Whether the cloud makes the network of a project itself, and is to."""
        if self._wish.automatic is False:
            return False
        try:
            self._wire.call(
                "GET", "network", f"/auto-allocated-topology/{segment(self._project)}", doing="asking for an automatic network",
                params=[("fields", "dry-run")], pick=nothing,
            )  # fmt: skip
        except CloudError as error:
            # 404: no such extension; 409: it is there, and the cloud's staff has not prepared it.
            if error.status not in {400, 404, 409} or self._wish.automatic:
                raise
            return False
        return True

    def _external_network(self) -> tuple[str, str]:
        """Id and name of the external network.

        Raises:
            UsageError: there is none, or it is not clear which.
        """
        params = [("router:external", "True")]
        rows = self._wire.pages("network", "/networks", "networks", doing="listing external networks", params=params)
        wanted = [row for row in rows if self._wish.external in {None, row["name"], row["id"]}]
        if len(wanted) == 1:
            return str(wanted[0]["id"]), str(wanted[0]["name"])
        names = ", ".join(str(row["name"]) for row in rows) or "none"
        raise UsageError(
            code="which-external-network",
            what=f"external networks of this cloud: {names}",
            next=f"--external {rows[0]['name']}" if rows else "ask the cloud's staff for an external network",
        )

    def _range(self) -> str:
        """The subnet's range: the one that is there, the one that is wanted, or the first that is free.

        Raises:
            UsageError: the one that is wanted overlaps another of this project.
        """
        rows = self._wire.pages("network", "/subnets", "subnets", doing="listing subnets")
        network = self._one("networks", self._wish.name)
        mine = next((row for row in rows if network is not None and row["network_id"] == network["id"]), None)
        if mine is not None:
            return str(mine["cidr"])
        taken = [ipaddress.ip_network(str(row["cidr"]), strict=False) for row in rows]
        ranges = [self._wish.cidr] if self._wish.cidr else [f"10.{number}.0.0/24" for number in range(40, 250)]
        for one in ranges:
            here = ipaddress.ip_network(one)
            if not any(here.version == other.version and here.overlaps(other) for other in taken):
                return one
        raise UsageError(
            code="range-taken", what=f"{ranges[0]} overlaps a subnet of this project", next="--range 10.77.0.0/24"
        )

    def _topology(self) -> Piece:
        params = [("name", launching.AUTO_NAME)]
        rows = self._wire.pages("network", "/networks", "networks", doing="listing networks", params=params)
        return Piece(
            kind="topology", name=launching.AUTO_NAME, detail="network, subnet and router, made by the cloud itself",
            id=str(rows[0]["id"]) if rows else None,
        )  # fmt: skip

    def _own(self) -> list[Piece]:
        """Network, subnet, router and the router's interface."""
        name = self._wish.name
        network, router = self._one("networks", name), self._one("routers", name)
        inner = [("network_id", str(network["id"]))] if network is not None else []
        subnets = (
            self._wire.pages("network", "/subnets", "subnets", doing="listing subnets", params=inner) if inner else []
        )
        if router is not None and not router.get("external_gateway_info"):
            raise UsageError(
                code="router-without-gateway",
                what=f"router {name} ({router['id']}) has no gateway; jetrun changes nothing that exists",
                next=f"openstack router set --external-gateway {self._external} {router['id']}",
            )
        plugged = []
        if router is not None and subnets:
            params = [("device_id", str(router["id"])), *inner]
            plugged = self._wire.pages("network", "/ports", "ports", doing="listing the router's ports", params=params)
        return [
            Piece(kind="network", name=name, detail="for instances", id=id_of(network)),
            Piece(kind="subnet", name=name, detail=self._cidr, id=id_of(subnets[0] if subnets else None)),
            Piece(kind="router", name=name, detail=f"to the external network {self._external_name}", id=id_of(router)),
            Piece(
                kind="interface",
                name=name,
                detail="of the router in the subnet",
                id=id_of(plugged[0] if plugged else None),
            ),
        ]

    @property
    def group_name(self) -> str:
        """The security group's name."""
        return f"{self._wish.name}-ssh"

    def _group(self) -> Piece:
        row = self._one("security-groups", self.group_name)
        return Piece(kind="security group", name=self.group_name, detail="SSH in, everything out", id=id_of(row))

    def _rules(self) -> list[Piece]:
        """One for each range that SSH may come from.

        Raises:
            UsageError: the group exists with other rules, and is not ours to finish.
        """
        group = self._one("security-groups", self.group_name)
        rules = {
            source_of(row): str(row["id"]) for row in (group or {}).get("security_group_rules", ()) if lets_ssh_in(row)
        }
        missing = [source for source in self._wish.ssh_from if source not in rules]
        if group is not None and missing and (rules or not str(group.get("description", "")).startswith(MARK)):
            there = ", ".join(sorted(rules)) or "nowhere"
            raise UsageError(
                code="security-group-differs",
                what=f"security group {self.group_name} ({group['id']}) lets SSH in from {there}, and not from {', '.join(missing)}; "
                "jetrun changes nothing that exists",
                next=f"openstack security group rule create --protocol tcp --dst-port 22 --remote-ip {missing[0]} {group['id']}",
            )
        return [
            Piece(kind="rule", name=self.group_name, detail=f"TCP port 22 from {source}", id=rules.get(source))
            for source in self._wish.ssh_from
        ]

    def _keypair(self) -> Piece:
        held = launching.held_key(self._wire, self._wish.name)
        if held is not None and held.split()[:2] != self._wish.public_key.split()[:2]:
            raise UsageError(
                code="keypair-differs",
                what=f"the cloud's key pair {self._wish.name!r} holds another key than this machine's",
                next=f"jetrun network create --name {self._wish.name}-2",
            )
        return Piece(
            kind="key pair", name=self._wish.name, detail="this machine's public key",
            id=self._wish.name if held is not None else None,
        )  # fmt: skip

    # --- making ---

    def _post(self, path: str, key: str, body: dict[str, Any]) -> None:
        wish = {key: {**body, "description": MARK}}
        self._wire.call(
            "POST", "network", path, doing=f"making the {key.replace('_', ' ')}", body=wish, good=(201,), pick=nothing
        )

    def _make_topology(self, _: Piece) -> None:
        path = f"/auto-allocated-topology/{segment(self._project)}"
        self._wire.call("GET", "network", path, doing="asking for the automatic network", pick=nothing, writes=True)

    def _make_network(self, piece: Piece) -> None:
        self._post("/networks", "network", {"name": piece.name})

    def _make_subnet(self, piece: Piece) -> None:
        version = ipaddress.ip_network(self._cidr).version
        body = {"name": piece.name, "network_id": self._id_of("networks"), "cidr": self._cidr, "ip_version": version}
        self._post("/subnets", "subnet", body)

    def _make_router(self, piece: Piece) -> None:
        self._post("/routers", "router", {"name": piece.name, "external_gateway_info": {"network_id": self._external}})

    def _make_interface(self, _: Piece) -> None:
        params = [("network_id", self._id_of("networks"))]
        (subnet, *_rest) = self._wire.pages("network", "/subnets", "subnets", doing="listing subnets", params=params)
        path = f"/routers/{segment(self._id_of('routers'))}/add_router_interface"
        body = {"subnet_id": str(subnet["id"])}
        self._wire.call("PUT", "network", path, doing="plugging the router into the subnet", body=body, pick=nothing)

    def _make_group(self, piece: Piece) -> None:
        self._post("/security-groups", "security_group", {"name": piece.name})

    def _make_rule(self, piece: Piece) -> None:
        source = piece.detail.rpartition(" ")[2]
        body = {
            "security_group_id": self._id_of("security-groups", self.group_name), "direction": "ingress", "protocol": "tcp",
            "port_range_min": 22, "port_range_max": 22, "remote_ip_prefix": source,
            "ethertype": f"IPv{ipaddress.ip_network(source).version}",
        }  # fmt: skip
        self._post("/security-group-rules", "security_group_rule", body)

    def _make_keypair(self, piece: Piece) -> None:
        launching.ensure_keypair(self._wire, piece.name, self._wish.public_key)

    def _id_of(self, kind: str, name: str | None = None) -> str:
        row = self._one(kind, name or self._wish.name)
        if row is None:
            raise CloudPermanent(
                what=f"{kind}: {self._wish.name} has gone meanwhile", next="jetrun network create", code="gone"
            )
        return str(row["id"])
