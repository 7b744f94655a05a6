"""Neutron's HTTP face. Source: Networking API reference, v2; filters and refusals: Neutron 21's source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jetrun.devcloud import network_floating, network_groups
from jetrun.devcloud.api import Answer, Call, Route, only
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.http_versions import documents
from jetrun.devcloud.network_filters import check_tags, selected
from jetrun.devcloud.network_ports import FIELDS, bad_request, shown_port

Row = dict[str, Any]
Handler = Callable[[Call], Answer]

EXTENSIONS = (
    "security-group", "router", "external-net", "standard-attr-revisions", "revision-if-match", "standard-attr-tag",
    "standard-attr-description", "port-security", "auto-allocated-topology", "project-id", "filter-validation",
)  # fmt: skip

TABLES = {
    "networks": ("networks", "Network"),
    "subnets": ("subnets", "Subnet"),
    "ports": ("ports", "Port"),
    "floatingips": ("floating", "FloatingIP"),
    "security-groups": ("groups", "SecurityGroup"),
}
"""Collection: the model's table, and Neutron's word for one of it."""


def routes() -> list[Route]:
    """Neutron's routes."""
    found = [
        *documents("network"),
        _route("GET", "/extensions", _extensions, "extensions"),
        _route("GET", "/extensions/{key}", _extension, "extensions"),
        _route("GET", "/routers", lambda call: (200, {"routers": []}), "router_list"),
        _route("GET", "/auto-allocated-topology/{key}", _topology, "topology"),
        _route("GET", "/quotas/{key}", lambda call: (200, {"quota": call.cloud.network.quota}), "quota"),
        _route("POST", "/ports", _create_port, "port_create", writes=True),
        _route("PUT", "/ports/{key}", _update_port, "port_update", writes=True),
        _route("DELETE", "/ports/{key}", _delete_port, "port_delete", writes=True),
        _route("POST", "/floatingips", _create_floating, "floatingip_create", writes=True),
        _route("PUT", "/floatingips/{key}", _update_floating, "floatingip_update", writes=True),
        _route("DELETE", "/floatingips/{key}", _delete_floating, "floatingip_delete", writes=True),
        _route("POST", "/security-groups", _create_group, "security_group_create", writes=True),
        _route("DELETE", "/security-groups/{key}", _delete_group, "security_group_delete", writes=True),
        _route("GET", "/security-group-rules", _rules, "security_group_rule_list"),
        _route("GET", "/security-group-rules/{key}", _rule, "security_group_rule_show"),
        _route("POST", "/security-group-rules", _create_rule, "security_group_rule_create", writes=True),
        _route("DELETE", "/security-group-rules/{key}", _delete_rule, "security_group_rule_delete", writes=True),
    ]
    for plural in TABLES:
        word = _word(plural)
        tags = f"/{plural}/{{key}}/tags"
        found += [
            _route("GET", f"/{plural}", _of(_list, plural), f"{word}_list"),
            _route("GET", f"/{plural}/{{key}}", _of(_show, plural), f"{word}_show"),
            _route("GET", tags, _of(_tags, plural), f"{word}_tag"),
            _route("PUT", tags, _of(_replace_tags, plural), f"{word}_tag", writes=True),
            _route("DELETE", tags, _of(_remove_tags, plural), f"{word}_tag", writes=True),
            _route("GET", f"{tags}/{{tag}}", _of(_has_tag, plural), f"{word}_tag"),
            _route("PUT", f"{tags}/{{tag}}", _of(_add_tag, plural), f"{word}_tag", writes=True),
            _route("DELETE", f"{tags}/{{tag}}", _of(_remove_tag, plural), f"{word}_tag", writes=True),
        ]
    return found


def _route(method: str, path: str, handler: Handler, point: str, *, writes: bool = False) -> Route:
    return Route(method=method, path=f"/network/v2.0{path}", handler=handler, point=f"neutron.{point}", service="network",
                 writes=writes)  # fmt: skip


def _of(handler: Callable[[Call, str], Answer], plural: str) -> Handler:
    """A handler for one collection."""
    return lambda call: handler(call, plural)


def _word(plural: str) -> str:
    """One of a collection, as bodies and the names of calls have it."""
    return plural.removesuffix("s").replace("-", "_")


def _wish(call: Call, name: str) -> Mapping[str, Any]:
    """The object in a body; ApiError 400 without it."""
    wish = call.body.get(name) if isinstance(call.body, dict) else None
    if not isinstance(wish, dict):
        raise bad_request(f"Unable to find '{name}' in request body")
    return wish


# --- what Neutron can do ---


def _extension_row(alias: str) -> Row:
    return {"alias": alias, "name": alias, "description": "", "updated": "2020-01-01T00:00:00-00:00", "links": []}


def _extensions(_call: Call) -> Answer:
    return 200, {"extensions": [_extension_row(alias) for alias in EXTENSIONS]}


def _extension(call: Call) -> Answer:
    if call.path["key"] not in EXTENSIONS:
        raise ApiError(404, "ExtensionNotFound", f"Extension with alias {call.path['key']} does not exist")
    return 200, {"extension": _extension_row(call.path["key"])}


def _topology(call: Call) -> Answer:
    """The network that a project has without asking for one."""
    inner = next(row for row in call.cloud.network.networks.values() if not row["router:external"])
    project = call.caller.project_id
    return 200, {"auto_allocated_topology": {"id": inner["id"], "tenant_id": project, "project_id": project}}


# --- reading ---


def _list(call: Call, plural: str) -> Answer:
    network, (table, _) = call.cloud.network, TABLES[plural]
    if table == "groups":
        network.ensure_default_group(call.caller.project_id)
    rows = [_shown(call, row) for row in network.visible(call.caller, getattr(network, table))]
    rows = [only(row, call.lists) for row in selected(rows, call.lists, among=FIELDS if table == "ports" else ())]
    return 200, {plural.replace("-", "_"): rows}


def _shown(call: Call, row: Row) -> Row:
    return shown_port(call.caller, row) if "fixed_ips" in row else row


def _named(call: Call, plural: str) -> Row:
    """The row that the path names; ApiError 404 for what is not there or not the caller's."""
    table, kind = TABLES[plural]
    return call.cloud.network.get(call.caller, getattr(call.cloud.network, table), kind, call.path["key"])


def _show(call: Call, plural: str) -> Answer:
    return 200, {_word(plural): only(_shown(call, _named(call, plural)), call.lists)}


# --- tags: a new one raises the revision, and so does one that goes; no condition is ever looked at ---


def _tags(call: Call, plural: str) -> Answer:
    return 200, {"tags": _named(call, plural)["tags"]}


def _set_tags(call: Call, row: Row, wish: object) -> None:
    """Give *row* these tags, if they are others."""
    tags = check_tags(wish)
    if not call.caller.is_admin and row["project_id"] != call.caller.project_id:
        raise ApiError(403, "PolicyNotAuthorized", "rule:update_tags is disallowed by policy")
    if sorted(tags) != sorted(row["tags"]):
        row["tags"] = tags
        call.cloud.network.touch(row, call.now)


def _replace_tags(call: Call, plural: str) -> Answer:
    row = _named(call, plural)
    _set_tags(call, row, call.body.get("tags") if isinstance(call.body, dict) else None)
    return 200, {"tags": row["tags"]}


def _remove_tags(call: Call, plural: str) -> Answer:
    _set_tags(call, _named(call, plural), [])
    return 204, None


def _has_tag(call: Call, plural: str) -> Answer:
    if call.path["tag"] not in _named(call, plural)["tags"]:
        raise ApiError(404, "TagNotFound", f"Tag {call.path['tag']} could not be found.")
    return 204, None


def _add_tag(call: Call, plural: str) -> Answer:
    row, tag = _named(call, plural), call.path["tag"]
    _set_tags(call, row, row["tags"] if tag in row["tags"] else [*row["tags"], tag])
    return 201, None


def _remove_tag(call: Call, plural: str) -> Answer:
    _has_tag(call, plural)
    row = _named(call, plural)
    _set_tags(call, row, [tag for tag in row["tags"] if tag != call.path["tag"]])
    return 204, None


# --- ports ---


def _create_port(call: Call) -> Answer:
    port = call.cloud.network.create_port(call.caller, _wish(call, "port"), call.now)
    return 201, {"port": shown_port(call.caller, port)}


def _update_port(call: Call) -> Answer:
    port = _named(call, "ports")
    before = port["device_id"]
    changes, match = _wish(call, "port"), call.headers.get("if-match")
    if call.cloud.faults.take("neutron.port_update", "condition-unheeded") is not None:
        match = None
    answered = call.cloud.network.update_port(port, changes, call.now, caller=call.caller, if_match=match)
    _listen_anew(call, before, port["device_id"])
    return 200, {"port": shown_port(call.caller, answered)}


def _delete_port(call: Call) -> Answer:
    port = _named(call, "ports")
    call.cloud.network.delete_port(port, if_match=call.headers.get("if-match"))
    _listen_anew(call, port["device_id"])
    return 204, None


def _listen_anew(call: Call, *devices: str) -> None:
    """The addresses of these instances changed: they listen where they now are."""
    for device in filter(None, dict.fromkeys(devices)):
        if call.cloud.hosts is not None:
            call.cloud.hosts.set_addresses(device, call.cloud.addresses(device))


# --- floating IPs ---


def _device(call: Call, row: Row) -> str:
    """The instance that a floating IP leads to, empty for none."""
    port = call.cloud.network.ports.get(row["port_id"] or "")
    return str(port["device_id"]) if port else ""


def _create_floating(call: Call) -> Answer:
    row = call.cloud.network.create_floating(call.caller, _wish(call, "floatingip"), call.now)
    _listen_anew(call, _device(call, row))
    return 201, {"floatingip": row}


def _update_floating(call: Call) -> Answer:
    row = _named(call, "floatingips")
    before = _device(call, row)
    network_floating.update(call.cloud.network, call.caller, row, _wish(call, "floatingip"), call.now)
    _listen_anew(call, before, _device(call, row))
    return 200, {"floatingip": row}


def _delete_floating(call: Call) -> Answer:
    row = _named(call, "floatingips")
    before = _device(call, row)
    del call.cloud.network.floating[row["id"]]
    _listen_anew(call, before)
    return 204, None


# --- security groups ---


def _create_group(call: Call) -> Answer:
    return 201, {
        "security_group": network_groups.create(call.cloud.network, call.caller, _wish(call, "security_group"))
    }


def _delete_group(call: Call) -> Answer:
    network_groups.delete(call.cloud.network, call.caller, call.path["key"])
    return 204, None


def _create_rule(call: Call) -> Answer:
    wish = _wish(call, "security_group_rule")
    return 201, {"security_group_rule": network_groups.add_rule(call.cloud.network, call.caller, wish)}


def _delete_rule(call: Call) -> Answer:
    network_groups.delete_rule(call.cloud.network, call.caller, call.path["key"])
    return 204, None


def _rules(call: Call) -> Answer:
    rows = selected(network_groups.rules(call.cloud.network, call.caller), call.lists)
    return 200, {"security_group_rules": [only(row, call.lists) for row in rows]}


def _rule(call: Call) -> Answer:
    for row in network_groups.rules(call.cloud.network, call.caller):
        if row["id"] == call.path["key"]:
            return 200, {"security_group_rule": row}
    raise ApiError(404, "SecurityGroupRuleNotFound", f"Security group rule {call.path['key']} does not exist")
