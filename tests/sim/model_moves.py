"""What can happen next in the model checker: to the instance, to a look and to a request. All of it is the environment's choice.

Each move gives a name and the place after it. A surprise takes one from ``Place.left``; what goes on by itself (a task's
next step or its end in the failures that Nova is known for, a delay, an outage that lasts) costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from model_place import STAFF, US, Place, changed, entry, settled

from jetrun.cloud import parse
from jetrun.cloud.classify import by_status
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.rules import ALLOWED, LABELS
from jetrun.devcloud.server_record import SHUTDOWN
from jetrun.devcloud.steps import settle
from jetrun.devcloud.transitions import STEPS
from jetrun.engine.requests import observed, outcome_of
from jetrun.errors import CloudError, CloudTransient
from jetrun.guarantee import ladder
from jetrun.guarantee.evidence import Evidence, replied
from jetrun.guarantee.power import ABSENT, Action, InstanceAction, Observation, RequestId
from jetrun.guarantee.requests import Outcome, Sent

Moves = Iterator[tuple[str, Place]]

KNOWN_FAILURES = {
    "shelve_uploading": ("shelve-fails-silently", "nova.shelve"),
    "unshelve_began": ("unshelve-bounces", "nova.unshelve"),
}
"""Steps that the model itself knows to fail; a shelve that is not offloaded, and a build without a host, are below."""

REFUSALS = (403, 401, 409, 429, 404)
"""Answers to a request that had no effect; a 400 is taken as a 403."""

PERSONS = tuple(action for action in ALLOWED if action not in LABELS and action != "shelveOffload")
STAFFS = ("start", "unshelve", "hard reboot", "shelveOffload")


# --- the instance ---


def events(place: Place) -> Moves:
    """What may happen to the instance now."""
    yield from going_on(place)
    if place.left:
        yield from _broken(replace(place, left=place.left - 1))
        yield from others(replace(place, left=place.left - 1))


def going_on(place: Place) -> Moves:
    """What goes on by itself: pending steps, and requests that still arrive."""
    for step in place.pending:
        yield step, fired(place, step)
        if step in KNOWN_FAILURES:
            yield f"{step} fails", fired(place, step, fault=KNOWN_FAILURES[step])
        if step == "shelve_done":
            yield f"{step}, offload later or never", fired(place, step, offload_s=1.0)
        if step == "build_networking":
            yield f"{step} without a host", fired(place, step, hypervisor=False)
    for one in place.flying:
        rest = tuple(other for other in place.flying if other is not one)
        after = _applied(replace(place, flying=rest), one[0].value, f"req-late-{len(place.server.actions)}")
        yield f"{one[0]} arrives late", after or replace(place, flying=rest)


def fired(place: Place, step: str, *, hypervisor: bool = True, **more: Any) -> Place:
    """One pending step of the model happens now."""
    model, server = changed(place, **more)
    model.hypervisor_enabled = hypervisor
    model.changing(server)
    STEPS[step](model, server, place.now)
    return settled(place, model, fired=step)


def _applied(place: Place, action: str, request_id: str, *, who: Any = US) -> Place | None:
    """A request takes effect; None where Nova refuses it."""
    model, server = changed(place)
    try:
        if action == "delete":
            model.delete(who, server.id, request_id=request_id, now=place.now)
        else:
            model.act(who, server.id, action, request_id=request_id, now=place.now)
    except ApiError:
        return None
    return settled(place, model)


def _broken(place: Place) -> Moves:
    """The task in progress ends without its effect: noted as failed, without a word, or in ERROR."""
    if place.server.task_state is None:
        return
    for how in ("failed", "silently", "in ERROR"):
        model, server = changed(place)
        model.changing(server)
        if how == "in ERROR":
            settle(server, "error", place.now, power=SHUTDOWN, error=True)
        else:
            server.task_state = None
            if how == "failed":
                server.finish(place.now, error=True)
        after = settled(place, model, cancel=True)
        if not server.really_on and server.vm_state == "active":
            after = replace(after, pending=("power_sync",))
        yield f"the task ends {how}", after


def others(place: Place) -> Moves:
    """A person, the cloud's staff, or the guest itself does something."""
    number = len(place.server.actions)
    for action in (*PERSONS, "delete"):
        after = _applied(place, action, f"req-person-{number}")
        if after is not None:
            yield f"a person's {action}", after
    for action in STAFFS:
        after = _applied(place, action, f"req-staff-{number}", who=STAFF)
        if after is not None:
            yield f"the staff's {action}", after
    if place.server.vm_state == "deleted":
        return
    model, server = changed(place)
    server.locked_by = None if server.locked_by else "owner"
    yield "locked" if server.locked_by else "unlocked", settled(place, model)
    if place.server.really_on:
        model, server = changed(place)
        model.guest_powered_off(server.id, place.now)
        yield "the guest powers itself off", settled(place, model)


# --- a look ---


class Glass:
    """What one look meets: the cloud as ``engine.requests.observed`` asks it. Also its clock and its screen."""

    def __init__(self, place: Place, *, log_of: Place | None = None, status: str = "", view: Any = None) -> None:
        self._place, self._status, self._view = place, status, view
        self._log_of = log_of or place
        self.hides_log = False

    def now(self) -> Any:
        """The time of the look."""
        return self._place.now

    def event(self, name: str, **fields: object) -> None:
        """Not shown."""

    def observe(self, instance: Any) -> Observation:
        """The instance as this look sees it."""
        server, at = self._place.server, self._place.now
        if self._place.away in {"silent", "unauthorized"}:
            kind = by_status(401, writes=False) if self._place.away == "unauthorized" else CloudTransient
            raise kind(what="no answer", status=401 if self._place.away == "unauthorized" else None)
        if self._status == ABSENT or (server.vm_state == "deleted" and self._view is None):
            return Observation(at=at, status=ABSENT)
        if self._place.away == "unknown":
            return Observation(at=at, status="UNKNOWN")
        row = {**(self._view or server.state()), "locked": server.locked_by is not None, "hostId": server.host or ""}
        row.pop("OS-EXT-SRV-ATTR:host", None)
        return parse.observation(row, at)

    def actions(self, instance: Any) -> list[InstanceAction]:
        """The log, newest first."""
        if self.hides_log:
            raise by_status(404, writes=False)(what="gone", status=404)
        return [entry(row, told=False) for row in reversed(self._log_of.server.actions)]

    def action(self, instance: Any, request: str) -> InstanceAction:
        """One entry of it."""
        return entry(next(row for row in self._log_of.server.actions if row["request_id"] == request))


def _looked(place: Place, glass: Glass) -> Evidence:
    evidence, _ = observed(glass, glass, glass, "vm", place.evidence)  # type: ignore[arg-type]
    return evidence


def looks(place: Place) -> Moves:
    """Time passes, and the instance is read: whatever that read may meet."""
    now = place.now + timedelta(seconds=place.step.after_s)
    flying = tuple(one for one in place.flying if one[1] > now)
    place = replace(place, now=now, flying=flying)
    if place.away:
        yield f"still {place.away}", decided(place, _looked(place, Glass(place)))
        place = replace(place, away="")
    yield from _seen_and_hidden("a look", place, Glass(place))
    for name, after in events(place):
        if after.server is not place.server:
            yield f"a look; before its log: {name}", decided(after, _looked(place, Glass(place, log_of=after)))
    if not place.left:
        return
    less = replace(place, left=place.left - 1)
    for away in ("silent", "unauthorized", "unknown"):
        cut = replace(less, away=away)
        yield f"{away}", decided(cut, _looked(cut, Glass(cut)))
    server = place.server
    now_seen = server.state()
    for view in (server.previous, place.rest):
        if view is not None and view != now_seen:
            yield "a stale look", decided(less, _looked(less, Glass(less, view=view)))
    if server.vm_state != "deleted" and not place.lied:
        lie = replace(less, lied=True)
        yield from _seen_and_hidden("a false 404", lie, Glass(lie, status=ABSENT))


def _seen_and_hidden(name: str, place: Place, glass: Glass) -> Moves:
    """A look; and where it shows nothing, one with the log hidden as well."""
    evidence = _looked(place, glass)
    yield name, decided(place, evidence)
    if evidence.latest is not None and evidence.latest.status == ABSENT:
        glass.hides_log = True
        yield f"{name}, no log", decided(place, _looked(place, glass))


def decided(place: Place, evidence: Evidence) -> Place:
    """*place* with new evidence, and what the ladder makes of it."""
    return replace(place, evidence=evidence, step=ladder.decide(evidence, place.now))


# --- a request ---


def requests(place: Place) -> Moves:
    """The ladder's request is sent: whatever it may meet."""
    action: Action = place.step.action
    request_id = f"req-own-{len(place.evidence.sent)}-{len(place.server.actions)}"
    calm = replace(place, refusing="")
    yield f"{action} answered", _answered(calm, action, request_id)
    for status in REFUSALS:
        met = _met(place, str(status))
        if met is not None:
            yield f"{action}: {status}", _refused(met, action, by_status(status, writes=True)(what="", status=status))
    met = _met(place, "lost")
    if met is not None:
        now, later = met.now, met.now + timedelta(seconds=60)
        until = now + timedelta(seconds=place.evidence.bounds.settle_s)
        done = _applied(met, action.value, request_id)
        if done is not None:
            yield f"{action}: done, its answer is lost", _sent(done, action, Outcome.AMBIGUOUS)
        # What is gone is told 404, whenever it arrives.
        gone = met.server.vm_state == "deleted"
        on_its_way = met if gone else replace(met, flying=(*met.flying, (action, until)))
        yield f"{action}: 5xx, late or never", _sent(on_its_way, action, Outcome.AMBIGUOUS)
        hung = replace(on_its_way, now=later)
        yield f"{action}: no answer, late or never", _sent(hung, action, Outcome.AMBIGUOUS, at=now)


def _met(place: Place, refusing: str) -> Place | None:
    """*place* where requests are met so; None where the environment has no surprise left for it."""
    if place.refusing == refusing:
        return place
    return replace(place, refusing=refusing, left=place.left - 1) if place.left else None


def _answered(place: Place, action: Action, request_id: str) -> Place:
    """Nova's own answer."""
    model, server = changed(place)
    try:
        if action is Action.DELETE:
            model.delete(US, server.id, request_id=request_id, now=place.now)
        else:
            model.act(US, server.id, action.value, request_id=request_id, now=place.now)
    except ApiError as error:
        return _refused(place, action, by_status(error.status, writes=True)(what="", status=error.status))
    return _sent(settled(place, model), action, Outcome.ACCEPTED, request_id=request_id)


def _refused(place: Place, action: Action, error: CloudError) -> Place:
    return _sent(place, action, outcome_of(error))


def _sent(place: Place, action: Action, outcome: Outcome, *, request_id: str | None = None, at: Any = None) -> Place:
    """*place* after the outcome of its request is known."""
    known = RequestId(request_id) if request_id else None
    sent = Sent(action=action, at=at or place.now, replied_at=place.now, outcome=outcome, request_id=known)
    return decided(place, replied(place.evidence, sent))


MOVES: dict[type, Callable[[Place], Moves]] = {ladder.Look: looks, ladder.Send: requests}
"""What comes of each step that is no verdict."""
