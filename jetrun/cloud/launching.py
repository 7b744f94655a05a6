"""What a launch needs, every name resolved, and the create itself. Only the last two functions make anything."""

from __future__ import annotations

import base64
import difflib
from collections.abc import Sequence
from typing import Any

from jetrun.cloud.interface import LaunchPlan, LaunchWish
from jetrun.cloud.wire import Wire, segment
from jetrun.errors import CloudPermanent, CloudTransient, UsageError
from jetrun.guarantee.power import InstanceId, RequestId

AUTO_NAME = "auto_allocated_network"
"""What Neutron calls the network that it makes for a project. Source: Neutron, auto-allocated-topology."""


def plan(wire: Wire, wish: LaunchWish) -> LaunchPlan:
    """Every name of *wish* as an id.

    Raises:
        UsageError: a name that the cloud does not have, with the nearest that it has.
    """
    image = _image(wire, wish.image)
    flavor = _one(
        "instance.flavor", wish.flavor, wire.pages("compute", "/flavors/detail", "flavors", doing="listing flavors")
    )
    networks = wire.pages("network", "/networks", "networks", doing="listing networks")
    inner = [row for row in networks if not row.get("router:external")]
    groups: list[str] = []
    if wish.security_groups:
        doing = "listing security groups"
        rows = wire.pages("network", "/security-groups", "security_groups", doing=doing)
        groups = [str(_one("instance.security_groups", name, rows)["id"]) for name in wish.security_groups]
    return LaunchPlan(
        wish=wish,
        image_id=str(image["id"]),
        flavor_id=str(flavor["id"]),
        flavor=str(flavor["name"]),
        vcpus=int(flavor["vcpus"]),
        network_id=_network(wire, wish.network, inner),
        security_group_ids=tuple(groups),
        external_network_id=_external(networks),
    )


def _image(wire: Wire, wanted: str) -> Any:
    """The newest active image of that name, or the one with that id.

    Raises:
        UsageError: there is none.
    """
    doing = "finding the image"
    same = _active(wire.pages("image", "/images", "images", doing=doing, params=[("name", wanted)]))
    if same:
        return max(same, key=lambda row: str(row.get("created_at", "")))
    return _one("instance.image", wanted, _active(wire.pages("image", "/images", "images", doing=doing)))


def _active(rows: Sequence[Any]) -> list[Any]:
    return [row for row in rows if row.get("status") == "active"]


def _network(wire: Wire, wanted: str, rows: Sequence[Any]) -> str:
    """The id of the network that is meant.

    Raises:
        UsageError: ``auto`` with several to choose from, or an unknown one.
    """
    if wanted != "auto":
        return str(_one("instance.network", wanted, rows)["id"])
    auto = list(rows) if len(rows) == 1 else [row for row in rows if row["name"] == AUTO_NAME]
    if auto:
        return str(auto[0]["id"])
    try:
        return wire.call(
            "GET",
            "network",
            f"/auto-allocated-topology/{segment(str(wire.access().project_id))}",
            doing="asking for the project's own network",
            pick=lambda answer: str(answer.json()["auto_allocated_topology"]["id"]),
        )
    except (CloudPermanent, CloudTransient) as error:
        # 404 without the extension, 409 where the cloud's staff has not prepared it; the rest is worth its own words.
        if error.status not in {400, 404, 409}:
            raise
        names = ", ".join(sorted(str(row["name"]) for row in rows)) or "none"
        raise UsageError(
            code="which-network",
            what=f"instance.network: auto is not clear in this project; there are: {names}",
            next=f'network = "{rows[0]["name"]}"' if rows else "openstack network create jetrun",
        ) from error


def _external(networks: Sequence[Any]) -> str | None:
    """The network that floating IPs come from: the default one, else the one called public, else any."""
    rows = [row for row in networks if row.get("router:external")]
    rows.sort(key=lambda row: (not row.get("is_default"), row["name"] != "public", str(row["id"])))
    return str(rows[0]["id"]) if rows else None


def _one(key: str, wanted: str, rows: Sequence[Any]) -> Any:
    """The row with that id, else with that name.

    Raises:
        UsageError: none, or several with that name.
    """
    found = [row for row in rows if wanted == row["id"]] or [row for row in rows if wanted == row["name"]]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(str(row["id"]) for row in found)
        raise UsageError(
            code="ambiguous-name",
            what=f"{key}: {len(found)} have the name {wanted!r}: {ids}",
            next=f'{key.rpartition(".")[2]} = "{found[0]["id"]}"',
        )
    near = difflib.get_close_matches(wanted, sorted({str(row["name"]) for row in rows}), n=3, cutoff=0.0)
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
    held = held_key(wire, name)
    if held is None:
        body = {"keypair": {"name": name, "public_key": public_key}}
        try:
            wire.call(
                "POST", "compute", "/os-keypairs", doing="making the key pair", body=body, good=(200, 201),
                pick=lambda answer: str(answer.json()["keypair"]["public_key"]),
            )  # fmt: skip
        except CloudTransient as error:
            if error.status != 409:
                raise
            # Another run of this user was quicker: what it made is looked at like any other.
        else:
            return
        held = held_key(wire, name)
    if held is None or held.split()[:2] != public_key.split()[:2]:
        raise UsageError(
            code="keypair-differs",
            what=f"the cloud's key pair {name!r} holds another key than this machine's",
            next=f"openstack keypair delete {name}",
        )


def held_key(wire: Wire, name: str) -> str | None:
    """The public key of a key pair, None where there is none of that name."""
    try:
        return wire.call(
            "GET",
            "compute",
            f"/os-keypairs/{segment(name)}",
            doing="reading the key pair",
            pick=lambda answer: str(answer.json()["keypair"]["public_key"]),
        )
    except CloudPermanent as error:
        if error.status == 404:
            return None
        raise


def create(wire: Wire, plan_made: LaunchPlan, port_id: str) -> tuple[InstanceId, RequestId]:
    """Create the instance on *port_id*, once; its security groups are the port's. Effects: starts spending."""
    wish = plan_made.wish
    server: dict[str, Any] = {
        "name": wish.name,
        "imageRef": plan_made.image_id,
        "flavorRef": plan_made.flavor_id,
        "networks": [{"port": port_id}],
        "metadata": dict(wish.metadata),
        "min_count": 1,
        "max_count": 1,
    }
    if wish.tags and wire.minor() >= 52:
        server["tags"] = list(wish.tags)
    if wish.key_name:
        server["key_name"] = wish.key_name
    if wish.user_data:
        server["user_data"] = base64.b64encode(wish.user_data.encode()).decode()
    return wire.call(
        "POST", "compute", "/servers", doing="making an instance", body={"server": server}, good=(202,),
        pick=lambda answer: (
            InstanceId(str(answer.json()["server"]["id"])),
            RequestId(answer.headers.get("x-openstack-request-id", "")),
        ),
    )  # fmt: skip
