"""What people order besides power: a lock, an image of the disk, and the reset of a state that is stuck. Pure; part of Nova's model."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import bad_request, forbidden
from jetrun.devcloud.rules import refusal
from jetrun.devcloud.transitions import FIRST_TASK

if TYPE_CHECKING:
    from jetrun.devcloud.model import NovaModel


def lock(model: NovaModel, caller: Caller, key: str, reason: str | None, *, request_id: str, now: datetime) -> None:
    """Lock an instance; an administrator's lock stays one."""
    server = model.find(caller, key)
    server.note("lock", request_id, caller, now)
    if server.locked_by != "admin" or caller.is_admin:
        server.locked_by, server.locked_reason = ("admin" if caller.is_admin else "owner"), reason


def unlock(model: NovaModel, caller: Caller, key: str, *, request_id: str, now: datetime) -> None:
    """Unlock; an administrator's lock only by an administrator."""
    server = model.find(caller, key)
    if server.locked_by == "admin" and not caller.is_admin:
        raise forbidden("Policy doesn't allow os_compute_api:os-lock-server:unlock:unlock_override to be performed.")
    server.note("unlock", request_id, caller, now)
    server.locked_by = server.locked_reason = None


def image(model: NovaModel, caller: Caller, key: str, name: str, *, request_id: str, now: datetime) -> str:
    """Begin an image of an instance's disk; its id. A lock is not in the way, as in Nova."""
    server = model.find(caller, key)
    if not name:
        raise bad_request("Invalid input for field/attribute createImage. Value: {}. 'name' is a required property")
    refused = refusal(
        "createImage",
        instance=key,
        vm_state=server.vm_state,
        task_state=server.task_state,
        has_host=server.host is not None,
        was_launched=server.launched_at is not None,
    )
    if refused is not None:
        raise refused
    model.changing(server)
    server.generation += 1
    server.begin("createImage", request_id, user=caller.user_id, project=caller.project_id, now=now)
    server.task_state = FIRST_TASK["createImage"]
    row = model.images.create(
        name, server.project_id, now, status="queued", image_type="snapshot", instance_uuid=server.id
    )
    if model.faults.take("nova.createImage", "stuck-task") is None:
        model.schedule(server, "createImage_began", now, model.timings.taken)
    return str(row["id"])


def reset_state(
    model: NovaModel, key: str, vm_state: str, now: datetime, *, by: Caller | None = None, request_id: str = ""
) -> None:
    """What an administrator does about an instance that is stuck. The host is not touched.

    Args:
        by: who asks through the API, and is in the action log for it; None for who writes to Nova's database.
    """
    server = model.servers[key]
    model.changing(server)
    server.generation += 1
    server.vm_state, server.task_state = vm_state, None
    if by is not None:
        server.note("resetState", request_id, by, now)
    if not server.really_on:
        model.schedule(server, "power_sync", now, model.timings.power_sync)
