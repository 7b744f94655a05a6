"""Short ways to write observations, log entries and evidence in the tests of guarantee/."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.evidence import Evidence, saw
from jetrun.guarantee.power import Action, Disposition, InstanceAction, Observation, RequestId
from jetrun.guarantee.requests import Outcome, Sent

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BOUNDS = Bounds()

VM_STATE = {
    "ACTIVE": "active",
    "SHUTOFF": "stopped",
    "SHELVED": "shelved",
    "SHELVED_OFFLOADED": "shelved_offloaded",
    "SUSPENDED": "suspended",
    "PAUSED": "paused",
    "ERROR": "error",
    "BUILD": "building",
    "ABSENT": None,
}


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def read(
    status: str, seconds: float = 0, *, task: str | None = None, locked: bool | None = False, host: bool | None = None
) -> Observation:
    return Observation(
        at=at(seconds),
        status=status,
        vm_state=VM_STATE.get(status, status.lower()),
        task_state=task,
        locked=locked,
        has_host=host,
    )


def entry(
    action: str,
    request: str,
    seconds: float = 0,
    *,
    user: str | None = "ada",
    project: str | None = "lab",
    failed: bool = False,
    finished: bool | None = True,
) -> InstanceAction:
    return InstanceAction(
        request_id=RequestId(request),
        action=action,
        user_id=user,
        project_id=project,
        started_at=at(seconds),
        failed=failed,
        finished=finished,
    )


def sent(action: Action, outcome: Outcome = Outcome.ACCEPTED, seconds: float = 0, request: str | None = None) -> Sent:
    return Sent(
        action=action,
        at=at(seconds),
        replied_at=at(seconds),
        outcome=outcome,
        request_id=RequestId(request) if request else None,
    )


def evidence(disposition: Disposition = Disposition.SHELVE, **changes: object) -> Evidence:
    base = Evidence(disposition=disposition, bounds=BOUNDS, began_at=T0, project_id="lab")
    return replace(base, **changes)  # type: ignore[arg-type]


def after(start: Evidence, *reads: Observation, log: tuple[InstanceAction, ...] = ()) -> Evidence:
    for one in reads:
        start = saw(start, one, log)
    return start
