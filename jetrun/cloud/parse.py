"""From the services' JSON to values; what is not there is None, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jetrun.cloud.interface import Instance, LeasePort
from jetrun.guarantee.power import InstanceAction, InstanceId, Observation, RequestId

Row = Mapping[str, Any]


def observation(row: Row, at: datetime) -> Observation:
    """A server's state, read when the question was sent at *at*. Source: Nova API, OS-EXT-STS."""
    host = row.get("OS-EXT-SRV-ATTR:host", row.get("hostId"))
    return Observation(
        at=at,
        status=str(row.get("status", "UNKNOWN")),
        vm_state=row.get("OS-EXT-STS:vm_state"),
        task_state=row.get("OS-EXT-STS:task_state"),
        power_state=row.get("OS-EXT-STS:power_state"),
        locked=row.get("locked"),
        has_host=None if "OS-EXT-SRV-ATTR:host" not in row and "hostId" not in row else bool(host),
    )


def instance(row: Row, at: datetime) -> Instance:
    """A server as a value."""
    flavor = row.get("flavor") or {}
    image = row.get("image") or {}
    fault = row.get("fault") or {}
    return Instance(
        id=InstanceId(row["id"]),
        name=str(row.get("name", "")),
        observation=observation(row, at),
        user_id=str(row.get("user_id", "")),
        project_id=str(row.get("tenant_id", "")),
        flavor=flavor.get("original_name"),
        vcpus=flavor.get("vcpus"),
        ram_mib=flavor.get("ram"),
        image_id=image.get("id") if isinstance(image, Mapping) else None,
        key_name=row.get("key_name"),
        locked_reason=row.get("locked_reason"),
        fault=fault.get("message"),
        launched_at=moment(row.get("OS-SRV-USG:launched_at")),
        metadata=dict(row.get("metadata") or {}),
        tags=tuple(row.get("tags") or ()),
    )


def action(row: Row) -> InstanceAction:
    """An entry of os-instance-actions.

    ``finished`` is told only where the entry's events are shown (microversion 2.51, and only of a single entry): an
    entry that failed, or whose events have all ended. One without an event yet has just been accepted.
    """
    events = row.get("events")
    ended = [one for one in events or () if one.get("finish_time")]
    failed = bool(row.get("message")) or any(one.get("result") == "Error" for one in ended)
    return InstanceAction(
        request_id=RequestId(str(row["request_id"])),
        action=str(row["action"]),
        user_id=row.get("user_id"),
        project_id=row.get("project_id"),
        started_at=moment(row.get("start_time")) or datetime.fromtimestamp(0, UTC),
        failed=failed,
        finished=None if events is None else failed or (bool(events) and len(ended) == len(events)),
    )


def port(row: Row) -> LeasePort:
    """A Neutron port as the holder of a lease."""
    return LeasePort(
        port_id=str(row["id"]),
        revision=row.get("revision_number"),
        description=str(row.get("description") or ""),
        device_id=str(row.get("device_id") or ""),
    )


def moment(text: str | None) -> datetime | None:
    """An instant of Nova's or Keystone's, which are UTC with or without saying so."""
    if not text:
        return None
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
