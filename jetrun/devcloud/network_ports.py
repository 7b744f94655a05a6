"""What a port is made of, what may be written on it and by whom, and the compare-and-set of its revision. Pure.

Source: Neutron 21: neutron_lib.api.definitions.port, neutron.api.v2.base, neutron.api.api_common and
services/revisions/revision_plugin.py; seen in the lab (NOTES.md, "A place for a lease").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import ApiError

Row = dict[str, Any]

WRITABLE = frozenset(
    {"name", "description", "admin_state_up", "security_groups", "device_id", "device_owner", "allowed_address_pairs"}
)
"""By the port's owner, in every state of its instance."""

ADMINS = frozenset({"binding:host_id", "binding:profile", "binding:vnic_type", "mac_address", "port_security_enabled"})
"""By the staff only, on a network that others share too."""

AT_CREATE = WRITABLE | {"network_id", "fixed_ips", "tags", "binding:vnic_type", "project_id", "tenant_id"}

HIDDEN = frozenset({"made_by_nova"})
"""The model's own, never shown nor written."""

STAFF = frozenset({"binding:host_id", "binding:profile"})
"""Shown to the staff only."""

FIELDS = WRITABLE | ADMINS | {
    "id", "network_id", "project_id", "tenant_id", "status", "tags", "revision_number", "fixed_ips", "created_at", "updated_at",
    "extra_dhcp_opts",
}  # fmt: skip
"""Of every port."""

LONGEST = 255
"""Of a name, a description and a device's id. Source: neutron_lib.db.constants."""


def new_port(key: str, network: Row, project_id: str, address: tuple[str, str], now: datetime) -> Row:
    """A free port of *network* with (subnet, address)."""
    tail = key.replace("-", "")[-6:]
    return {
        "id": key, "name": "", "network_id": network["id"], "project_id": project_id, "tenant_id": project_id,
        "mac_address": f"fa:16:3e:{tail[0:2]}:{tail[2:4]}:{tail[4:6]}", "status": "DOWN", "admin_state_up": True,
        "device_id": "", "device_owner": "", "description": "", "tags": [], "revision_number": 1,
        "fixed_ips": [{"subnet_id": address[0], "ip_address": address[1]}], "security_groups": [],
        "binding:vnic_type": "normal", "binding:host_id": "", "binding:profile": {},
        "port_security_enabled": True, "allowed_address_pairs": [], "extra_dhcp_opts": [],
        "created_at": text(now), "updated_at": text(now), "made_by_nova": False,
    }  # fmt: skip


def check_wish(caller: Caller, wish: Mapping[str, Any]) -> None:
    """ApiError 400 for a port that cannot be made as asked."""
    unknown = sorted(set(wish) - AT_CREATE)
    if unknown:
        raise bad_request(f"Unrecognized attribute(s) '{', '.join(unknown)}'")
    if not wish.get("network_id"):
        raise bad_request("Failed to parse request. Required attribute 'network_id' not specified")
    for key in ("project_id", "tenant_id"):
        if wish.get(key, caller.project_id) != caller.project_id:
            raise _disallowed("create_port", key)
    _check_lengths(wish)


def check_changes(caller: Caller | None, port: Row, changes: Mapping[str, Any]) -> None:
    """ApiError 400 or 403 for what cannot be written on a port."""
    unknown = sorted(key for key in changes if key not in port or key in HIDDEN)
    if unknown:
        raise bad_request(f"Unrecognized attribute(s) '{', '.join(unknown)}'")
    for key in changes:
        if key == "fixed_ips" or (key in ADMINS and caller is not None and not caller.is_admin):
            raise _disallowed("update_port", key)
        if key in ADMINS:
            continue
        if key not in WRITABLE:
            raise bad_request(f"Cannot update read-only attribute {key}")
    _check_lengths(changes)


def check_revision(row: Row, if_match: str | None) -> None:
    """Neutron's compare-and-set: ApiError 412 when *row* has another revision than *if_match* names.

    An ``If-Match`` that names no revision is no condition at all, as in Neutron; one that names it badly is 400.
    """
    found = re.findall(r"revision_number=([^,\"\s]*)", if_match or "")
    if len(found) > 1:
        raise _bad_match("Multiple revision_number etags are not supported.")
    if not found:
        return
    if not re.fullmatch(r"[+-]?\d+", found[0]):
        raise _bad_match("Revision number etag must be in the format of revision_number=<int>")
    if int(found[0]) != row["revision_number"]:
        words = f"Constrained to {int(found[0])}, but current revision is {row['revision_number']}"
        raise ApiError(412, "RevisionNumberConstraintFailed", words)


def shown_port(caller: Caller, port: Row) -> Row:
    """A port as *caller* may see it."""
    return {key: value for key, value in port.items() if key not in HIDDEN and (caller.is_admin or key not in STAFF)}


def bad_request(message: str) -> ApiError:
    """Neutron's 400 for a body or a query that it does not take."""
    return ApiError(400, "HTTPBadRequest", message)


def text(now: datetime) -> str:
    """Neutron's form of an instant."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_lengths(row: Mapping[str, Any]) -> None:
    """ApiError 400 for a text that is too long, or is none."""
    for key in ("name", "description", "device_id", "device_owner"):
        value = row.get(key, "")
        if not isinstance(value, str):
            raise bad_request(f"Invalid input for {key}. Reason: '{value}' is not a valid string.")
        if len(value) > LONGEST:
            raise bad_request(f"Invalid input for {key}. Reason: '{value}' exceeds maximum length of {LONGEST}.")


def _disallowed(action: str, key: str) -> ApiError:
    """Neutron's 403."""
    words = f"(rule:{action} and rule:{action}:{key}) is disallowed by policy"
    return ApiError(403, "PolicyNotAuthorized", words)


def _bad_match(words: str) -> ApiError:
    """Neutron's 400 for an If-Match."""
    return ApiError(400, "BadRequest", f"Bad if-match request: {words}.")
