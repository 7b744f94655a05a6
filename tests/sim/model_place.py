"""One state of the model checker: Nova's record, the ladder's evidence, and what the environment may still do.

``model_check.py`` says what is abstracted, and why that is sound.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from jetrun.cloud import parse
from jetrun.devcloud.caller import Caller
from jetrun.devcloud.faults import FaultBook
from jetrun.devcloud.model import NovaModel
from jetrun.devcloud.rules import ZERO
from jetrun.devcloud.server_record import ServerRecord
from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.evidence import Evidence
from jetrun.guarantee.power import Action, Disposition, InstanceAction

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TICK = timedelta(seconds=60)
"""The quantum of time: the pace of the looks, and of everything else."""

WIDE = Bounds(
    verify_gap_s=60, settle_s=180, task_seen_s=120, foreign_task_s=240, shelve_s=300, stop_s=180, unshelve_s=240, build_s=240,
    delete_s=180, offload_s=120, unreachable_s=240, poll_first_s=60, poll_last_s=60,
)  # fmt: skip
"""The ladder's own bounds, pressed together to a few ticks, in their order; ``settle_s`` and what the lost replies rest on are real."""

NARROW = Bounds(
    verify_gap_s=60, settle_s=120, task_seen_s=60, foreign_task_s=120, shelve_s=180, stop_s=120, unshelve_s=120, build_s=120,
    delete_s=120, offload_s=60, unreachable_s=120, poll_first_s=60, poll_last_s=60,
)  # fmt: skip
"""The same in as few ticks as keep one wait longer than another, for a check that must be quick."""

ALIEN = {"rescued": "RESCUE", "resized": "VERIFY_RESIZE", "soft-delete": "SOFT_DELETED"}
"""vm_states that Nova has and the model does not move, with their status. Source: nova.api.openstack.common, ``_STATE_MAP``."""

HARMLESS = {
    None, "shelving", "shelving_image_pending_upload", "shelving_image_uploading", "shelving_offloading", "powering-off", "deleting",
    "image_snapshot_pending", "image_pending_upload", "image_uploading",
}  # fmt: skip
"""Tasks that do not bring up what is down. Every other may."""

View = dict[str, Any]


class Record(ServerRecord):
    """The model's record of an instance, which may be in a state that the model does not know."""

    @property
    def status(self) -> str:
        """The status that the API shows."""
        return ALIEN.get(self.vm_state) or super().status


class NoNetwork:
    """Ports do not matter to the ladder."""

    def set_plugged(self, server: str, now: datetime, *, plugged: bool) -> None:
        """Nothing."""

    def release_ports(self, server: str, now: datetime) -> None:
        """Nothing."""


class Snapshots:
    """At most one snapshot: that of the instance."""

    def __init__(self, snapshot: str | None) -> None:
        self.images: dict[str, View] = {} if snapshot is None else {snapshot: {"status": "active"}}

    def create(self, name: str, project: str, now: datetime, **more: Any) -> View:
        """The snapshot."""
        self.images["snapshot"] = row = {"id": "snapshot", "status": "active"}
        return row

    def delete(self, key: str) -> None:
        """Gone."""
        self.images.pop(key, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One state, between a decision and what comes of it.

    Attributes:
        server: Nova's own record, with the truth of the host. pending: steps of the model that may happen at any time, or never.
        rest: the view of the instance when it last had no task and was another one, for stale reads; None for none.
        step: what the ladder has decided; a verdict ends the play.
        left: how many surprises the environment still has.
        away: reads fail or say nothing at the moment: ``silent``, ``unauthorized``, ``unknown``, or empty.
        refusing: requests are met so at the moment: an HTTP status, ``lost``, or empty.
        lied: there was a false 404; there is no second.
        flying: requests without an answer which may still arrive, each until when.
    """

    server: Record
    pending: tuple[str, ...]
    rest: View | None
    now: datetime
    evidence: Evidence
    step: Any
    left: int
    away: str = ""
    refusing: str = ""
    lied: bool = False
    flying: tuple[tuple[Action, datetime], ...] = ()


def caller(user: str, project: str, *roles: str) -> Caller:
    """Who asks."""
    return Caller(
        user_id=user, user_name=user, project_id=project, project_name=project, roles=frozenset(roles), token="", expires_at=T0
    )  # fmt: skip


US = caller("ada", "lab", "member")
"""The run's user, and a person's: the log cannot tell the two apart but by request ids."""
STAFF = caller("root", "staff", "admin")


def changed(place: Place, *, fault: tuple[str, str] = ("", ""), offload_s: float = 0.0) -> tuple[NovaModel, Record]:
    """The real model over a copy of the place's record, with at most one fault set."""
    server = copy(place.server)
    server.actions = [{**row, "events": [dict(row["events"][0])]} for row in server.actions]
    book = FaultBook()
    if fault[0]:
        book.add(fault[0], on=fault[1])
    model = NovaModel(
        network=NoNetwork(),  # type: ignore[arg-type]
        images=Snapshots(server.snapshot_id),  # type: ignore[arg-type]
        faults=book,
        new_id=lambda: f"sync-{len(server.actions)}",
        timings=ZERO,
        offload_time=offload_s,
    )
    model.servers[server.id] = server
    return model, server


def settled(place: Place, model: NovaModel, *, fired: str = "", cancel: bool = False, **more: Any) -> Place:
    """*place* after the model has changed: what is due by now, what was fired or cancelled taken away."""
    (server,) = model.servers.values()
    assert isinstance(server, Record)
    kept = () if cancel or server.generation != place.server.generation else place.pending
    due = {step for _, _, _, step, generation in model._due if generation == server.generation}
    before = place.server
    moved = (before.vm_state, before.task_state) != (server.vm_state, server.task_state)
    if server.vm_state == "deleted":
        return replace(place, server=server, pending=(), flying=(), rest=place.rest or before.state(), **more)
    return replace(
        place,
        server=server,
        pending=tuple(sorted({step for step in kept if step != fired} | due)),
        rest=before.state() if moved and before.task_state is None else place.rest,
        **more,
    )


def entry(row: View, *, told: bool = True) -> InstanceAction:
    """One entry of the log as the driver's adapter reads it; *told*: with its events."""
    event = row["events"][0] if told else None
    plain = tuple(
        (word, row[word]) for word in ("request_id", "action", "user_id", "project_id", "start_time", "message")
    )
    return _parsed(plain, None if event is None else (event["finish_time"], event["result"]))


@cache
def _parsed(plain: tuple[tuple[str, Any], ...], event: tuple[Any, Any] | None) -> InstanceAction:
    events = None if event is None else [{"finish_time": event[0], "result": event[1]}]
    return parse.action({**dict(plain), "events": events})


def is_truly_down(server: ServerRecord, reached: Disposition, *, shelved_is_down: bool) -> bool:
    """Whether the instance is really where *reached* says, by Nova's own record and the host's truth, not by a read.

    One that somebody has deleted meanwhile is down, whatever was asked for.
    """
    if server.really_on or server.task_state not in HARMLESS:
        return False
    if server.vm_state == "deleted":
        return True
    allowed = {
        Disposition.DELETE: set[str](),
        Disposition.SHELVE: {"shelved_offloaded", "shelved"} if shelved_is_down else {"shelved_offloaded"},
        Disposition.STOP: {"shelved_offloaded", "shelved", "stopped"},
    }[reached]
    return server.vm_state in allowed and (server.vm_state != "shelved_offloaded" or server.host is None)
