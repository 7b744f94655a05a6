"""Resolving what a launch needs, and looking at security groups. Makes nothing but a key pair."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from jetrun.cloud.interface import LaunchPlan, LaunchWish, SshRule
from jetrun.cloud.wire import Wire
from jetrun.errors import CloudPermanent, CloudTransient, UsageError


def plan(wire: Wire, wish: LaunchWish) -> LaunchPlan:
    """Every name of *wish* as an id.

    Raises:
        UsageError: a name that the cloud does not have, with the nearest that it has.
    """
    image = _image(wire, wish.image)
    flavors = wire.call("GET", "compute", "/flavors/detail", doing="listing flavors").json()["flavors"]
    flavor = _one("instance.flavor", wish.flavor, flavors)
    networks = wire.call("GET", "network", "/networks", doing="listing networks").json()["networks"]
    external = [row for row in networks if row.get("router:external")]
    inner = [row for row in networks if not row.get("router:external")]
    groups: list[str] = []
    if wish.security_groups:
        rows = wire.call("GET", "network", "/security-groups", doing="listing security groups").json()[
            "security_groups"
        ]
        groups = [_one("instance.security_groups", name, rows)["id"] for name in wish.security_groups]
    return LaunchPlan(
        wish=wish,
        image_id=image["id"],
        flavor_id=flavor["id"],
        flavor=flavor["name"],
        vcpus=int(flavor["vcpus"]),
        network_id=_network(wish.network, inner)["id"],
        security_group_ids=tuple(groups),
        external_network_id=external[0]["id"] if external else None,
    )


def _image(wire: Wire, name: str) -> Any:
    """The newest active image of that name, or the one with that id."""
    rows = wire.call("GET", "image", "/images", doing="finding the image", params={"name": name}).json()["images"]
    active = [row for row in rows if row.get("status") == "active"]
    if active:
        return max(active, key=lambda row: str(row.get("created_at", "")))
    everything = wire.call("GET", "image", "/images", doing="listing images", params={"limit": "1000"}).json()["images"]
    return _one("instance.image", name, [row for row in everything if row.get("status") == "active"])


def _network(wanted: str, rows: Sequence[Any]) -> Any:
    """The network that is meant.

    Raises:
        UsageError: ``auto`` with several to choose from, or an unknown one.
    """
    if wanted != "auto":
        return _one("instance.network", wanted, rows)
    auto = [row for row in rows if row["name"] == "auto_allocated_network"] or (list(rows) if len(rows) == 1 else [])
    if auto:
        return auto[0]
    names = ", ".join(sorted(str(row["name"]) for row in rows)) or "none"
    raise UsageError(
        code="which-network",
        what=f"instance.network: auto is not clear in this project; there are: {names}",
        next=f'network = "{rows[0]["name"]}"' if rows else "openstack network create ...",
    )


def _one(key: str, wanted: str, rows: Sequence[Any]) -> Any:
    """The row with that id or name.

    Raises:
        UsageError: none, or several with that name.
    """
    found = [row for row in rows if wanted in (row["id"], row["name"])]
    if len(found) == 1:
        return found[0]
    names = sorted({str(row["name"]) for row in rows})
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.0)
    if found:
        ids = ", ".join(str(row["id"]) for row in found)
        raise UsageError(
            code="ambiguous-name",
            what=f"{key}: {len(found)} have the name {wanted!r}: {ids}",
            next=f'"{found[0]["id"]}"',
        )
    raise UsageError(
        code="unknown-name",
        what=f"{key}: this cloud has no {wanted!r}; nearest: {', '.join(near) or 'none'}",
        next=f'{key.rpartition(".")[2]} = "{near[0]}"' if near else "jetrun doctor",
    )


def ensure_keypair(wire: Wire, name: str, public_key: str) -> None:
    """A key pair *name* with that public key exists.

    Raises:
        UsageError: one of that name with another key does.
    """
    wanted = " ".join(public_key.split()[:2])
    try:
        row = wire.call("GET", "compute", f"/os-keypairs/{name}", doing="reading the key pair").json()["keypair"]
    except CloudPermanent as error:
        if error.status != 404:
            raise
        body = {"keypair": {"name": name, "public_key": public_key, "type": "ssh"}}
        try:
            wire.call("POST", "compute", "/os-keypairs", doing="making the key pair", body=body, good=(200, 201))
        except CloudTransient as race:
            if race.status != 409:
                raise
        return
    if " ".join(str(row["public_key"]).split()[:2]) != wanted:
        raise UsageError(
            code="keypair-differs",
            what=f"the cloud's key pair {name!r} holds another key than this machine's",
            next=f"openstack keypair delete {name}",
        )


def ssh_rule(wire: Wire, ports: Sequence[Any], port: int) -> SshRule:
    """Whether a rule of the ports' security groups lets TCP *port* in; None where only another group is let in."""
    wanted = {str(key) for row in ports for key in row.get("security_groups", [])}
    if not wanted:
        return SshRule(allowed=None, groups=())
    rows = wire.call("GET", "network", "/security-groups", doing="reading security groups").json()["security_groups"]
    groups = [row for row in rows if row["id"] in wanted]
    names = tuple(str(row["name"]) for row in groups)
    verdicts = [_lets_in(rule, port) for row in groups for rule in row.get("security_group_rules", [])]
    if True in verdicts:
        return SshRule(allowed=True, groups=names)
    return SshRule(allowed=None if None in verdicts else False, groups=names)


def _lets_in(rule: Any, port: int) -> bool | None:
    """Whether *rule* lets TCP *port* in from somewhere; None where only from another group."""
    if rule.get("direction") != "ingress" or rule.get("protocol") not in {None, "any", "tcp", "6", 6}:
        return False
    low, high = rule.get("port_range_min"), rule.get("port_range_max")
    if low is not None and not int(low) <= port <= int(high if high is not None else low):
        return False
    return None if rule.get("remote_group_id") else True
