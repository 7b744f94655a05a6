"""What Nova takes of a request's body before it looks at anything else: its schemas, in its words. Pure.

Source: nova/api/openstack/compute/schemas (26.2) and the contract's real cloud.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jetrun.devcloud.errors import ApiError, bad_request

Row = dict[str, Any]

IN_A_CREATE = frozenset({
    "name", "flavorRef", "imageRef", "adminPass", "metadata", "networks", "OS-DCF:diskConfig", "accessIPv4", "accessIPv6",
    "personality", "availability_zone", "block_device_mapping", "block_device_mapping_v2", "config_drive", "key_name",
    "user_data", "min_count", "max_count", "return_reservation_id", "security_groups", "description", "tags",
    "trusted_image_certificates", "host", "hypervisor_hostname", "hostname",
})  # fmt: skip
IN_A_LIST = frozenset({
    "user_id", "project_id", "tenant_id", "launch_index", "image_ref", "image", "kernel_id", "ramdisk_id", "hostname", "key_name",
    "power_state", "vm_state", "task_state", "host", "node", "flavor", "reservation_id", "launched_at", "terminated_at",
    "availability_zone", "name", "display_name", "description", "display_description", "locked_by", "uuid",
    "root_device_name", "config_drive", "access_ip_v4", "access_ip_v6", "auto_disk_config", "progress", "sort_key", "sort_dir",
    "all_tenants", "soft_deleted", "deleted", "status", "changes-since", "changes-before", "ip", "ip6", "created_at", "tags",
    "tags-any", "not-tags", "not-tags-any", "locked", "limit", "marker",
})  # fmt: skip
LONGEST, LONGEST_TAG, LONGEST_USER_DATA = 255, 60, 65535
MOST_TAGS = 50
UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


def invalid(field: str, value: object, why: str) -> ApiError:
    """Nova's 400 for a field that its schema does not take."""
    return bad_request(f"Invalid input for field/attribute {field}. Value: {value}. {why}")


def checked_create(body: object, minor: int) -> Row:
    """The ``server`` of a create; ApiError 400 for one that no schema takes."""
    if not isinstance(body, dict) or not isinstance(body.get("server"), dict):
        raise bad_request("'server' is a required property")
    server: Row = body["server"]
    for name in ("name", "flavorRef", *(("networks",) if minor >= 37 else ())):
        if name not in server:
            raise invalid("server", server, f"'{name}' is a required property")
    unknown = [name for name in server if name not in IN_A_CREATE and not name.startswith(("os:", "OS-"))]
    if unknown:
        words = f"Additional properties are not allowed ('{unknown[0]}' was unexpected)"
        raise invalid("server", server, words)
    name = server["name"]
    if not name or len(name) > LONGEST:
        raise invalid("name", name, f"'{name}' is too {'long' if name else 'short'}")
    image = str(server.get("imageRef", ""))
    if image and "/" not in image and not UUID.fullmatch(image):
        raise invalid("imageRef", image, f"'{image}' is not valid under any of the given schemas")
    if len(server.get("user_data") or "") > LONGEST_USER_DATA:
        raise invalid("user_data", server["user_data"], f"'{server['user_data']}' is too long")
    check_metadata(server.get("metadata") or {})
    check_tags(server.get("tags") or [])
    _check_networks(server.get("networks"))
    return server


def check_list(query: Mapping[str, str], minor: int) -> None:
    """ApiError 400 for a query that a list of servers does not take; before 2.75 an unknown name is passed over."""

    def bad(name: str, why: str) -> ApiError:
        return bad_request(f"Invalid input for query parameters {name}. Value: {query[name]}. {why}")

    if not re.fullmatch(r"[0-9]*", query.get("limit", "")):
        raise bad("limit", f"'{query['limit']}' does not match '^[0-9]*$'")
    try:
        re.compile(query.get("name", ""))
    except re.error as error:
        raise bad("name", f"'{query['name']}' is not a 'regex'") from error
    unknown = [name for name in query if name not in IN_A_LIST and not name.startswith("_")]
    if unknown and minor >= 75:
        raise bad_request(f"'{unknown[0]}' does not match any of the regexes: '^_'")


def _check_networks(networks: object) -> None:
    """ApiError 400 for networks and ports that can be none."""
    if not isinstance(networks, list):
        return
    ports = [one["port"] for one in networks if one.get("port")]
    for port in ports:
        if ports.count(port) > 1:
            raise bad_request(f"Port ID '{port}' was specified twice: you cannot attach a port multiple times.")
    if any(key in one and not UUID.fullmatch(str(one[key])) for one in networks for key in ("port", "uuid")):
        raise invalid("networks", networks, f"{networks} is not valid under any of the given schemas")


def check_metadata(items: Mapping[str, Any]) -> None:
    """ApiError 400 for names and values that metadata do not take."""
    for key, value in items.items():
        if not re.fullmatch(r"[a-zA-Z0-9\-_:. ]{1,255}", key):
            raise invalid(
                "metadata", dict(items), f"'{key}' does not match any of the regexes: '^[a-zA-Z0-9-_:. ]{{1,255}}$'"
            )
        if not isinstance(value, str):
            raise invalid(key, value, f"{value!r} is not of type 'string'")
        if len(value) > LONGEST:
            raise invalid(key, value, f"'{value}' is too long")


def check_tags(tags: object) -> list[str]:
    """The tags of a body; ApiError 400 for what are none. A comma or a slash would end a tag in a URL."""
    if not isinstance(tags, list):
        raise invalid("tags", tags, f"{tags!r} is not of type 'array'")
    for number, tag in enumerate(tags):
        if not isinstance(tag, str):
            raise invalid(str(number), tag, f"{tag!r} is not of type 'string'")
        if not re.fullmatch(r"[^,/]*", tag):
            raise invalid(str(number), tag, f"'{tag}' does not match '^[^,/]*$'")
        if not 1 <= len(tag) <= LONGEST_TAG:
            raise invalid(str(number), tag, f"'{tag}' is too {'long' if tag else 'short'}")
    return tags
