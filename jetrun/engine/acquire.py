"""Phase ``acquire``: the lease first, then the instance up, by the decisions of guarantee/wake.py."""

from __future__ import annotations

from jetrun.cloud.interface import command
from jetrun.engine import claims, launch, lease_changes
from jetrun.engine.context import RunContext
from jetrun.engine.requests import look, patiently, sent
from jetrun.errors import CloudError, InstanceInUse, InstanceNotStarted, JetrunError
from jetrun.guarantee import wake
from jetrun.guarantee.evidence import Evidence, took_effect
from jetrun.guarantee.ladder import Look, Send
from jetrun.guarantee.lease import mirrored
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import STARTING_ACTIONS, RequestId
from jetrun.guarantee.requests import newest
from jetrun.job import Launch


def acquire(context: RunContext) -> None:
    """Take the lease and bring the instance up.

    Raises:
        InstanceInUse: it is somebody else's.
        InstanceNotStarted: it did not come up.
        Interrupted: somebody asked the run to end.
    """
    if isinstance(context.job.instance, Launch):
        made_before = context.state.port is not None
        launch.create(context)
        if made_before:
            claims.grant(context)
    else:
        _baseline(context)
        context.check()
        claims.grant(context)
    adopted, starts = _bring_up(context)
    context.ours_at = context.last_seen.at if context.last_seen is not None else None
    context.record(Kind.UP, adopted=adopted, request_ids=list(starts))
    context.screen.event("instance.up", adopted=adopted, instance_id=context.instance)
    _mirror(context)
    if isinstance(context.job.instance, Launch):
        launch.attach_address(context)


def _baseline(context: RunContext) -> None:
    """Note every request id that stands in the log now: what comes later is ours, or somebody's.

    Raises:
        InstanceInUse: it is already up, and was not offered.
        InstanceNotStarted: the log cannot be read.
    """
    if context.state.lease_granted or context.state.sent or context.state.intended:
        return
    try:
        read = patiently(context, lambda: context.cloud.observe(context.instance))
        log = patiently(context, lambda: context.cloud.actions(context.instance))
    except CloudError as error:
        raise InstanceNotStarted(code=error.code, what=error.what, next=error.next) from error
    context.last_seen = read
    if read.status == "ACTIVE" and context.job.take_over == "no":
        claims.refuse_if_held(context)
        raise _in_use(context, "it is already running, and jetrun did not start it")
    context.record(Kind.BASELINE, request_ids=[entry.request_id for entry in log], status=read.status)


def _bring_up(context: RunContext) -> tuple[bool, tuple[RequestId, ...]]:
    """Until ACTIVE: (whether it was taken over running, request ids of starts that are accepted as ours)."""
    state = context.state
    evidence = Evidence(
        disposition=context.job.disposition,
        bounds=context.bounds,
        began_at=context.clock.now(),
        project_id=state.project_id,
        known=state.known,
        sent=(*state.sent, *state.intended),
    )
    confirmed = False
    while True:
        context.check()
        step = wake.decide(evidence, context.clock.now(), take_over=context.job.take_over != "no", made=state.launched)
        if not confirmed and (isinstance(step, Send) or (isinstance(step, wake.Up) and context.has_written_lease)):
            claims.confirm(context)
            confirmed = True
        for one in evidence.sent:
            if took_effect(one) and one.request_id is not None:
                lease_changes.note_start(context, one.request_id)
        match step:
            case Look(after_s=after_s):
                context.pause(after_s)
                evidence = look(context, evidence)
            case Send(action=action):
                claims.refuse_if_past(context)
                evidence = sent(context, evidence, action)
            case wake.Up(adopted=adopted):
                start = newest(evidence.log or (), STARTING_ACTIONS)
                ours = [one.request_id for one in evidence.sent if one.request_id is not None]
                if adopted and start is not None:
                    ours.append(start.request_id)
                return adopted and not state.launched, tuple(ours)
            case wake.Down(reason=reason, request_id=request_id):
                raise _not_up(context, reason, request_id)


def _in_use(context: RunContext, why: str) -> InstanceInUse:
    """The refusal to touch an instance that may be somebody's."""
    return InstanceInUse(
        code="already-running",
        what=f"instance {context.state.instance_name} ({context.instance}): {why}",
        state=context.describe_state(),
        next="add --take-over to use it and bring it down afterwards, or bring it down first: "
        f"{command(context.cloud_name)} server shelve {context.instance}",
    )


_WHY = {
    wake.NotUp.UNREACHABLE: "the cloud's API did not answer",
    wake.NotUp.CREDENTIALS: "the cloud refuses the credential",
    wake.NotUp.LOCKED: "it is locked, so that every action is refused",
    wake.NotUp.GONE: "the cloud shows no such instance any more",
    wake.NotUp.STUCK: "a task on it does not end",
    wake.NotUp.NO_CAPACITY: "the cloud accepted the start and took it back, most often for want of capacity",
    wake.NotUp.FORBIDDEN: "the cloud forbids the start, most often because a quota is used up",
    wake.NotUp.REFUSED: "the cloud refused the start again and again",
    wake.NotUp.UNUSABLE: "its state cannot be left by a start",
}


def _not_up(context: RunContext, reason: wake.NotUp, request_id: RequestId | None) -> JetrunError:
    """The error for an instance that did not come up."""
    if reason is wake.NotUp.IN_USE:
        return _in_use(context, "somebody else started it meanwhile")
    cloud = context.cloud_name
    nexts = {
        wake.NotUp.LOCKED: f"{command(cloud)} server unlock {context.instance}",
        wake.NotUp.FORBIDDEN: f"{command(cloud)} quota show --usage",
        wake.NotUp.CREDENTIALS: "jetrun doctor",
        wake.NotUp.UNREACHABLE: "jetrun doctor",
        wake.NotUp.NO_CAPACITY: f"run the same command later; the cloud's record: "
        f"{command(cloud)} server event list {context.instance}",
    }
    blamed = f"; request {request_id}" if request_id else ""
    fault = _fault(context)
    return InstanceNotStarted(
        code=reason.value,
        what=f"instance {context.state.instance_name} ({context.instance}): {_WHY[reason]}{fault}{blamed}",
        state=context.describe_state(),
        next=nexts.get(reason, f"{command(cloud)} server show {context.instance}"),
    )


def _fault(context: RunContext) -> str:
    """What the cloud says went wrong, where it says so."""
    try:
        fault = context.cloud.read(context.instance).fault
    except CloudError:
        return ""
    return f" (fault: {fault})" if fault else ""


def _mirror(context: RunContext) -> None:
    """Copy the lease to the instance's metadata, for people who look. Never raises: the port is what counts."""
    lease = claims.own_lease(context)
    if lease is None:
        return
    asked = [one.request_id for one in context.state.sent if one.request_id is not None]
    try:
        context.cloud.write_metadata(context.instance, mirrored(lease, asked))
    except CloudError as error:
        context.screen.event("lease.not_mirrored", what=error.what)
