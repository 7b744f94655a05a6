"""Requests and reads with their outcomes: journal first, then the cloud, then the journal again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from jetrun.cloud.interface import Cloud
from jetrun.engine.clock import Clock
from jetrun.engine.context import RunContext, Screen
from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, CloudTransient
from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.evidence import Evidence, details_wanted, replied, saw, unread
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import ABSENT, Action, InstanceAction, InstanceId, Observation
from jetrun.guarantee.requests import Outcome, Sent

T = TypeVar("T")

READ_TRIES = 3
"""How often a read is made before a run is refused for want of an answer."""


def send(context: RunContext, action: Action, read: Observation | None) -> Sent:
    """Send one request about the instance and say what came of it. Intent is in the journal before (invariant 1).

    Args:
        read: what the decision rests on. Where that has become old meanwhile, nothing is sent: somebody may have the instance now.
    """
    at = context.clock.now()
    context.record(Kind.REQUEST_INTENDED, action=action.value, at=at.isoformat())
    request_id = None
    try:
        refuse_if_stale(context.clock, read, context.bounds)
        request_id = context.cloud.request(context.instance, action)
        outcome = Outcome.ACCEPTED
    except CloudError as error:
        outcome, request_id = outcome_of(error), None
        context.screen.event(
            "instance.request_refused", action=action.value, outcome=outcome.value, what=error.what, status=error.status
        )
    context.record(
        Kind.REQUEST_REPLIED, action=action.value, at=at.isoformat(), outcome=outcome.value, request_id=request_id
    )
    context.screen.event(f"instance.{action.value}_requested", outcome=outcome.value, request_id=request_id)
    return context.state.sent[-1]


def refuse_if_stale(clock: Clock, read: Observation | None, bounds: Bounds) -> None:
    """Nothing is asked for on what was read before a sleep of this machine.

    Raises:
        CloudTransient: it is too old; look again.
    """
    if read is not None and (clock.now() - read.at).total_seconds() > bounds.stale_s:
        raise CloudTransient(
            code="read-too-old",
            what=f"not sent: it was decided on what was read at {read.at:%H:%M:%SZ}, before this machine slept",
            next="nothing: it is read and decided anew",
        )


def patiently(context: RunContext, read: Callable[[], T]) -> T:
    """*read*, which changes nothing, again when the cloud does not answer: one hiccup is no reason not to begin.

    Raises:
        CloudError: three times, or refused for good.
        Interrupted: somebody asked the run to end.
    """
    for _ in range(READ_TRIES - 1):
        try:
            return read()
        except CloudTransient as error:
            context.screen.event("instance.not_observed", what=error.what, status=error.status)
        context.pause(context.bounds.poll_last_s)
    return read()


def outcome_of(error: CloudError) -> Outcome:
    """What a failed write means for the decision, by its class and HTTP status, never by its text."""
    match error:
        case CloudAmbiguous():
            return Outcome.AMBIGUOUS
        case CloudTransient():
            return Outcome.CONFLICT if error.status == 409 else Outcome.BUSY
        case CloudPermanent():
            by_status = {401: Outcome.UNAUTHORIZED, 404: Outcome.NOT_FOUND}
            return by_status.get(error.status or 0, Outcome.FORBIDDEN)
        case _:
            return Outcome.AMBIGUOUS


def look(context: RunContext, evidence: Evidence) -> Evidence:
    """One fresh read of the run's instance with its action log; a failed read is evidence of nothing."""
    evidence, read = observed(context.cloud, context.clock, context.screen, context.instance, evidence)
    if read is not None:
        context.last_seen = read
    return evidence


def observed(
    cloud: Cloud, clock: Clock, screen: Screen, instance: InstanceId, evidence: Evidence
) -> tuple[Evidence, Observation | None]:
    """One fresh read of *instance*, by its id, with its action log, added to the evidence; and the read itself."""
    try:
        read = cloud.observe(instance)
        log: tuple[InstanceAction, ...]
        try:
            log = tuple(cloud.actions(instance))
            wanted = frozenset(details_wanted(evidence, log))
            log = tuple(cloud.action(instance, one.request_id) if one.request_id in wanted else one for one in log)
        except CloudPermanent as error:
            # Some clouds hide the log of an instance that is gone.
            if error.status != 404 or read.status != ABSENT:
                raise
            log = ()
    except CloudError as error:
        screen.event("instance.not_observed", what=error.what, status=error.status)
        return unread(evidence, clock.now(), unauthorized=error.status == 401), None
    if (clock.now() - read.at).total_seconds() > evidence.bounds.stale_s:
        # The machine slept while the answer was on its way: it tells of a time long past.
        return unread(evidence, clock.now()), None
    screen.event(
        "instance.observed",
        status=read.status,
        vm_state=read.vm_state,
        task_state=read.task_state,
        power_state=read.power_state,
    )
    return saw(evidence, read, log), read


def sent(context: RunContext, evidence: Evidence, action: Action) -> Evidence:
    """Send *action* and add its outcome to the evidence."""
    return replied(evidence, send(context, action, evidence.latest))
