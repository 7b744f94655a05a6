"""Where the model checker begins: each state that an instance may be in when the phase shutdown begins, for each disposition."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from model_moves import PERSONS, STAFFS
from model_place import ALIEN, STAFF, T0, US, Place, Record, changed, settled

from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.server_record import NOSTATE, PAUSED, RUNNING, SHUTDOWN
from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.evidence import Evidence
from jetrun.guarantee.ladder import Look
from jetrun.guarantee.power import Action, Disposition, RequestId
from jetrun.guarantee.requests import Outcome, Sent

SETTINGS: dict[str, dict[str, Any]] = {
    "shelve": {"disposition": Disposition.SHELVE},
    "shelve, disposable": {"disposition": Disposition.SHELVE, "disposable": True},
    "shelve, SHELVED is down": {"disposition": Disposition.SHELVE, "shelved_is_down": True},
    "stop": {"disposition": Disposition.STOP},
    "stop, disposable": {"disposition": Disposition.STOP, "disposable": True},
    "delete": {"disposition": Disposition.DELETE, "may_delete": True},
    "delete, disposable": {"disposition": Disposition.DELETE, "may_delete": True, "disposable": True},
}
"""What a run may want of its shutdown. ``delete`` without leave to delete is made ``shelve`` before the ladder begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An instance at rest: its vm_state, whether its guest runs and it is on a host, and what has always been so."""

    vm_state: str
    on: bool = False
    host: bool = True
    launched: bool = True
    power: int = SHUTDOWN


BASES = (
    Base(vm_state="active", on=True, power=RUNNING),
    Base(vm_state="active", power=RUNNING),  # the guest has powered itself off, and Nova does not know
    Base(vm_state="stopped"),
    Base(vm_state="paused", on=True, power=PAUSED),
    Base(vm_state="suspended"),
    Base(vm_state="error", on=True),
    Base(vm_state="error", host=False, launched=False, power=NOSTATE),
    Base(vm_state="shelved"),
    Base(vm_state="shelved", host=False),  # a shelve that a crash of Nova has torn
    Base(vm_state="shelved_offloaded", host=False),
    Base(vm_state="building", host=False, launched=False, power=NOSTATE),
    Base(vm_state="deleted", host=False, power=NOSTATE),
    *(Base(vm_state=word, on=True, power=RUNNING) for word in ALIEN),
)

AGO = timedelta(minutes=1)
"""How long before the shutdown the request was sent whose task is still open; one whose effect is not known, then or just now."""

RESUMES = {"stopped": "start", "shelved_offloaded": "unshelve", "suspended": "resume", "paused": "unpause"}


def starts(setting: str, surprises: int, bounds: Bounds, *, usual: bool = False) -> Iterator[tuple[str, Place]]:
    """Every place in which a shutdown may begin, each with a name; *usual*: only that of a run that went well until then."""
    if usual:
        yield "active; own start", _place(BASES[0], "own start", setting, surprises, bounds)
        return
    for base in BASES:
        for history in ("own start", "old end", "no log"):
            if history == "no log" and base.vm_state == "building":
                continue
            place = _place(base, history, setting, surprises, bounds)
            name = f"{base.vm_state}{'' if base.on else ', off'}{'' if base.host else ', no host'}; {history}"
            yield name, place
            if base.vm_state == "building":
                continue
            yield from ((f"{name}; {what}", one) for what, one in _with_a_task(place))
            for ago in (timedelta(0), AGO):
                yield from ((f"{name}; {what}", one) for what, one in _with_a_lost_request(place, ago))


def _place(base: Base, history: str, setting: str, surprises: int, bounds: Bounds) -> Place:
    """An instance at rest, and the ladder before its first look."""
    building = base.vm_state == "building"
    server = Record(
        id="vm", name="vm", user_id="ada", project_id="lab", flavor={"vcpus": 1, "ram": 1024}, image_id="image", created="", updated="",
        vm_state=base.vm_state, task_state="scheduling" if building else None, power_state=base.power, really_on=base.on,
        host="devcloud-host" if base.host else None, launched_at="long ago" if base.launched else None,
        snapshot_id="snapshot" if base.vm_state in {"shelved", "shelved_offloaded"} else None,
    )  # fmt: skip
    began = {"shelved_offloaded": "unshelve", "building": "create"}.get(base.vm_state, "start")
    if history != "no log":
        server.begin("create", "req-create", user="ada", project="lab", now=T0 - timedelta(days=2))
        if not building:
            server.finish(T0)
            word = began if history == "own start" else "stop" if base.vm_state == "stopped" else "shelve"
            server.begin(word, f"req-{word}", user="ada", project="lab", now=T0 - timedelta(hours=1))
            server.finish(T0 - timedelta(hours=1))
    evidence = Evidence(
        bounds=bounds,
        began_at=T0,
        project_id="lab",
        known=frozenset(RequestId(row["request_id"]) for row in server.actions),
        **SETTINGS[setting],
    )
    rest = None
    if history == "own start" and not building:
        # What a stale read would show: the instance as it was before the run started it.
        was = copy(server)
        was.vm_state, was.host = "shelved_offloaded", None
        rest = was.state()
    off_unseen = base.vm_state == "active" and not base.on
    return Place(
        server=server,
        pending=("build_networking",) if building else ("power_sync",) if off_unseen else (),
        rest=rest,
        now=T0,
        evidence=evidence,
        step=Look(after_s=0.0),
        left=surprises,
    )


def _with_a_task(place: Place) -> Iterator[tuple[str, Place]]:
    """The same with a task in progress: our own start's, a person's or the staff's."""
    asked = [("own", word, US) for word in RESUMES.values()]
    asked += [("a person's", word, US) for word in (*PERSONS, "delete")]
    asked += [("the staff's", word, STAFF) for word in STAFFS]
    for whose, word, who in asked:
        model, server = changed(place)
        request_id, at = f"req-{whose}-{word}", place.now - AGO
        try:
            if word == "delete":
                model.delete(who, server.id, request_id=request_id, now=at)
            else:
                model.act(who, server.id, word, request_id=request_id, now=at)
        except ApiError:
            continue
        after = settled(place, model)
        if whose == "own":
            known = after.evidence.known | {RequestId(request_id)}
            after = replace(after, evidence=replace(after.evidence, known=known))
        yield f"{whose} {word}", after


def _with_a_lost_request(place: Place, ago: timedelta) -> Iterator[tuple[str, Place]]:
    """The same after a request of the run's without an answer, which may still arrive: its start, or an earlier process's delete."""
    bounds, evidence = place.evidence.bounds, place.evidence
    at = place.now - ago
    flying = at + timedelta(seconds=bounds.settle_s)
    word = RESUMES.get(place.server.vm_state)
    if word is not None:
        lost = Sent(action=Action(word), at=at, replied_at=at, outcome=Outcome.AMBIGUOUS)
        unsettled = replace(evidence, unsettled=(lost,))
        yield f"a lost {word}", replace(place, evidence=unsettled, flying=((lost.action, flying),))
        model, server = changed(place)
        model.act(US, server.id, word, request_id=f"req-lost-{word}", now=at)
        yield f"a lost {word} at work", replace(settled(place, model), evidence=unsettled)
    if evidence.may_delete and place.server.vm_state != "deleted":
        lost = Sent(action=Action.DELETE, at=at, replied_at=at, outcome=Outcome.AMBIGUOUS)
        earlier = replace(evidence, sent=(lost,))
        yield "a lost delete", replace(place, evidence=earlier, flying=((Action.DELETE, flying),))
