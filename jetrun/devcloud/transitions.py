"""How each task of the model goes on: one small step at a time, in the order that Nova 26.2 was seen to take. Pure.

Sequences of (status, vm_state, task_state, power_state): openstack-lab notes, "State sequences".
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from jetrun.devcloud.server_record import NOSTATE, PAUSED, RUNNING, SHUTDOWN, ServerRecord

if TYPE_CHECKING:
    from jetrun.devcloud.model import NovaModel

FIRST_TASK = {
    "start": "powering-on",
    "stop": "powering-off",
    "shelve": "shelving",
    "shelveOffload": "shelving_offloading",
    "unshelve": "unshelving",
    "suspend": "suspending",
    "resume": "resuming",
    "pause": "pausing",
    "unpause": "unpausing",
    "reboot": "rebooting",
    "hard reboot": "rebooting_hard",
}
"""The task that the API sets when it accepts an action."""

HOST = "devcloud-host"

Step = Callable[["NovaModel", ServerRecord, datetime], None]


def _settle(server: ServerRecord, vm_state: str, now: datetime, *, power: int, error: bool = False) -> None:
    """The task is over: the new state stands and the log says so."""
    server.vm_state, server.task_state, server.power_state = vm_state, None, power
    server.updated = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    server.finish(now, error=error)


def _up(model: NovaModel, server: ServerRecord) -> None:
    """The host runs it."""
    if not server.really_on:
        server.really_on = True
        model.effect("power_on", server)


def _off(model: NovaModel, server: ServerRecord) -> None:
    """The host does not run it any more."""
    server.really_on = False
    model.effect("power_off", server)


# --- build ---


def _build_networking(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.task_state = "spawning"
    server.host = HOST if model.hypervisor_enabled else None
    model.schedule(server, "build_done" if model.hypervisor_enabled else "build_failed", now, model.timings.build)


def _build_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.launched_at = now.strftime("%Y-%m-%dT%H:%M:%S.%f")
    _up(model, server)
    _settle(server, "active", now, power=RUNNING)


def _build_failed(_model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.host = None
    message = "No valid host was found. There are not enough hosts available."
    server.fault = {"code": 500, "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "message": message}
    _settle(server, "error", now, power=NOSTATE, error=True)


# --- start, stop, suspend, pause, reboot ---


def _start_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.schedule(server, "start_done", now, model.timings.start)


def _start_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    _up(model, server)
    _settle(server, "active", now, power=RUNNING)


def _stop_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    _off(model, server)
    model.schedule(server, "stop_done", now, model.timings.stop)


def _stop_done(_model: NovaModel, server: ServerRecord, now: datetime) -> None:
    _settle(server, "stopped", now, power=SHUTDOWN)


def _suspend_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.effect("suspend", server)
    model.schedule(server, "suspend_done", now, model.timings.suspend)


def _suspend_done(_model: NovaModel, server: ServerRecord, now: datetime) -> None:
    # 4, not 7: libvirt's managed save (lab notes).
    _settle(server, "suspended", now, power=SHUTDOWN)


def _resume_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.schedule(server, "resume_done", now, model.timings.resume)


def _resume_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.really_on = True
    model.effect("resume", server)
    _settle(server, "active", now, power=RUNNING)


def _pause_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.effect("suspend", server)
    _settle(server, "paused", now, power=PAUSED)


def _unpause_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    if server.really_on:
        model.effect("resume", server)
    _settle(server, "active", now, power=RUNNING)
    if not server.really_on:
        # Its guest died before the pause, and the pause put an end to the power sync that would have seen it.
        model.schedule(server, "power_sync", now, model.timings.power_sync)


def _reboot_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    if server.task_state == "rebooting_hard":
        server.task_state = "reboot_started_hard"
    server.really_on = True
    model.effect("reboot", server)
    model.schedule(server, "reboot_done", now, model.timings.reboot)


def _reboot_done(_model: NovaModel, server: ServerRecord, now: datetime) -> None:
    _settle(server, "active", now, power=RUNNING)


# --- shelve, offload, unshelve ---


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
    _off(model, server)
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
        _settle(server, "shelved", now, power=SHUTDOWN)
        return
    if model.offload_time > 0:
        _settle(server, "shelved", now, power=SHUTDOWN)
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
    _settle(server, "shelved_offloaded", now, power=SHUTDOWN)


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
    _settle(server, "error", now, power=SHUTDOWN, error=True)


def _unshelve_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.images.delete(server.snapshot_id or "")
    server.snapshot_id = None
    server.host = HOST
    server.launched_at = now.strftime("%Y-%m-%dT%H:%M:%S.%f")
    model.network.set_plugged(server.id, now, plugged=True)
    _up(model, server)
    _settle(server, "active", now, power=RUNNING)


# --- the end, and the power sync ---


def _deleted(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    _off(model, server)
    model.effect("wipe", server)
    model.network.release_ports(server.id, now)
    model.images.delete(server.snapshot_id or "")
    server.host = None
    server.terminated_at = now.strftime("%Y-%m-%dT%H:%M:%S.%f")
    _settle(server, "deleted", now, power=NOSTATE)


def _power_sync(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    """Nova's periodic look at the hosts: a guest that is off is stopped, by nobody."""
    if server.really_on or server.vm_state != "active" or server.task_state is not None:
        return
    server.begin("stop", f"req-{model.new_id()}", user=None, project=None, now=now)
    _settle(server, "stopped", now, power=SHUTDOWN)


STEPS: dict[str, Step] = {
    "build_networking": _build_networking,
    "build_done": _build_done,
    "build_failed": _build_failed,
    "start_began": _start_began,
    "start_done": _start_done,
    "stop_began": _stop_began,
    "stop_done": _stop_done,
    "suspend_began": _suspend_began,
    "suspend_done": _suspend_done,
    "resume_began": _resume_began,
    "resume_done": _resume_done,
    "pause_began": _pause_began,
    "unpause_began": _unpause_began,
    "reboot_began": _reboot_began,
    "hard_reboot_began": _reboot_began,
    "reboot_done": _reboot_done,
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
    "deleted": _deleted,
    "power_sync": _power_sync,
}
"""Every step by the name under which it is scheduled."""
