"""How each task of the model goes on: one small step at a time, in the order that Nova 26.2 was seen to take. Pure.

Sequences of (status, vm_state, task_state, power_state): openstack-lab notes, "State sequences".
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from jetrun.devcloud import shelving
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.resources import plug
from jetrun.devcloud.server_record import NOSTATE, PAUSED, RUNNING, SHUTDOWN, ServerRecord, log_time
from jetrun.devcloud.steps import HOST, Step, off, settle, up

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
    "createImage": "image_snapshot_pending",
}
"""The task that the API sets when it accepts an action."""

# --- build ---


def _build_networking(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    if not model.hypervisor_enabled:
        model.schedule(server, "build_failed", now, model.timings.bounce)
        return
    server.task_state, server.host = "spawning", HOST
    try:
        plug(model, server, now)
    except ApiError:
        model.schedule(server, "build_aborted", now, model.timings.bounce)
        return
    model.schedule(server, "build_done", now, model.timings.build)


def _build_aborted(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    """Its port went to another meanwhile. The log calls the create a success all the same (seen on Nova 26.2)."""
    server.host = None
    model.network.release_ports(server.id, now)
    why = "Failed to allocate the network(s), not rescheduling."
    message = f"Build of instance {server.id} aborted: {why}"
    server.fault = {"code": 500, "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "message": message}
    settle(server, "error", now, power=NOSTATE)


def _build_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.launched_at = log_time(now)
    up(model, server)
    settle(server, "active", now, power=RUNNING)


def _build_failed(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.host = None
    model.network.release_ports(server.id, now)
    message = "No valid host was found. "
    server.actions[0]["events"][0]["event"] = "conductor_schedule_and_build_instances"
    server.fault = {"code": 500, "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "message": message}
    settle(server, "error", now, power=NOSTATE, error=True)


# --- start, stop, suspend, pause, reboot ---


def _start_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.schedule(server, "start_done", now, model.timings.start)


def _start_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    up(model, server)
    model.network.set_plugged(server.id, now, plugged=True)
    settle(server, "active", now, power=RUNNING)


def _stop_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    off(model, server)
    model.schedule(server, "stop_done", now, model.timings.stop)


def _stop_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.network.set_plugged(server.id, now, plugged=False)
    settle(server, "stopped", now, power=SHUTDOWN)


def _suspend_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.effect("suspend", server)
    model.schedule(server, "suspend_done", now, model.timings.suspend)


def _suspend_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.network.set_plugged(server.id, now, plugged=False)
    # 4, not 7: libvirt's managed save (lab notes).
    settle(server, "suspended", now, power=SHUTDOWN)


def _resume_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.schedule(server, "resume_done", now, model.timings.resume)


def _resume_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.really_on = True
    model.effect("resume", server)
    model.network.set_plugged(server.id, now, plugged=True)
    settle(server, "active", now, power=RUNNING)


def _pause_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.effect("suspend", server)
    settle(server, "paused", now, power=PAUSED)


def _unpause_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    if server.really_on:
        model.effect("resume", server)
    settle(server, "active", now, power=RUNNING)
    if not server.really_on:
        # Its guest died before the pause, and the pause put an end to the power sync that would have seen it.
        model.schedule(server, "power_sync", now, model.timings.power_sync)


def _reboot_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    hard = "_hard" if server.task_state == "rebooting_hard" else ""
    server.task_state = f"reboot_pending{hard}"
    model.schedule(server, "reboot_started", now, model.timings.reboot / 4)


def _reboot_started(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.task_state = str(server.task_state).replace("pending", "started")
    server.really_on = True
    model.effect("reboot", server)
    model.schedule(server, "reboot_done", now, model.timings.reboot * 3 / 4)


def _reboot_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    model.network.set_plugged(server.id, now, plugged=True)
    settle(server, "active", now, power=RUNNING)


# --- an image of a disk ---


def _image_began(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.task_state = "image_pending_upload"
    model.schedule(server, "image_uploading", now, model.timings.snapshot / 2)


def _image_uploading(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    server.task_state = "image_uploading"
    model.schedule(server, "image_done", now, model.timings.snapshot / 2)


def _image_done(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    for row in model.images.images.values():
        if row["status"] == "queued" and row.get("instance_uuid") == server.id:
            model.images.activate(row["id"], 1 << 20, now)
    settle(server, server.vm_state, now, power=server.power_state)


# --- the end, and the power sync ---


def _deleted(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    off(model, server)
    model.effect("wipe", server)
    model.network.release_ports(server.id, now)
    model.images.delete(server.snapshot_id or "")
    server.host = None
    server.terminated_at = log_time(now)
    settle(server, "deleted", now, power=NOSTATE)


def _power_sync(model: NovaModel, server: ServerRecord, now: datetime) -> None:
    """Nova's periodic look at the hosts: a guest that is off is stopped, by nobody."""
    if server.really_on or server.vm_state != "active" or server.task_state is not None:
        return
    server.begin("stop", f"req-{model.new_id()}", user=None, project=None, now=now)
    model.network.set_plugged(server.id, now, plugged=False)
    settle(server, "stopped", now, power=SHUTDOWN)


STEPS: dict[str, Step] = {
    **shelving.STEPS,
    "build_networking": _build_networking,
    "build_done": _build_done,
    "build_aborted": _build_aborted,
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
    "reboot_started": _reboot_started,
    "reboot_done": _reboot_done,
    "createImage_began": _image_began,
    "image_uploading": _image_uploading,
    "image_done": _image_done,
    "deleted": _deleted,
    "power_sync": _power_sync,
}
"""Every step by the name under which it is scheduled."""
