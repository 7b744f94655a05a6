"""One instance of the model: its rows as Nova's database has them, its actions, and what its host really does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from jetrun.devcloud.caller import Caller
from jetrun.devcloud.rules import status_of

EVENTS = {
    "create": "compute__do_build_and_run_instance",
    "delete": "compute_terminate_instance",
    "createImage": "compute_snapshot_instance",
    "shelveOffload": "compute_shelve_offload_instance",
    "lock": "api_lock",
    "unlock": "api_unlock",
}
"""What the log calls the work of an action, where it is not ``compute_ACTION_instance``. Source: the contract's real cloud."""

NOSTATE, RUNNING, PAUSED, SHUTDOWN, SUSPENDED = 0, 1, 3, 4, 7


@dataclass(kw_only=True)
class ServerRecord:
    """An instance.

    Attributes:
        power_state: what Nova's database says; ``really_on`` is the truth on the host.
        locked_by: ``owner`` or ``admin``; None when it is not locked.
        networks: what the create asked for, ``port`` or ``uuid`` each, with the security groups of new ports.
        actions: rows of os-instance-actions, oldest first.
        previous: the API view before the last change, for stale reads.
    """

    id: str
    name: str
    user_id: str
    project_id: str
    flavor: dict[str, Any]
    image_id: str
    created: str
    updated: str
    key_name: str | None = None
    user_data: str = ""
    vm_state: str = "building"
    task_state: str | None = "scheduling"
    power_state: int = NOSTATE
    host: str | None = None
    really_on: bool = False
    launched_at: str | None = None
    terminated_at: str | None = None
    locked_by: str | None = None
    locked_reason: str | None = None
    snapshot_id: str | None = None
    fault: dict[str, Any] | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    networks: list[dict[str, Any]] = field(default_factory=list)
    group_ids: list[str] = field(default_factory=list)
    actions: list[dict[str, Any]] = field(default_factory=list)
    previous: dict[str, Any] | None = None
    generation: int = 0

    @property
    def status(self) -> str:
        """The status that the API shows."""
        return status_of(self.vm_state, self.task_state)

    def begin(self, action: str, request_id: str, *, user: str | None, project: str | None, now: datetime) -> None:
        """A new entry of the action log, unfinished."""
        at = log_time(now)
        event = EVENTS.get(action, f"compute_{action}_instance")
        self.actions.append(
            {
                "action": action,
                "instance_uuid": self.id,
                "request_id": request_id,
                "user_id": user,
                "project_id": project,
                "start_time": at,
                "updated_at": at,
                "message": None,
                "events": [{"event": event, "start_time": at, "finish_time": None, "result": None}],
            }
        )

    def note(self, action: str, request_id: str, by: Caller, now: datetime) -> None:
        """An entry of the action log for what is over as soon as it is asked."""
        self.begin(action, request_id, user=by.user_id, project=by.project_id, now=now)
        at = log_time(now)
        self.actions[-1]["events"][0] |= {"finish_time": at, "result": "Success"}

    def finish(self, now: datetime, *, error: bool = False) -> None:
        """The newest unfinished entry ends, well or not."""
        for action in reversed(self.actions):
            event = action["events"][0]
            if event["finish_time"] is None:
                at = log_time(now)
                event |= {"finish_time": at, "result": "Error" if error else "Success"}
                action |= {"updated_at": at, "message": "Error" if error else None}
                return

    def state(self) -> dict[str, Any]:
        """The part of the API view that a stale read would show as it was."""
        return {
            "status": self.status,
            "OS-EXT-STS:vm_state": self.vm_state,
            "OS-EXT-STS:task_state": self.task_state,
            "OS-EXT-STS:power_state": self.power_state,
            "OS-EXT-SRV-ATTR:host": self.host,
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ServerRecord:
        """What ``to_dict`` gave."""
        return cls(**data)


def log_time(now: datetime) -> str:
    """An instant as the action log and ``launched_at`` have it: whole seconds, written as if there were more."""
    return now.strftime("%Y-%m-%dT%H:%M:%S.000000")
