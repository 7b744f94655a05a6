"""Requests and reads with their outcomes: journal first, then the cloud, then the journal again."""

from __future__ import annotations

from jetrun.engine.context import RunContext
from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, CloudTransient
from jetrun.guarantee.evidence import Evidence, details_wanted, replied, saw, unread
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import ABSENT, Action, InstanceAction
from jetrun.guarantee.requests import Outcome, Sent


def send(context: RunContext, action: Action) -> Sent:
    """Send one request about the instance and say what came of it. Intent is in the journal before (invariant 1)."""
    at = context.clock.now()
    context.record(Kind.REQUEST_INTENDED, action=action.value, at=at.isoformat())
    request_id = None
    try:
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
    """One fresh read of the instance with its action log, added to the evidence; a failed read is evidence of nothing."""
    cloud, instance = context.cloud, context.instance
    try:
        read = cloud.observe(instance)
        log: tuple[InstanceAction, ...]
        try:
            log = tuple(cloud.actions(instance))
            wanted = frozenset(details_wanted(evidence, log))
            log = tuple(
                cloud.action(instance, entry.request_id) if entry.request_id in wanted else entry for entry in log
            )
        except CloudPermanent as error:
            # Some clouds hide the log of an instance that is gone.
            if error.status != 404 or read.status != ABSENT:
                raise
            log = ()
    except CloudError as error:
        context.screen.event("instance.not_observed", what=error.what, status=error.status)
        return unread(evidence, context.clock.now(), unauthorized=error.status == 401)
    if (context.clock.now() - read.at).total_seconds() > 2 * context.bounds.api_timeout_s:
        # The machine slept while the answer was on its way: it tells of a time long past.
        return unread(evidence, context.clock.now())
    context.last_seen = read
    context.screen.event(
        "instance.observed",
        status=read.status,
        vm_state=read.vm_state,
        task_state=read.task_state,
        power_state=read.power_state,
    )
    return saw(evidence, read, log)


def sent(context: RunContext, evidence: Evidence, action: Action) -> Evidence:
    """Send *action* and add its outcome to the evidence."""
    return replied(evidence, send(context, action))
