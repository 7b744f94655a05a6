"""How shelving, offloading and unshelving go on, one small step at a time, in the order that Nova 26.2 was seen to take. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from jetrun.devcloud.server_record import RUNNING, SHUTDOWN, ServerRecord, log_time
from jetrun.devcloud.steps import HOST, Step, off, settle, up

if TYPE_CHECKING:
    from jetrun.devcloud.model import NovaModel


def _shelve_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.task_state = "shelving_image_pending_upload"
    snapshot = model.images.create(
        f"{server.name}-shelved",
        server.project_id,
        now,
        status="queued",
        image_type="snapshot",
        instance_uuid=server.id,
    )
    server.snapshot_id = snapshot["id"]
    off(model, server)
    model.schedule(server, "shelve_uploading", now, model.timings.snapshot / 2)


def _shelve_uploading(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    if model.faults.take("nova.shelve", "shelve-fails-silently") is not None:
        # The upload failed: the task is cleared, vm_state and power_state stay as they were, the guest is off.
        model.images.delete(server.snapshot_id or "")
        server.snapshot_id = None
        server.task_state = None
        server.finish(now, error=True)
        model.schedule(server, "power_sync", now, model.timings.power_sync)
        return
    server.task_state = "shelving_image_uploading"
    model.schedule(server, "shelve_done", now, model.timings.snapshot / 2)


def _shelve_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    image = model.images.images.get(server.snapshot_id or "")
    if image is not None:
        image |= {"status": "active", "size": 1 << 20}
    never = model.faults.take("nova.shelve", "never-offloads") is not None
    if never or model.offload_time < 0:
        settle(server, "shelved", now, power=SHUTDOWN)
        return
    if model.offload_time > 0:
        settle(server, "shelved", now, power=SHUTDOWN)
        model.schedule(server, "offload_began", now, model.offload_time)
        return
    server.vm_state, server.task_state, server.power_state = "shelved", "shelving_offloading", SHUTDOWN
    model.schedule(server, "offload_done", now, model.timings.offload)


def _offload_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.task_state = "shelving_offloading"
    model.schedule(server, "offload_done", now, model.timings.offload)


def _offload_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.host = None
    model.network.set_plugged(server.id, now, plugged=False)
    settle(server, "shelved_offloaded", now, power=SHUTDOWN)


def _unshelve_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    if server.vm_state == "shelved":
        model.schedule(server, "unshelve_done", now, model.timings.start)
    elif not model.hypervisor_enabled or model.faults.take("nova.unshelve", "unshelve-bounces") is not None:
        model.schedule(server, "unshelve_bounced", now, model.timings.bounce)
    elif server.snapshot_id not in model.images.images:
        model.schedule(server, "unshelve_lost", now, model.timings.bounce)
    else:
        server.task_state = "spawning"
        model.schedule(server, "unshelve_done", now, model.timings.unshelve)


def _unshelve_bounced(_model: NovaModel, server: ServerRecord, now: datetime) -> None:
    # No host: SHELVED_OFFLOADED again, no ERROR, no fault. Only the action log tells.
    server.task_state = None
    server.finish(now, error=True)


def _unshelve_lost(_model: NovaModel, server: ServerRecord, now: datetime) -> None:
    message = f"Image {server.snapshot_id} could not be found."
    server.fault = {"code": 404, "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "message": message}
    settle(server, "error", now, power=SHUTDOWN, error=True)


def _unshelve_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.images.delete(server.snapshot_id or "")
    server.snapshot_id = None
    server.host = HOST
    server.launched_at = log_time(now)
    model.network.set_plugged(server.id, now, plugged=True)
    up(model, server)
    settle(server, "active", now, power=RUNNING)


STEPS: dict[str, Step] = {
    "shelve_began": _shelve_began,
    "shelve_uploading": _shelve_uploading,
    "shelve_done": _shelve_done,
    "offload_began": _offload_began,
    "shelveOffload_began": _offload_began,
    "offload_done": _offload_done,
    "unshelve_began": _unshelve_began,
    "unshelve_bounced": _unshelve_bounced,
    "unshelve_lost": _unshelve_lost,
    "unshelve_done": _unshelve_done,
}
"""Every step by the name under which it is scheduled."""
