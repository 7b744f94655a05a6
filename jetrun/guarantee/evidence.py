"""What a shutdown rests on: its requests, the reads, the log, and how each new answer changes them. Pure.

``ladder.py`` decides on these values; nothing else reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.power import (
    ABSENT,
    STARTING_ACTIONS,
    Action,
    Disposition,
    InstanceAction,
    Observation,
    RequestId,
    is_down,
)
from jetrun.guarantee.requests import ENDING_ACTIONS, Outcome, Sent, entry_of, newest

MAYBE = frozenset({Outcome.ACCEPTED, Outcome.AMBIGUOUS})
"""Outcomes of requests that may have taken effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the decision rests on.

    Attributes:
        disposition: what must be reached to say verified. may_delete: launched by this run, outputs known collected.
        launched: by this run. disposable: launched by this run and nothing ever ran on it, so that deleting it loses nothing.
        project_id: the instance's project. known: request ids that this run recorded (see ``somebody_elses_start``).
        starts: this run's own accepted starts, which a trustworthy log must show.
        unsettled: spending requests whose effect is not known yet.
        began_at: when the shutdown began. sent: this shutdown's requests, oldest first.
        latest, log: the newest read, and the log read with it (None when it was not).
        proof: consecutive reads that are down.
        busy_since, busy_last: first and latest read of the task now, or last, in progress.
        blind_since: reads fail since. blind_unauthorized: with 401.
        shelved_since, absent_since: since when that has been seen without a break. fallback: stop instead of shelve.
        looks: reads since the last request, for the pace.
    """

    disposition: Disposition
    bounds: Bounds
    began_at: datetime
    project_id: str
    may_delete: bool = False
    launched: bool = False
    disposable: bool = False
    shelved_is_down: bool = False
    known: frozenset[RequestId] = frozenset()
    starts: frozenset[RequestId] = frozenset()
    unsettled: tuple[Sent, ...] = ()
    sent: tuple[Sent, ...] = ()
    latest: Observation | None = None
    log: tuple[InstanceAction, ...] | None = None
    proof: tuple[Observation, ...] = ()
    busy_since: datetime | None = None
    busy_last: datetime | None = None
    blind_since: datetime | None = None
    blind_unauthorized: bool = False
    shelved_since: datetime | None = None
    absent_since: datetime | None = None
    fallback: bool = False
    looks: int = 0


def saw(evidence: Evidence, read: Observation, log: tuple[InstanceAction, ...] | None) -> Evidence:
    """*evidence* after a successful read (and of the log, where it was asked for)."""
    busy = read.task_state is not None
    adopted = frozenset(
        entry.request_id
        for sent in (*evidence.unsettled, *evidence.sent)
        if sent.outcome is Outcome.AMBIGUOUS and log is not None
        for entry in [entry_of(sent, log, known=evidence.known)]
        if entry is not None
    )
    return replace(
        evidence,
        latest=read,
        log=log,
        proof=_proof(evidence, read),
        busy_since=(evidence.busy_since if _was_busy(evidence) else read.at) if busy else evidence.busy_since,
        busy_last=read.at if busy else evidence.busy_last,
        blind_since=None,
        blind_unauthorized=False,
        shelved_since=(evidence.shelved_since or read.at) if read.status == "SHELVED" and not busy else None,
        absent_since=(evidence.absent_since or read.at) if read.status == ABSENT else None,
        unsettled=_identified(evidence.unsettled, log, evidence.known),
        sent=_identified(evidence.sent, log, evidence.known),
        known=evidence.known | adopted,
        looks=evidence.looks + 1,
    )


def _proof(evidence: Evidence, read: Observation) -> tuple[Observation, ...]:
    """The proof with *read*: nothing, a first read, or the first and this one."""
    if not counts(evidence, read):
        return ()
    if not evidence.proof:
        return (read,)
    first = evidence.proof[0]
    # Older than any look, it is of before a sleep of this machine; gone and down are two proofs, not two halves of one.
    fresh = 0 <= since(first.at, read.at) <= evidence.bounds.stale_s
    alike = (first.status == ABSENT) == (read.status == ABSENT)
    return (first, read) if fresh and alike else (read,)


def unread(evidence: Evidence, now_at: datetime, *, unauthorized: bool = False) -> Evidence:
    """*evidence* after a read that failed: what was known is not evidence any more."""
    return replace(
        evidence,
        blind_since=evidence.blind_since or now_at,
        blind_unauthorized=unauthorized,
        proof=(),
        absent_since=None,
        looks=evidence.looks + 1,
    )


def replied(evidence: Evidence, sent: Sent) -> Evidence:
    """*evidence* after the outcome of a request: every read before it has lost its worth."""
    return replace(
        evidence,
        sent=(*evidence.sent, sent),
        known=evidence.known | ({sent.request_id} if sent.request_id else frozenset()),
        fallback=evidence.fallback or (sent.action is Action.SHELVE and sent.outcome is Outcome.FORBIDDEN),
        latest=None,
        log=None,
        proof=(),
        busy_since=None,
        busy_last=None,
        shelved_since=None,
        looks=0,
    )


def details_wanted(evidence: Evidence, log: tuple[InstanceAction, ...]) -> tuple[RequestId, ...]:
    """Entries of *log* whose events must be read: those of unsettled requests, and the newest that changed the power."""
    entries = [entry_of(sent, log, known=evidence.known) for sent in evidence.unsettled]
    entries.append(newest(log, STARTING_ACTIONS | ENDING_ACTIONS))
    return tuple({entry.request_id: None for entry in entries if entry is not None})


def counts(evidence: Evidence, read: Observation) -> bool:
    """Whether *read* may be evidence: on the allow-list, or gone by our own delete of what was disposable."""
    if read.status == ABSENT:
        return any(sent.action is Action.DELETE and sent.outcome in MAYBE for sent in evidence.sent)
    return is_down(read, evidence.disposition, shelved_is_down=evidence.shelved_is_down)


def took_effect(sent: Sent) -> bool:
    """Whether the cloud is known to have accepted *sent* (by its answer, or by its entry in the log)."""
    return sent.outcome is Outcome.ACCEPTED or (sent.outcome is Outcome.AMBIGUOUS and sent.request_id is not None)


def _identified(
    requests: tuple[Sent, ...], log: tuple[InstanceAction, ...] | None, known: frozenset[RequestId]
) -> tuple[Sent, ...]:
    """*requests*, those with a lost reply named by their entries in *log* where it has them."""
    if log is None:
        return requests
    found = {id(sent): entry_of(sent, log, known=known) for sent in requests if sent.request_id is None}
    return tuple(
        replace(sent, request_id=entry.request_id)
        if sent.outcome is Outcome.AMBIGUOUS and (entry := found.get(id(sent))) is not None
        else sent
        for sent in requests
    )


def _was_busy(evidence: Evidence) -> bool:
    """Whether the read before this one showed a task in progress."""
    return evidence.latest is not None and evidence.latest.task_state is not None


def since(then: datetime, now_at: datetime) -> float:
    """Seconds from *then* to *now_at*."""
    return (now_at - then).total_seconds()


def pause(evidence: Evidence) -> float:
    """Seconds until the next look: rising by a seventh at each, so that what took t is seen t/7 later at the latest."""
    return min(evidence.bounds.poll_last_s, evidence.bounds.poll_first_s * 1.15 ** min(evidence.looks, 40))
