"""Neutron's HTTP face. Source: Networking API reference, v2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jetrun.devcloud.api import Answer, Call, Route, matches, only
from jetrun.devcloud.errors import ApiError

Row = dict[str, Any]

EXTENSIONS = (
    "security-group", "router", "external-net", "standard-attr-revisions", "revision-if-match", "standard-attr-tag",
    "port-security", "auto-allocated-topology", "project-id",
)  # fmt: skip


def routes() -> list[Route]:
    """Neutron's routes."""

    def route(
        method: str,
        path: str,
        handler: Callable[[Call], Answer],
        point: str,
        *,
        public: bool = False,
        writes: bool = False,
    ) -> Route:
        return Route(method=method, path=f"/network{path}", handler=handler, point=f"neutron.{point}", service="network",
                     public=public, writes=writes)  # fmt: skip

    found = [
        route("GET", "", _versions, "versions", public=True),
        route("GET", "/", _versions, "versions", public=True),
        route("GET", "/v2.0", _resources, "versions", public=True),
        route("GET", "/v2.0/", _resources, "versions", public=True),
        route("GET", "/v2.0/extensions", _extensions, "extensions"),
        route("GET", "/v2.0/extensions/{key}", _extension, "extensions"),
        route("GET", "/v2.0/routers", lambda call: (200, {"routers": []}), "router_list"),
        route("GET", "/v2.0/quotas/{key}", lambda call: (200, {"quota": {"floatingip": 50, "port": 500}}), "quota"),
        route("POST", "/v2.0/ports", _create_port, "port_create", writes=True),
        route("PUT", "/v2.0/ports/{key}", _update_port, "port_update", writes=True),
        route("DELETE", "/v2.0/ports/{key}", _delete_port, "port_delete", writes=True),
        route("PUT", "/v2.0/ports/{key}/tags/{tag}", _tag_port, "port_tag", writes=True),
        route("DELETE", "/v2.0/ports/{key}/tags/{tag}", _untag_port, "port_tag", writes=True),
        route("POST", "/v2.0/floatingips", _create_floating, "floatingip_create", writes=True),
        route("PUT", "/v2.0/floatingips/{key}", _update_floating, "floatingip_update", writes=True),
        route("DELETE", "/v2.0/floatingips/{key}", _delete_floating, "floatingip_delete", writes=True),
        route("POST", "/v2.0/security-groups", _create_group, "security_group_create", writes=True),
        route("DELETE", "/v2.0/security-groups/{key}", _delete_group, "security_group_delete", writes=True),
        route("POST", "/v2.0/security-group-rules", _create_rule, "security_group_rule_create", writes=True),
        route("DELETE", "/v2.0/security-group-rules/{key}", _delete_rule, "security_group_rule_delete", writes=True),
        route("GET", "/v2.0/security-group-rules", _rules, "security_group_rule_list"),
    ]
    for plural, table, kind in (
        ("networks", "networks", "Network"),
        ("subnets", "subnets", "Subnet"),
        ("ports", "ports", "Port"),
        ("floatingips", "floating", "FloatingIP"),
        ("security-groups", "groups", "SecurityGroup"),
    ):
        word = plural.replace("-", "_")
        point = word[:-1]
        found.append(route("GET", f"/v2.0/{plural}", _lister(word, table), f"{point}_list"))
        found.append(route("GET", f"/v2.0/{plural}/{{key}}", _shower(word[:-1], table, kind), f"{point}_show"))
    return found


def _versions(call: Call) -> Answer:
    row = {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": f"{call.base}/network/v2.0/"}]}
    return 200, {"versions": [row]}


def _resources(_call: Call) -> Answer:
    return 200, {"resources": []}


def _extensions(_call: Call) -> Answer:
    rows = [
        {"alias": one, "name": one, "description": "", "updated": "2020-01-01T00:00:00-00:00", "links": []}
        for one in EXTENSIONS
    ]
    return 200, {"extensions": rows}


def _extension(call: Call) -> Answer:
    if call.path["key"] not in EXTENSIONS:
        raise ApiError(404, "ExtensionNotFound", f"Extension with alias {call.path['key']} does not exist")
    return 200, {"extension": {"alias": call.path["key"], "name": call.path["key"]}}


_FILTERS = (
    "id", "name", "device_id", "network_id", "status", "project_id", "tenant_id", "port_id", "floating_ip_address",
    "floating_network_id", "shared", "router:external", "mac_address", "device_owner",
)  # fmt: skip


def _shown(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != "made_by_nova"}


def _lister(plural: str, table: str) -> Callable[[Call], Answer]:
    def lister(call: Call) -> Answer:
        network = call.cloud.network
        if table == "groups":
            network.ensure_default_group(call.caller.project_id)
        rows = network.visible(call.caller, getattr(network, table))
        rows = [row for row in rows if _fits(row, call.lists)]
        return 200, {plural: [only(_shown(row), call.lists) for row in rows]}

    return lister


def _fits(row: Row, query: Any) -> bool:
    wanted = {key: [_word(one) for one in values] for key, values in query.items()}
    tags = query.get("tags")
    return matches(
        {key: _word(value) for key, value in row.items() if not isinstance(value, (list, dict))}, wanted, _FILTERS
    ) and (tags is None or all(tag in row.get("tags", []) for tag in tags[0].split(",")))


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or str(value).lower() in {"true", "false"} else str(value)


def _shower(singular: str, table: str, kind: str) -> Callable[[Call], Answer]:
    def shower(call: Call) -> Answer:
        network = call.cloud.network
        return 200, {singular: _shown(network.get(call.caller, getattr(network, table), kind, call.path["key"]))}

    return shower


def _port(call: Call) -> Row:
    return call.cloud.network.get(call.caller, call.cloud.network.ports, "Port", call.path["key"])


def _create_port(call: Call) -> Answer:
    return 201, {"port": _shown(call.cloud.network.create_port(call.caller, call.body["port"], call.now))}


def _update_port(call: Call) -> Answer:
    match = call.headers.get("if-match")
    return 200, {
        "port": _shown(call.cloud.network.update_port(_port(call), call.body["port"], call.now, if_match=match))
    }


def _delete_port(call: Call) -> Answer:
    port = _port(call)
    server = call.cloud.nova.servers.get(port["device_id"])
    if server is not None and server.vm_state != "deleted" and not call.caller.is_admin and port["made_by_nova"]:
        raise ApiError(409, "PortInUse", f"Port {port['id']} is in use by {port['device_id']}.")
    call.cloud.network.delete_port(port)
    return 204, None


def _tag_port(call: Call) -> Answer:
    port = _port(call)
    if call.path["tag"] not in port["tags"]:
        port["tags"].append(call.path["tag"])
    call.cloud.network.touch(port, call.now)
    return 201, None


def _untag_port(call: Call) -> Answer:
    port = _port(call)
    if call.path["tag"] not in port["tags"]:
        raise ApiError(404, "TagNotFound", f"Tag {call.path['tag']} could not be found.")
    port["tags"].remove(call.path["tag"])
    call.cloud.network.touch(port, call.now)
    return 204, None


def _create_floating(call: Call) -> Answer:
    row = call.cloud.network.create_floating(call.caller, call.body["floatingip"], call.now)
    call.cloud.addresses_changed(row)
    return 201, {"floatingip": row}


def _floating(call: Call) -> Row:
    return call.cloud.network.get(call.caller, call.cloud.network.floating, "FloatingIP", call.path["key"])


def _update_floating(call: Call) -> Answer:
    row = _floating(call)
    if "port_id" in call.body["floatingip"]:
        call.cloud.network.associate(call.caller, row, call.body["floatingip"]["port_id"], call.now)
        call.cloud.addresses_changed(row)
    return 200, {"floatingip": row}


def _delete_floating(call: Call) -> Answer:
    row = _floating(call)
    del call.cloud.network.floating[row["id"]]
    return 204, None


def _create_group(call: Call) -> Answer:
    group = call.cloud.network.create_group(call.caller.project_id, call.body["security_group"]["name"])
    group["description"] = call.body["security_group"].get("description", "")
    return 201, {"security_group": group}


def _delete_group(call: Call) -> Answer:
    group = call.cloud.network.get(call.caller, call.cloud.network.groups, "SecurityGroup", call.path["key"])
    del call.cloud.network.groups[group["id"]]
    return 204, None


def _create_rule(call: Call) -> Answer:
    wish = call.body["security_group_rule"]
    group = call.cloud.network.get(call.caller, call.cloud.network.groups, "SecurityGroup", wish["security_group_id"])
    return 201, {"security_group_rule": call.cloud.network.add_rule(group, wish)}


def _delete_rule(call: Call) -> Answer:
    for group in call.cloud.network.visible(call.caller, call.cloud.network.groups):
        kept = [rule for rule in group["security_group_rules"] if rule["id"] != call.path["key"]]
        if len(kept) < len(group["security_group_rules"]):
            group["security_group_rules"] = kept
            return 204, None
    raise ApiError(404, "SecurityGroupRuleNotFound", f"Security group rule {call.path['key']} does not exist")


def _rules(call: Call) -> Answer:
    groups = call.cloud.network.visible(call.caller, call.cloud.network.groups)
    wanted = call.query.get("security_group_id")
    rows = [rule for group in groups if wanted in (None, group["id"]) for rule in group["security_group_rules"]]
    return 200, {"security_group_rules": rows}
