"""Bringing an existing instance up: from observations to the next step, or up, or why not. Pure.

The mirror of the ladder, on the same evidence: a start is believed when a fresh read says ACTIVE, and a start that came
to nothing is known by the action log, because an unshelve without capacity bounces without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jetrun.guarantee.evidence import Evidence, pause, since, took_effect
from jetrun.guarantee.ladder import Look, Send
from jetrun.guarantee.power import ABSENT, Action, RequestId
from jetrun.guarantee.requests import Outcome, entry_of, somebody_elses_start

WAKING = {
    "SHUTOFF": Action.START,
    "SHELVED": Action.UNSHELVE,
    "SHELVED_OFFLOADED": Action.UNSHELVE,
    "SUSPENDED": Action.RESUME,
    "PAUSED": Action.UNPAUSE,
}
"""How each state is brought up. Source: Nova's allowed-state table (PEERS.md 5.b)."""


class NotUp(StrEnum):
    """Why an instance did not come up. Stable words: they are error codes."""

    IN_USE = "instance-in-use"
    UNREACHABLE = "cloud-unreachable"
    CREDENTIALS = "credentials-refused"
    LOCKED = "locked"
    GONE = "gone"
    STUCK = "stuck"
    NO_CAPACITY = "start-bounced"
    FORBIDDEN = "start-forbidden"
    REFUSED = "start-refused"
    UNUSABLE = "unusable-state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """The instance is ACTIVE with no task, by our own start or (``adopted``) because it already was."""

    adopted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Down:
    """The instance did not come up."""

    reason: NotUp
    request_id: RequestId | None = None


Waking = Look | Send | Up | Down


def decide(evidence: Evidence, now_at: datetime, *, take_over: bool, made: bool = False) -> Waking:
    """The next step towards ACTIVE.

    Args:
        take_over: an instance that somebody already started may be used, as long as this run has sent nothing.
        made: this run has made the instance, so that it comes up without a start.
    """
    bounds = evidence.bounds
    if evidence.blind_since is not None and since(evidence.blind_since, now_at) >= bounds.unshelve_s:
        return Down(reason=NotUp.CREDENTIALS if evidence.blind_unauthorized else NotUp.UNREACHABLE)
    read = evidence.latest
    if read is None or evidence.blind_since is not None or evidence.log is None:
        return Look(after_s=0.0 if evidence.looks == 0 else pause(evidence))
    ours = any(took_effect(sent) for sent in evidence.sent)
    if read.status == ABSENT:
        return Down(reason=NotUp.GONE) if evidence.looks > 1 else Look(after_s=pause(evidence))
    foreign = somebody_elses_start(evidence.log, known=evidence.known, project_id=evidence.project_id, launched=made)
    if foreign is not None and (not take_over or evidence.sent):
        return Down(reason=NotUp.IN_USE, request_id=foreign.request_id)
    if read.task_state is not None:
        first_at = evidence.sent[-1].replied_at if ours else evidence.busy_since or now_at
        bound_s = bounds.unshelve_s if ours else bounds.foreign_task_s
        late = since(first_at, now_at) >= bound_s
        return Down(reason=NotUp.STUCK, request_id=_blamed(evidence)) if late else Look(after_s=pause(evidence))
    if read.status == "ACTIVE":
        if ours or take_over or made:
            return Up(adopted=not ours)
        # An ambiguous start of ours may have done it: the log will show its entry, which makes it ours.
        unsure = any(sent.outcome is Outcome.AMBIGUOUS for sent in evidence.sent)
        if unsure and since(evidence.sent[-1].replied_at, now_at) < bounds.settle_s:
            return Look(after_s=pause(evidence))
        return Down(reason=NotUp.IN_USE)
    if read.locked:
        return Down(reason=NotUp.LOCKED)
    return _decide_low(evidence, read.status, now_at)


def _decide_low(evidence: Evidence, status: str, now_at: datetime) -> Waking:
    """Not up and no task: send the start for this state, or judge the one that was sent."""
    bounds = evidence.bounds
    action = WAKING.get(status)
    if action is None:
        passing = status in {"BUILD", "REBOOT", "HARD_REBOOT", "UNKNOWN"}
        early = since(evidence.began_at, now_at) < bounds.build_s
        return Look(after_s=pause(evidence)) if passing and early else Down(reason=NotUp.UNUSABLE)
    if not evidence.sent:
        return Send(action=action)
    last = evidence.sent[-1]
    entry = entry_of(last, evidence.log or (), known=evidence.known)
    quiet_s = since(max(last.replied_at, evidence.busy_last or last.replied_at), now_at)
    if took_effect(last):
        bounced = (entry is not None and entry.failed) or quiet_s >= bounds.task_seen_s
        if not bounced:
            return Look(after_s=pause(evidence))
        return Down(reason=NotUp.NO_CAPACITY, request_id=last.request_id)
    if last.outcome is Outcome.FORBIDDEN:
        return Down(reason=NotUp.FORBIDDEN, request_id=last.request_id)
    wait_s = (
        bounds.task_seen_s if last.outcome is Outcome.AMBIGUOUS else min(bounds.poll_last_s, bounds.poll_first_s * 4)
    )
    if quiet_s < wait_s:
        return Look(after_s=pause(evidence))
    if since(max(evidence.sent[0].replied_at, evidence.began_at), now_at) >= bounds.unshelve_s:
        unauthorized = last.outcome is Outcome.UNAUTHORIZED
        return Down(reason=NotUp.CREDENTIALS if unauthorized else NotUp.REFUSED, request_id=last.request_id)
    return Send(action=action)


def _blamed(evidence: Evidence) -> RequestId | None:
    """The request id of our last request that had one."""
    return next((sent.request_id for sent in reversed(evidence.sent) if sent.request_id is not None), None)
