"""Nova's rules as data: which action is allowed in which state, and how it refuses. Source: PEERS.md 5.b, lab notes."""

from __future__ import annotations

from dataclasses import dataclass

from jetrun.devcloud.errors import ApiError, conflict

LABELS = ("update metadata", "delete metadata", "update tag", "update tags", "delete tag", "delete tags")
"""What is written on an instance, as Nova names it in refusals."""

ALLOWED = {
    "start": {"stopped"},
    "stop": {"active", "error"},
    "shelve": {"active", "stopped", "paused", "suspended"},
    "shelveOffload": {"shelved"},
    "unshelve": {"shelved", "shelved_offloaded"},
    "suspend": {"active"},
    "resume": {"suspended"},
    "pause": {"active"},
    "unpause": {"paused"},
    "reboot": {"active"},
    "hard reboot": {"active", "stopped", "paused", "suspended", "error"},
    "createImage": {"active", "stopped", "paused", "suspended"},
    **{what: {"active", "paused", "suspended", "stopped"} for what in LABELS},
}
"""Allowed vm_states by action."""

DURING: dict[str, set[str | None]] = {
    "hard reboot": {
        None, "rebooting", "reboot_pending", "reboot_started", "rebooting_hard", "pausing", "unpausing", "suspending",
        "resuming",
    },
}  # fmt: skip
"""Tasks that an action may meet; every other wants none. Labels look at none. Source: nova.compute.task_states, ALLOW_REBOOT."""

STATUS = {
    "active": "ACTIVE",
    "building": "BUILD",
    "stopped": "SHUTOFF",
    "suspended": "SUSPENDED",
    "paused": "PAUSED",
    "shelved": "SHELVED",
    "shelved_offloaded": "SHELVED_OFFLOADED",
    "error": "ERROR",
    "deleted": "DELETED",
}
"""The status that Nova derives from vm_state; a reboot's task shows through it."""

_REBOOTS = {
    **dict.fromkeys(("rebooting", "reboot_pending", "reboot_started"), "REBOOT"),
    **dict.fromkeys(("rebooting_hard", "reboot_pending_hard", "reboot_started_hard"), "HARD_REBOOT"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How long things take, in seconds; zero is allowed. Defaults: a tenth of the lab's figures (lab NOTES.md, Timings).

    Attributes:
        taken: from an accepted request until a host takes it up; the first task stands for so long.
    """

    taken: float = 0.02
    build: float = 0.4
    stop: float = 0.3
    start: float = 0.2
    snapshot: float = 0.4
    offload: float = 0.2
    unshelve: float = 0.6
    suspend: float = 0.3
    resume: float = 0.2
    reboot: float = 0.3
    delete: float = 0.2
    bounce: float = 0.1
    power_sync: float = 10.0
    ssh: float = 0.0
    late_create: float = 1.0


ZERO = Timings(
    taken=0, build=0, stop=0, start=0, snapshot=0, offload=0, unshelve=0, suspend=0, resume=0, reboot=0, delete=0, bounce=0,
    power_sync=1.0, late_create=0.5,
)  # fmt: skip
"""No delays of the cloud's own: for tests and for measuring jetrun itself."""


def status_of(vm_state: str, task_state: str | None) -> str:
    """The status that the API shows."""
    if vm_state == "active" and task_state in _REBOOTS:
        return _REBOOTS[task_state]
    return STATUS[vm_state]


def refusal(
    action: str, *, instance: str, vm_state: str, task_state: str | None, has_host: bool, was_launched: bool
) -> ApiError | None:
    """Nova's 409 for *action* in this state, None where it is allowed. Texts as seen on Nova 26.2 (lab NOTES.md)."""
    word = "reboot" if action == "hard reboot" else action
    if action in {"stop", "start"} and not has_host:
        return conflict(f"Instance {instance} is not ready")
    # Nova looks at the vm_state first: it is what a start or a stop is told that meets a task about to change it.
    if vm_state not in ALLOWED[action]:
        return conflict(f"Cannot '{word}' instance {instance} while it is in vm_state {vm_state}")
    if action not in LABELS and task_state not in DURING.get(action, {None}):
        return conflict(f"Cannot '{word}' instance {instance} while it is in task_state {task_state}")
    if action not in LABELS and not was_launched:
        return conflict(f"Instance {instance} is in an invalid state for '{word}'")
    return None
