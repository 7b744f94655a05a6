"""When two states of the model checker are one: the key, which is all that the future of a state depends on.

What is left out is what neither the ladder nor the model asks of any more. Left out too much, and a state stays unexplored.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import takewhile
from typing import Any

from model_place import TICK, Place, View, entry

from jetrun.guarantee.evidence import MAYBE, Evidence, took_effect
from jetrun.guarantee.ladder import ATTEMPTS, Send
from jetrun.guarantee.power import STARTING_ACTIONS, Action, InstanceAction
from jetrun.guarantee.requests import ARRIVES_S, ENDING_ACTIONS, SKEW_S, Outcome, Sent, entry_of

FINDABLE_S = ARRIVES_S + SKEW_S + TICK.seconds
"""How long after a reply was given up on the entry of its request may still begin, in the ladder's eyes; and one tick more."""


def key(place: Place) -> tuple[Any, ...]:
    """All of *place* that its future depends on; ages in ticks, each clipped at the one bound that it is ever held against."""
    server, evidence, bounds = place.server, place.evidence, place.evidence.bounds
    now, stale = place.now, place.left > 0
    ours = next((sent for sent in reversed(evidence.sent) if sent.outcome in MAYBE), None)
    busy = evidence.latest is not None and evidence.latest.task_state is not None
    foreign_s = max(bounds.build_s, bounds.foreign_task_s)
    if server.vm_state == "deleted" and not stale and place.away != "unknown" and not isinstance(place.step, Send):
        return _key_of_the_gone(place)
    return (
        ("send", place.step.action.value) if isinstance(place.step, Send) else ("look", place.step.after_s),
        (server.vm_state, server.task_state, server.host is None, server.really_on, server.locked_by is None),
        (server.launched_at is None, server.snapshot_id is None, place.pending),
        (_seen(server.previous), _seen(place.rest)) if stale else None,
        (place.left, place.away, place.refusing, stale and place.lied),
        tuple(sorted((action.value, (until - now) // TICK) for action, until in place.flying)),
        _age(evidence.began_at, now, bounds.build_s) if stale or place.away or server.vm_state == "building" else -1,
        (_age(evidence.blind_since, now, bounds.unreachable_s), evidence.blind_unauthorized),
        (busy, _age(evidence.busy_since, now, foreign_s) if busy and ours is None else -1),
        (_age(evidence.shelved_since, now, bounds.offload_s), _age(evidence.absent_since, now, bounds.verify_gap_s)),
        evidence.looks > 0,
        tuple(_age(read.at, now, bounds.verify_gap_s) for read in evidence.proof[:1]),
        tuple((sent.action.value, sent.request_id is None, _age(sent.at, now, bounds.settle_s)) for sent in evidence.unsettled),
        _requests(evidence, ours, now),
        tuple(_entries(place)),
    )  # fmt: skip


def _key_of_the_gone(place: Place) -> tuple[Any, ...]:
    """The key where every look that gets an answer will show nothing: whether that is our doing is all that matters."""
    evidence, now, bounds = place.evidence, place.now, place.evidence.bounds
    log = [entry(row) for row in place.server.actions]
    deletes = [sent for sent in evidence.sent if sent.action is Action.DELETE]
    return (
        (place.step.after_s, place.away, evidence.looks > 0, not log),
        (any(took_effect(sent) for sent in deletes), any(sent.outcome in MAYBE for sent in deletes)),
        any(_is_lost(sent) and entry_of(sent, log, known=evidence.known) is not None for sent in deletes),
        (_age(evidence.blind_since, now, bounds.unreachable_s), evidence.blind_unauthorized),
        _age(evidence.absent_since, now, bounds.verify_gap_s),
        tuple(_age(read.at, now, bounds.verify_gap_s) for read in evidence.proof[:1]),
    )


def _age(then: datetime | None, now: datetime, bound_s: float) -> int:
    """Ticks since *then*; what is older than the bound is as old as the bound. -1 for never."""
    return -1 if then is None else min(int(bound_s // TICK.seconds), (now - then) // TICK)


def _seen(view: View | None) -> tuple[Any, ...]:
    """What a stale read would show."""
    return () if view is None else (view["status"], view["OS-EXT-STS:vm_state"], view["OS-EXT-STS:task_state"])


def _requests(evidence: Evidence, ours: Sent | None, now: datetime) -> tuple[Any, ...]:
    """What the ladder asks of its requests: the last, the last that may have worked, and which were sent, worked, or were refused."""
    if not evidence.sent:
        return ()
    bounds, last = evidence.bounds, evidence.sent[-1]
    tail = tuple(takewhile(lambda sent: not took_effect(sent), reversed(evidence.sent)))
    budgets = {Action.SHELVE: bounds.shelve_s, Action.DELETE: bounds.delete_s}
    quiet_s = bounds.task_seen_s if took_effect(last) or _is_lost(last) else bounds.poll_last_s
    deletes = [sent for sent in evidence.sent if sent.action is Action.DELETE]
    return (
        (
            last.outcome in {Outcome.FORBIDDEN, Outcome.UNAUTHORIZED} and last.outcome.value,
            took_effect(last),
            _is_lost(last),
        ),
        _age(max(last.replied_at, evidence.busy_last or last.replied_at), now, quiet_s),
        (ours.action.value, _age(ours.at, now, budgets.get(ours.action, bounds.stop_s))) if ours else (),
        _age(max(tail[-1].at, evidence.began_at), now, bounds.foreign_task_s) if tail else -1,
        tuple(sorted({sent.action.value for sent in evidence.sent if sent.outcome is Outcome.FORBIDDEN})),
        tuple(sorted({sent.action.value for sent in evidence.sent if sent.outcome is Outcome.CONFLICT})),
        (bool(deletes), any(took_effect(sent) for sent in deletes), any(sent.outcome in MAYBE for sent in deletes)),
        tuple(
            min(ATTEMPTS, sum(took_effect(one) for one in evidence.sent if one.action is action)) for action in Action
        ),
        tuple((sent.action.value, _age(sent.replied_at, now, FINDABLE_S)) for sent in evidence.sent if _is_lost(sent)),
    )


def _is_lost(sent: Sent) -> bool:
    """Its reply was lost, and no entry has been found for it yet."""
    return sent.outcome is Outcome.AMBIGUOUS and sent.request_id is None


def _entries(place: Place) -> Iterator[tuple[Any, ...]]:
    """The entries of the log that a decision can still look at, in order.

    A finished entry does not change any more. Of them count: the newest start where it is a person's; the newest that changed
    the power where it is a start, or hides an older one that is open; those of the last request and of the unsettled ones;
    those that a lost request may yet be found by. The open ones all count, for the next end of a task is the newest one's.
    """
    evidence, rows = place.evidence, place.server.actions
    own = {
        sent.request_id: number
        for number, sent in enumerate((*evidence.sent[-1:], *evidence.unsettled))
        if sent.request_id
    }
    lost = [sent for sent in (*evidence.sent, *evidence.unsettled) if _is_lost(sent)]
    over = [one for row in rows if (one := entry(row)).finished and not one.failed and one.action in _POWER]
    newest = max(over, key=_rank, default=None)
    newest_start = max((one for one in over if one.action in STARTING_ACTIONS), key=_rank, default=None)
    hides = False
    kept: list[tuple[InstanceAction, tuple[Any, ...]]] = []
    for row in rows:
        one = entry(row)
        known = one.request_id in evidence.known
        starts, ends = one.action in STARTING_ACTIONS, one.action in ENDING_ACTIONS
        person = starts and not known and one.user_id is not None and one.project_id == evidence.project_id
        found = () if known else tuple(entry_of(sent, (one,), known=evidence.known) is not None for sent in lost)
        number = own.get(one.request_id, -1)
        if number == 0 and one.finished and not one.failed:
            number = -1  # a last request that worked is as one without an entry
        top = (one is newest and (starts or hides)) or (one is newest_start and person)
        if not one.finished or any(found) or number >= 0 or top:
            age = (
                -1
                if one.finished or not (starts or ends)
                else _age(one.started_at, place.now, evidence.bounds.shelve_s)
            )
            kept.append((one, (starts, ends, person, one.failed, one.finished, age, number, found)))
            hides = hides or (not one.finished and (starts or ends))
    ranks = sorted({_rank(one) for one, _ in kept})
    for one, facts in kept:
        yield ranks.index(_rank(one)), *facts


_POWER = STARTING_ACTIONS | ENDING_ACTIONS


def _rank(one: InstanceAction) -> tuple[datetime, bool]:
    """The order in which ``requests.newest`` sees entries: of two in the same second, a start is the newer one."""
    return one.started_at, one.action in STARTING_ACTIONS
