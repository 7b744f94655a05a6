"""Requests that a run sends about its instance, what came of each, and whose a start in the action log is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from jetrun.guarantee.lease import short
from jetrun.guarantee.power import STARTING_ACTIONS, Action, InstanceAction, RequestId

ENDING_ACTIONS = frozenset(
    {"stop", "shelve", "shelveOffload", "shelve_offload", "delete", "force_delete", "soft_delete"}
)
"""Actions in the log that bring an instance down. Source: Nova's instance_actions names."""

CALL_S = 120.0
"""How long one call lasts at most, connecting included, while this machine is awake."""
ARRIVES_S = 180.0
"""How long after we gave up on its answer a request may still begin: as ``settle_s``."""
FRESH_S = 60.0
"""How old a lease may be when a start is sent under it; an older one is dated anew first."""
SKEW_S = 60.0
"""How far the clocks of this machine and the cloud may be apart: more refuses a run."""


class Outcome(StrEnum):
    """What came of one request."""

    ACCEPTED = "accepted"
    CONFLICT = "conflict"  # 409: the state is not what we thought; read again
    FORBIDDEN = "forbidden"  # 403 or 400: the cloud will not do it
    UNAUTHORIZED = "unauthorized"  # 401, after one re-authentication
    NOT_FOUND = "not-found"  # 404
    BUSY = "busy"  # 429, or nothing was sent: no effect, the same call may work later
    AMBIGUOUS = "ambiguous"  # 5xx, time-out, lost reply: may have taken effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request that was sent.

    Attributes:
        at: local wall time when the request was sent. replied_at: when its outcome was known.
        request_id: the cloud's; None without an answer.
    """

    action: Action
    at: datetime
    replied_at: datetime
    outcome: Outcome
    request_id: RequestId | None = None


def newest(log: Sequence[InstanceAction], actions: Iterable[str]) -> InstanceAction | None:
    """The newest entry of *log* (any order) whose action is one of *actions* and that did not fail, or None."""
    wanted = frozenset(actions)
    entries = [entry for entry in log if entry.action in wanted and not entry.failed]
    return max(entries, key=lambda entry: (entry.started_at, entry.action in STARTING_ACTIONS), default=None)


def somebody_elses_start(
    log: Sequence[InstanceAction], *, known: frozenset[RequestId], project_id: str, launched: bool = False
) -> InstanceAction | None:
    """The newest start of the instance, if a person made it outside this run; None otherwise.

    Args:
        known: request ids that this run recorded: its own, and those that stood in the log when it took the lease.
        project_id: the instance's. A start by no user, or from another project (an administrator's), is not a person.
        launched: the run made the instance: its making is the run's own, whether or not the answer came.
    """
    start = newest(log, STARTING_ACTIONS)
    if start is None or start.request_id in known or start.user_id is None:
        return None
    if launched and start.action == "create":
        return None
    return start if start.project_id in (None, project_id) else None


def known_without_journal(
    log: Sequence[InstanceAction], *, granted_at: datetime, launched: bool, start: str = ""
) -> frozenset[RequestId]:
    """Request ids that a run must have known, judged by its lease alone, for one without the run's journal.

    All starts before the lease, and the run's own: the one that the lease names, or, where it names none yet, the first one
    within the minutes in which the run would have asked for it.

    Args:
        log: newest first, as Nova gives it. Its times have whole seconds, so that order within one is the list's.
        granted_at: when the lease was granted, cloud time, in whole seconds.
        launched: the run made the instance. If it did not, the making is before the lease whatever the second says.
        start: as in the lease.
    """
    starts = sorted((one for one in reversed(log) if one.action in STARTING_ACTIONS), key=lambda one: one.started_at)
    earliest = granted_at - timedelta(seconds=1)
    before = [one for one in starts if one.started_at < earliest or (one.action == "create" and not launched)]
    after = [one for one in starts if one not in before]
    if start:
        own = [one for one in after if short(one.request_id) == start]
    else:
        latest = granted_at + timedelta(seconds=FRESH_S + ARRIVES_S + SKEW_S)
        own = [one for one in after[:1] if one.started_at <= latest]
    return frozenset(one.request_id for one in (*before, *own))


def entry_of(sent: Sent, log: Sequence[InstanceAction], *, known: frozenset[RequestId]) -> InstanceAction | None:
    """The entry of *log* that *sent* made: by its request id, else the newest unknown entry of the same action.

    A request whose reply was lost has no id on our side; its entry is one that was not there before, and began while the
    request was on its way: a day later it is a person's. Within those minutes the two cannot be told apart.
    """
    if sent.request_id is not None:
        return next((entry for entry in log if entry.request_id == sent.request_id), None)
    # A machine that slept meanwhile knows of its outcome hours later: that makes no hour of them the request's.
    gave_up_at = min(sent.replied_at, sent.at + timedelta(seconds=CALL_S))
    earliest, latest = sent.at - timedelta(seconds=SKEW_S), gave_up_at + timedelta(seconds=ARRIVES_S + SKEW_S)
    unknown = [
        entry
        for entry in log
        if entry.action == sent.action.value
        and entry.request_id not in known
        and earliest <= entry.started_at <= latest
    ]
    return max(unknown, key=lambda entry: entry.started_at, default=None)


def is_settled(
    sent: Sent, log: Sequence[InstanceAction], *, known: frozenset[RequestId], now_at: datetime, settle_s: float
) -> bool:
    """Whether an ambiguous request can no longer take effect behind our back.

    Returns:
        True when its entry has finished or failed, or when ``settle_s`` passed: without an entry it never arrived,
        with an entry whose events are not shown the task would be seen by now.
    """
    entry = entry_of(sent, log, known=known)
    waited_s = (now_at - sent.replied_at).total_seconds()
    if entry is None or entry.finished is None:
        return (entry is not None and entry.failed) or waited_s >= settle_s
    return entry.failed or entry.finished
