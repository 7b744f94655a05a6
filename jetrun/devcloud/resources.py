"""What a new instance is made of: image, ports, security groups, and a place in the quota. Pure; part of the model of Nova.

Where Glance or Neutron have no such thing, Nova's answer to a create is its own 400.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import ApiError, bad_request, conflict, forbidden
from jetrun.devcloud.server_record import ServerRecord

if TYPE_CHECKING:
    from jetrun.devcloud.model import NovaModel

Row = dict[str, Any]


def wanted_image(model: NovaModel, caller: Caller, key: str) -> Row:
    """The image that a create names."""
    try:
        return model.images.get(caller, key)
    except ApiError as error:
        raise bad_request("Can not find requested image") from error


def wanted_networks(model: NovaModel, caller: Caller, body: Row) -> tuple[list[Row], list[str]]:
    """The ports and networks that a create asks for, and the ids of its security groups: looked at now, given out by the host.

    Raises:
        ApiError: 400 for what is not there, 403 for an outer network, 409 for a port that an instance has.
    """
    network = model.network
    networks = body.get("networks", "auto")
    groups = [_group(model, caller, one["name"]) for one in body.get("security_groups") or []]
    if networks == "none":
        return [], groups
    if not isinstance(networks, list) or not networks:
        own = [one for one in network.visible(caller, network.networks) if not one["router:external"]]
        networks = [{"uuid": own[0]["id"]}]
    for wish in networks:
        if wish.get("port"):
            port = _named(model, caller, "Port", wish["port"])
            if port["device_id"]:
                raise conflict(f"Port {port['id']} is still in use.")
        else:
            found = _named(model, caller, "Network", wish.get("uuid", ""))
            if found["router:external"] and not caller.is_admin:
                raise forbidden(f"It is not allowed to create an interface on external network {found['id']}")
            network.check_quota(caller.project_id, "port", network.ports)
    return [{key: wish.get(key) for key in ("port", "uuid")} for wish in networks], groups


def plug(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    """Give *server*, which has found a host, its ports; ApiError 409 where another was quicker."""
    network = model.network
    for wish in server.networks:
        if wish["port"]:
            network.bind_port(wish["port"], server.id, now)
        else:
            network.allocate_port(server.project_id, wish["uuid"], server.id, now, server.group_ids)


def _named(model: NovaModel, caller: Caller, kind: str, key: str) -> Row:
    """A port or a network that a create names."""
    table = model.network.ports if kind == "Port" else model.network.networks
    try:
        return model.network.get(caller, table, kind, key)
    except ApiError as error:
        word = "Port id" if kind == "Port" else kind
        raise bad_request(f"{word} {key} could not be found.") from error


def _group(model: NovaModel, caller: Caller, name: str) -> str:
    """The id of a security group by name or id."""
    for group in model.network.visible(caller, model.network.groups):
        if name in (group["name"], group["id"]):
            return str(group["id"])
    if name == "default":
        return str(model.network.ensure_default_group(caller.project_id)["id"])
    raise bad_request(f"Unable to find security_group with name or id '{name}'")


def check_quota(model: NovaModel, project_id: str, flavor: Row) -> None:
    """Nova's 403 where the project's quota does not hold one more."""
    used = [
        one
        for one in model.servers.values()
        if one.project_id == project_id and one.vm_state not in {"deleted", "shelved_offloaded"}
    ]
    wants = {"instances": 1, "cores": flavor["vcpus"], "ram": flavor["ram"]}
    has = {
        "instances": len(used),
        "cores": sum(one.flavor["vcpus"] for one in used),
        "ram": sum(one.flavor["ram"] for one in used),
    }
    for name, wanted in wants.items():
        if 0 <= model.quota[name] < has[name] + wanted:
            raise forbidden(
                f"Quota exceeded for {name}: Requested {wanted}, but already used {has[name]} of {model.quota[name]} {name}"
            )
