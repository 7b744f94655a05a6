"""The shutdown ladder: from observations to the next step or the verdict. Pure.

The only module that may say *verified*.

The problem: a cloud answers 202 and may do nothing, do it later, do it and take it back, or do it without an answer.
What does not work: trusting a reply, waiting for "no task", reading ``power_state``, repeating a request blindly.
The way taken: a rung is left only on a fresh observation, read together with the cloud's own action log.

    read -> wait out a task -> down? read twice -> act by state -> failed? once more -> stop instead -> tell a person

``decide`` maps a :class:`~jetrun.guarantee.evidence.Evidence` and the time to one step; ``evidence.saw``, ``replied`` and
``unread`` map what came back to the next Evidence. Who drives it: ``engine/shutdown.py`` alone.

Over 300 lines because the ladder is read as a whole.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.evidence import MAYBE, Evidence, counts, pause, since, took_effect
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
from jetrun.guarantee.requests import (
    ENDING_ACTIONS,
    Outcome,
    Sent,
    entry_of,
    is_settled,
    newest,
    somebody_elses_start,
)

ATTEMPTS = 2
"""How often an action that failed after being accepted is sent: once, and "once more" (DESIGN.md, the ladder)."""


class Reason(StrEnum):
    """Why an instance is not proven down. Stable words: they are error codes, and docs/failure-model.md indexes them."""

    UNREACHABLE = "cloud-unreachable"
    CREDENTIALS = "credentials-refused"
    LOCKED = "locked"
    STUCK = "stuck"
    REFUSED = "refused"
    STOPPED_ONLY = "stopped-only"
    NOT_OFFLOADED = "not-offloaded"
    CORRUPT_SHELVE = "corrupt-shelve"
    ACTION_FAILED = "action-failed"
    NEEDS_PERSON = "needs-person"
    GONE = "gone"
    SOMEBODY_ELSES = "somebody-elses"
    INTERNAL = (
        "internal-error"  # jetrun itself failed during the shutdown; said by engine/runner.py, never by ``decide``
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Wait *after_s*, then observe afresh, with the action log where *with_log*."""

    after_s: float
    with_log: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send *action* once, and say what came of it."""

    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The instance is down: two fresh reads prove it."""

    observations: tuple[Observation, Observation]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotVerified:
    """The instance is not proven down; a person must be told.

    Attributes:
        request_id: what to name to the cloud's staff, where there is one.
    """

    reason: Reason
    request_id: RequestId | None = None


Step = Look | Send | Verified | NotVerified


# --- the decision ------------------------------------------------------------------------------------------------


def decide(evidence: Evidence, now_at: datetime) -> Step:
    """The next step of the shutdown."""
    bounds = evidence.bounds
    if evidence.blind_since is not None and since(evidence.blind_since, now_at) >= bounds.unreachable_s:
        return NotVerified(reason=Reason.CREDENTIALS if evidence.blind_unauthorized else Reason.UNREACHABLE)
    read = evidence.latest
    if read is None or evidence.blind_since is not None:
        return Look(after_s=0.0 if evidence.looks == 0 else pause(evidence))
    if evidence.log is None:
        return Look(after_s=0.0)
    if read.status == ABSENT:
        return _decide_absent(evidence, now_at)
    foreign = somebody_elses_start(
        evidence.log, known=evidence.known, project_id=evidence.project_id, launched=evidence.launched
    )
    if foreign is not None:
        return NotVerified(reason=Reason.SOMEBODY_ELSES)
    if read.task_state is not None:
        return _decide_busy(evidence, read, now_at)
    if counts(evidence, read):
        return _decide_down(evidence, evidence.log, now_at)
    return _decide_up(evidence, read, evidence.log, now_at)


def _decide_absent(evidence: Evidence, now_at: datetime) -> Step:
    """404: proof for a delete that we asked for; an alarm for everything else. Never believed at one look."""
    # A delete without an answer is ours only if the log has it; where the log of what is gone cannot be read, it may be.
    ours = any(
        sent.action is Action.DELETE and (took_effect(sent) or (sent.outcome in MAYBE and not evidence.log))
        for sent in evidence.sent
    )
    if evidence.disposition is Disposition.DELETE or evidence.disposable:
        if ours and _has_two_reads(evidence):
            return Verified(observations=(evidence.proof[0], evidence.proof[-1]))
        if ours:
            return Look(after_s=_gap_left(evidence))
    first_at = evidence.absent_since or now_at
    if since(first_at, now_at) >= evidence.bounds.verify_gap_s and evidence.looks > 1:
        return NotVerified(reason=Reason.GONE)
    return Look(after_s=evidence.bounds.verify_gap_s)


def _decide_busy(evidence: Evidence, read: Observation, now_at: datetime) -> Step:
    """A task is in progress: wait for it, with a bound; only a delete may go over it."""
    deleting = _last(evidence, Action.DELETE)
    if evidence.may_delete and evidence.disposition is Disposition.DELETE and deleting is None:
        return Send(action=Action.DELETE)
    ours = next((sent for sent in reversed(evidence.sent) if sent.outcome in MAYBE), None)
    if ours is not None:
        waited_s, bound_s = since(ours.replied_at, now_at), _budget(evidence.bounds, ours.action)
    else:
        waited_s = since(evidence.busy_since or now_at, now_at)
        bound_s = evidence.bounds.build_s if read.status == "BUILD" else evidence.bounds.foreign_task_s
    if waited_s < bound_s:
        return Look(after_s=pause(evidence))
    if evidence.disposable and deleting is None:
        return Send(action=Action.DELETE)
    return NotVerified(reason=Reason.STUCK, request_id=_blamed(evidence))


def _decide_down(evidence: Evidence, log: tuple[InstanceAction, ...], now_at: datetime) -> Step:
    """The read is on the allow-list: prove it by a second one, when nothing can still be under way.

    A stale read after our own start looks just like proof, so the log must agree: its newest entry that changed the
    power has finished and is not a start. Where it does not agree, the shutdown is asked for all the same: accepted,
    the read was stale; refused (409), the cloud's own state agrees with the read.
    """
    if any(
        not is_settled(sent, log, known=evidence.known, now_at=now_at, settle_s=evidence.bounds.settle_s)
        for sent in evidence.unsettled
    ):
        return Look(after_s=pause(evidence))
    last = newest(log, STARTING_ACTIONS | ENDING_ACTIONS)
    if last is not None and last.finished is False and since(last.started_at, now_at) < evidence.bounds.shelve_s:
        return Look(after_s=pause(evidence))
    if last is not None and last.action in STARTING_ACTIONS:
        action = Action.STOP if evidence.disposition is Disposition.STOP else Action.SHELVE
        if not any(sent.action is action and sent.outcome in _NO_EFFECT for sent in evidence.sent):
            return _send(evidence, action, now_at)
    if _has_two_reads(evidence):
        return Verified(observations=(evidence.proof[0], evidence.proof[-1]))
    return Look(after_s=_gap_left(evidence))


def _decide_up(evidence: Evidence, read: Observation, log: tuple[InstanceAction, ...], now_at: datetime) -> Step:
    """No task and not down: act by state."""
    if read.locked:
        return NotVerified(reason=Reason.LOCKED)
    if read.status == "SHELVED" and evidence.disposition is not Disposition.DELETE:
        return _decide_shelved(evidence, read, now_at)
    pending = _pending(evidence, log, now_at)
    if pending is not None:
        return pending
    failed = Counter(sent.action for sent in evidence.sent if took_effect(sent))
    action = _rung(evidence, read, failed)
    if action is not None:
        return _send(evidence, action, now_at)
    if read.status in _WAITED_FOR:
        if since(evidence.began_at, now_at) < evidence.bounds.build_s:
            return Look(after_s=pause(evidence))
        if evidence.disposable and not failed[Action.DELETE]:
            return _send(evidence, Action.DELETE, now_at)
    return NotVerified(reason=_final_reason(evidence, read, failed), request_id=_blamed(evidence))


def _decide_shelved(evidence: Evidence, read: Observation, now_at: datetime) -> Step:
    """SHELVED without a task: on its way to being offloaded, or it will never be."""
    first_at = evidence.shelved_since or now_at
    if since(first_at, now_at) < evidence.bounds.offload_s:
        return Look(after_s=pause(evidence))
    reason = Reason.CORRUPT_SHELVE if read.has_host is False else Reason.NOT_OFFLOADED
    return NotVerified(reason=reason, request_id=_blamed(evidence))


def _rung(evidence: Evidence, read: Observation, failed: Counter[Action]) -> Action | None:
    """The action for this state on this rung; None where there is none left, or the state allows none."""

    def left(action: Action) -> Action | None:
        forbidden = any(sent.action is action and sent.outcome is Outcome.FORBIDDEN for sent in evidence.sent)
        return None if forbidden or failed[action] >= ATTEMPTS else action

    delete = evidence.disposition is Disposition.DELETE and evidence.may_delete
    if (delete or (evidence.disposable and read.status == "ERROR")) and left(Action.DELETE):
        return Action.DELETE
    stop = left(Action.STOP) if read.status in {"ACTIVE", "ERROR"} else None
    if evidence.disposition is Disposition.STOP:
        # A paused or suspended instance cannot be stopped (409); shelving powers it off without starting it first.
        return stop or (left(Action.SHELVE) if read.status in {"PAUSED", "SUSPENDED"} else None)
    shelve = left(Action.SHELVE) if read.status in _SHELVABLE else None
    return shelve or stop


def _pending(evidence: Evidence, log: tuple[InstanceAction, ...], now_at: datetime) -> Look | None:
    """What to wait for before the last request may be judged or repeated; None when nothing."""
    if not evidence.sent:
        return None
    last, bounds = evidence.sent[-1], evidence.bounds
    entry = entry_of(last, log, known=evidence.known)
    if last.outcome is Outcome.FORBIDDEN or (took_effect(last) and entry is not None and entry.failed):
        return None
    if took_effect(last):
        # Accepted and no task: it failed without a word. Only silence for this long says so; one read may be stale.
        bound_s = bounds.task_seen_s
    elif last.outcome is Outcome.AMBIGUOUS:
        # No entry in the log after this long: it never arrived, and a shutdown may be sent again after reading.
        bound_s = bounds.poll_last_s
    else:
        bound_s = min(bounds.poll_last_s, bounds.poll_first_s * 2 ** min(len(evidence.sent), 8))
    quiet_since = max(last.replied_at, evidence.busy_last or last.replied_at)
    return Look(after_s=pause(evidence)) if since(quiet_since, now_at) < bound_s else None


def _send(evidence: Evidence, action: Action, now_at: datetime) -> Step:
    """Send *action*, unless requests without effect have used up the time that a foreign task has, too."""
    refused_since: datetime | None = None
    for sent in reversed(evidence.sent):
        if took_effect(sent):
            break
        # What an earlier process sent long ago does not use up this one's time.
        refused_since = max(sent.replied_at, evidence.began_at)
    if refused_since is not None and since(refused_since, now_at) >= evidence.bounds.foreign_task_s:
        unauthorized = evidence.sent[-1].outcome is Outcome.UNAUTHORIZED
        return NotVerified(reason=Reason.CREDENTIALS if unauthorized else Reason.REFUSED, request_id=_blamed(evidence))
    return Send(action=action)


def _final_reason(evidence: Evidence, read: Observation, failed: Counter[Action]) -> Reason:
    """Why no rung is left."""
    if is_down(read, Disposition.STOP):
        return Reason.STOPPED_ONLY
    if any(failed.values()):
        return Reason.ACTION_FAILED
    return Reason.REFUSED if evidence.sent else Reason.NEEDS_PERSON


# --- small facts -------------------------------------------------------------------------------------------------

_NO_EFFECT = frozenset({Outcome.CONFLICT, Outcome.FORBIDDEN})
_SHELVABLE = frozenset({"ACTIVE", "SHUTOFF", "PAUSED", "SUSPENDED"})
# Nova moves these on by itself, or an administrator does; each is waited for with a bound.
_WAITED_FOR = frozenset({"BUILD", "UNKNOWN", "REBOOT", "HARD_REBOOT", "DELETED"})


def _has_two_reads(evidence: Evidence) -> bool:
    """Whether the proof is complete: two reads, far enough apart."""
    return (
        len(evidence.proof) > 1 and since(evidence.proof[0].at, evidence.proof[-1].at) >= evidence.bounds.verify_gap_s
    )


def _gap_left(evidence: Evidence) -> float:
    """Seconds until the second read of the proof may be made."""
    return max(0.0, evidence.bounds.verify_gap_s - since(evidence.proof[0].at, evidence.proof[-1].at))


def _budget(bounds: Bounds, action: Action) -> float:
    """Seconds that an accepted *action* may take."""
    return {Action.SHELVE: bounds.shelve_s, Action.DELETE: bounds.delete_s}.get(action, bounds.stop_s)


def _last(evidence: Evidence, action: Action) -> Sent | None:
    """The last request of that action in this shutdown."""
    return next((sent for sent in reversed(evidence.sent) if sent.action is action), None)


def _blamed(evidence: Evidence) -> RequestId | None:
    """The request id to name to the cloud's staff: our last accepted one, else the newest of the log."""
    own = next((sent.request_id for sent in reversed(evidence.sent) if took_effect(sent)), None)
    if own is not None or evidence.log is None:
        return own
    return max(evidence.log, key=lambda entry: entry.started_at).request_id if evidence.log else None
