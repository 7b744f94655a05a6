"""The objects of a project's network as values: what is wanted, what is there, and what a security group's rule lets in. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
MARK = "made by jetrun network create"
"""Description of what we make: an unfinished security group is finished only where it has it."""

ANYWHERE = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted.

    Attributes:
        name: of the objects. cidr: of the subnet, None for the first range that is free.
        external: name of the external network, None for the only one. ssh_from: CIDRs.
        automatic: True: the cloud's own topology; False: objects of our own; None: the former where the cloud has it.
    """

    name: str
    ssh_from: tuple[str, ...]
    public_key: str
    cidr: str | None = None
    external: str | None = None
    automatic: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One object.

    Attributes:
        id: None while it is to be made. detail: what of it matters.
    """

    kind: str
    name: str
    detail: str
    id: str | None = None

    @property
    def exists(self) -> bool:
        return self.id is not None

    def line(self) -> str:
        """As a person reads it."""
        state = f"is there ({self.id})" if self.exists else "will be made"
        return f"{self.kind:15} {self.name:24} {self.detail:44} {state}".rstrip()


def id_of(row: Row | None) -> str | None:
    return None if row is None else str(row["id"])


def lets_ssh_in(row: Row) -> bool:
    """Whether a rule of a security group lets SSH in."""
    if row["direction"] != "ingress" or row.get("protocol") not in {"tcp", None, "6", 6}:
        return False
    low, high = row.get("port_range_min"), row.get("port_range_max")
    return low is None or int(low) <= 22 <= int(high or low)


def source_of(row: Row) -> str:
    """Where a rule lets in from, as a CIDR; a group's id where it names one."""
    if row.get("remote_ip_prefix"):
        return str(ipaddress.ip_network(str(row["remote_ip_prefix"]), strict=False))
    if row.get("remote_group_id"):
        return f"the group {row['remote_group_id']}"
    return ANYWHERE[0] if row.get("ethertype") == "IPv4" else ANYWHERE[1]
