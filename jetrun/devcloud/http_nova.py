"""Nova's HTTP face: servers and what belongs to them. Source: Compute API reference, v2.1 to 2.90."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from jetrun.devcloud.api import Answer, Call, Route
from jetrun.devcloud.errors import bad_request
from jetrun.devcloud.server_record import ServerRecord
from jetrun.devcloud.wishes import check_list, checked_create

Row = dict[str, Any]


def routes() -> list[Route]:
    """Nova's routes about servers."""

    def route(
        method: str,
        path: str,
        handler: Callable[[Call], Answer],
        point: str,
        *,
        public: bool = False,
        writes: bool = False,
    ) -> Route:
        return Route(method=method, path=f"/compute{path}", handler=handler, point=f"nova.{point}", service="compute",
                     public=public, writes=writes)  # fmt: skip

    server = "/v2.1/servers/{key}"
    return [
        route("GET", "", _versions, "versions", public=True),
        route("GET", "/", _versions, "versions", public=True),
        route("GET", "/v2.1", _version, "version", public=True),
        route("GET", "/v2.1/", _version, "version", public=True),
        route("GET", "/v2.1/servers", lambda call: _list(call, names_only=True), "list"),
        route("GET", "/v2.1/servers/detail", _list, "list"),
        route("POST", "/v2.1/servers", _create, "create", writes=True),
        route("GET", server, _show, "show"),
        route("PUT", server, _rename, "update", writes=True),
        route("DELETE", server, _delete, "delete", writes=True),
        route("GET", server + "/os-interface", _interfaces, "interfaces"),
        route("GET", server + "/os-security-groups", _groups, "security_groups"),
    ]


def _version_row(call: Call) -> Row:
    return {
        "id": "v2.1", "status": "CURRENT", "version": "2.90", "min_version": "2.1", "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{call.base}/compute/v2.1/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.compute+json;version=2.1"}],
    }  # fmt: skip


def _versions(call: Call) -> Answer:
    return 200, {"versions": [_version_row(call)]}


def _version(call: Call) -> Answer:
    return 200, {"version": _version_row(call)}


def server_of(call: Call, *, deleted: bool = False) -> ServerRecord:
    """The instance that the path names; ApiError 404 for what is not there or not the caller's."""
    return call.cloud.nova.find(call.caller, call.path["key"], deleted=deleted)


def view(call: Call, server: ServerRecord) -> Row:
    """One server as Nova shows it at the call's microversion."""
    minor = call.microversion[1]
    row: Row = {
        "id": server.id, "name": server.name, "tenant_id": server.project_id, "user_id": server.user_id,
        "created": server.created, "updated": server.updated, "hostId": f"{server.project_id[:24]}{'a' * 32}" if server.host else "",
        "image": {"id": server.image_id}, "key_name": server.key_name, "metadata": dict(server.metadata),
        "addresses": _addresses(call, server), "accessIPv4": "", "accessIPv6": "", "config_drive": "True", "progress": 0,
        "OS-DCF:diskConfig": "MANUAL", "OS-EXT-AZ:availability_zone": "nova" if server.host else "",
        "OS-SRV-USG:launched_at": server.launched_at, "OS-SRV-USG:terminated_at": server.terminated_at,
        "os-extended-volumes:volumes_attached": [], "security_groups": [{"name": one} for one in _group_names(call, server)],
        "links": [{"rel": "self", "href": f"{call.base}/compute/v2.1/servers/{server.id}"}],
        **server.state(),
    }  # fmt: skip
    if call.stale and server.previous is not None:
        row |= server.previous
    if not call.caller.is_admin:
        del row["OS-EXT-SRV-ATTR:host"]
    else:
        row |= {"OS-EXT-SRV-ATTR:hypervisor_hostname": server.host, "OS-EXT-SRV-ATTR:instance_name": server.id[:8]}
    flavor = server.flavor
    if minor >= 47:
        row["flavor"] = {
            "vcpus": flavor["vcpus"], "ram": flavor["ram"], "disk": flavor["disk"], "ephemeral": 0, "swap": 0,
            "original_name": flavor["name"], "extra_specs": {},
        }  # fmt: skip
    else:
        row["flavor"] = {"id": flavor["id"], "links": []}
    if minor >= 9:
        row["locked"] = server.locked_by is not None
    if minor >= 73:
        row["locked_reason"] = server.locked_reason
    if minor >= 26:
        row["tags"] = list(server.tags)
    if row["status"] in {"ERROR", "DELETED"} and server.fault is not None:
        row["fault"] = server.fault
    return row


def _addresses(call: Call, server: ServerRecord) -> Row:
    found: Row = {}
    for network, address, kind, mac in call.cloud.network.addresses_of(server.id):
        found.setdefault(network, []).append(
            {"addr": address, "version": 4, "OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": mac}
        )
    return found


def _group_names(call: Call, server: ServerRecord) -> list[str]:
    groups = call.cloud.network.groups
    keys = {key for port in call.cloud.network.ports_of(server.id) for key in port["security_groups"]}
    return sorted(groups[key]["name"] for key in keys if key in groups)


def _list(call: Call, *, names_only: bool = False) -> Answer:
    check_list(call.query, call.microversion[1])
    everything = call.query.get("all_tenants", "").lower() in {"1", "true"}
    rows = [view(call, one) for one in call.cloud.nova.list(call.caller, all_projects=everything)]
    rows = [row for row in rows if _fits(row, call)]
    marker, limit = call.query.get("marker"), int(call.query.get("limit") or "1000")
    if marker:
        keys = [row["id"] for row in rows]
        if marker not in keys:
            raise bad_request(f"marker [{marker}] not found")
        rows = rows[keys.index(marker) + 1 :]
    body: Row = {"servers": [_name_of(row) if names_only else row for row in rows[:limit]]}
    if len(rows) > limit:
        path = "servers" if names_only else "servers/detail"
        href = f"{call.base}/compute/v2.1/{path}?limit={limit}&marker={rows[limit - 1]['id']}"
        body["servers_links"] = [{"rel": "next", "href": href}]
    return 200, body


def _name_of(row: Row) -> Row:
    return {key: row[key] for key in ("id", "name", "links")}


def _fits(row: Row, call: Call) -> bool:
    query = call.query
    tags = row.get("tags", [])
    wanted: dict[str, Callable[[str], bool]] = {
        "name": lambda value: re.search(value, row["name"]) is not None,
        "status": lambda value: row["status"] == value.upper(),
        "uuid": lambda value: row["id"] == value,
        "tags": lambda value: all(tag in tags for tag in value.split(",")),
        "tags-any": lambda value: any(tag in tags for tag in value.split(",")),
        "not-tags": lambda value: not all(tag in tags for tag in value.split(",")),
        "not-tags-any": lambda value: not any(tag in tags for tag in value.split(",")),
    }
    return all(check(query[key]) for key, check in wanted.items() if key in query)


def _show(call: Call) -> Answer:
    return 200, {"server": view(call, server_of(call))}


def _create(call: Call) -> Answer:
    body = checked_create(call.body, call.microversion[1])
    server = call.cloud.nova.create(call.caller, body, request_id=call.request_id, now=call.now)
    call.answer_headers["Location"] = f"{call.base}/compute/v2.1/servers/{server.id}"
    row = {"id": server.id, "adminPass": "unused", "OS-DCF:diskConfig": "MANUAL", "links": [], "security_groups": []}
    return 202, {"server": row}


def _rename(call: Call) -> Answer:
    server = server_of(call)
    server.name = (call.body or {}).get("server", {}).get("name", server.name)
    return 200, {"server": view(call, server)}


def _delete(call: Call) -> Answer:
    call.cloud.nova.delete(call.caller, call.path["key"], request_id=call.request_id, now=call.now)
    return 204, None


def _interfaces(call: Call) -> Answer:
    rows = [
        {"port_id": port["id"], "net_id": port["network_id"], "mac_addr": port["mac_address"], "port_state": port["status"],
         "fixed_ips": port["fixed_ips"]}
        for port in call.cloud.network.ports_of(server_of(call).id)
    ]  # fmt: skip
    return 200, {"interfaceAttachments": rows}


def _groups(call: Call) -> Answer:
    return 200, {"security_groups": [{"name": name, "rules": []} for name in _group_names(call, server_of(call))]}
