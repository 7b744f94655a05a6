"""Phase ``shutdown``: drives the ladder to its verdict and writes the receipt. A phase of full rank: nothing shortens it.

It has time of its own, its reads and requests are fresh, and no error in it ends it before the verdict. First the
instance; only then what else this run made (address, port), each by itself; what cannot be removed is named.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from jetrun.engine import connect, launch, lease_changes, self_shelve
from jetrun.engine.context import RunContext
from jetrun.engine.requests import look, sent
from jetrun.errors import CloudError, JetrunError, RemoteError
from jetrun.guarantee import ladder
from jetrun.guarantee.evidence import Evidence
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import ABSENT, Action, Disposition, RequestId
from jetrun.guarantee.receipt import Receipt
from jetrun.guarantee.requests import Outcome

DISARM_S = 10.0
"""For a connection to an instance that a person has started, to take this run's switch from it."""
PIECE_S = 0.5
"""Longest single sleep, so that a second Ctrl-C is answered at once."""


def shut_down(context: RunContext) -> None:
    """Bring the instance down and prove it, or write a receipt that says that it is not proven. Never raises."""
    state = context.state
    if state.shutdown is None:
        wanted = context.wanted_disposition()
        context.record(Kind.SHUTDOWN_BEGAN, disposition=wanted.value, needed=state.spending_possible)
    if not context.state.spending_possible:
        _leave_untouched(context)
        return
    if context.state.instance is None and not _find_lost(context):
        return
    disposition = Disposition((context.state.shutdown or {})["disposition"])
    if not _say_ending(context, disposition):
        context.screen.event("shutdown.unverified", reason=ladder.Reason.SOMEBODY_ELSES.value, request_id=None)
        _write(context, _unproven(context, ladder.Reason.SOMEBODY_ELSES, began_at=context.clock.now()))
        return
    receipt = _proven(context, disposition)
    theirs = receipt.reason == ladder.Reason.SOMEBODY_ELSES
    if receipt.verified or theirs:
        lease_changes.end(context)
        # An instance that is not proven down may still shelve itself; a person's must not.
        self_shelve.end(context)
    if theirs:
        _disarm(context)


def _proven(context: RunContext, disposition: Disposition) -> Receipt:
    """The receipt, written down; climbed for once more where this machine slept between the proof and that."""
    left: tuple[str, ...] | None = None
    while True:
        receipt = _climb(context, disposition)
        if receipt.verified and left is None:
            left = _remove_leftovers(context, gone=receipt.status == ABSENT)
        notes = (*receipt.notes, *_fallback_notes(context, disposition), *(left or ()))
        receipt = replace(receipt, notes=notes)
        if not _is_old(context, receipt):
            _write(context, receipt)
            # Writing is a disk's time, too.
            if not _is_old(context, receipt):
                return receipt
        context.screen.event("receipt.too_old", verified_at=str(receipt.verified_at))


def _is_old(context: RunContext, receipt: Receipt) -> bool:
    """Whether the proof is of another time: a person may have started the instance since."""
    at = receipt.verified_at
    return at is not None and (context.clock.now() - at).total_seconds() > context.bounds.stale_s


def _disarm(context: RunContext) -> None:
    """A person has the instance: this run's switch must not take it from them. Never raises, tried once, ``DISARM_S`` long."""
    if not (context.state.switch or {}).get("armed"):
        return
    try:
        connect.reach(context, within_s=DISARM_S, interruptible=False, theirs=True)
        context.remote.disarm_switch()
        context.remote.close()
    except Exception as error:  # noqa: BLE001 - the receipt stands, and must be reported
        context.screen.event("switch.not_disarmed", what=error.what if isinstance(error, JetrunError) else repr(error))


def give_up(context: RunContext) -> None:
    """The shutdown itself fails again and again: ask the cloud once more, plainly, and say that nothing is proven."""
    if context.state.shutdown is None:
        context.record(Kind.SHUTDOWN_BEGAN, disposition=Disposition.SHELVE.value, needed=True)
    if context.state.instance is not None and context.state.spending_possible:
        with contextlib.suppress(Exception):
            action = Action.STOP if context.job.disposition is Disposition.STOP else Action.SHELVE
            context.cloud.request(context.state.instance, action)
    _write(context, _unproven(context, ladder.Reason.INTERNAL, began_at=context.clock.now()))


def _leave_untouched(context: RunContext) -> None:
    """No request that spends ever left this machine: what this run made is removed, and the instance is as it was."""
    if context.state.port is not None:
        _remove_leftovers(context, gone=True)
    lease_changes.end(context)
    context.record(Kind.UNTOUCHED)
    context.screen.event("instance.untouched", state=context.describe_state())


def _find_lost(context: RunContext) -> bool:
    """Whether a create without an answer made something after all; else a receipt that nothing was made.

    The port is deleted first: a create that is still under way cannot succeed without it.
    """
    found = launch.search(context)
    if found is not None:
        context.record(
            Kind.CREATED,
            id=found.id,
            name=found.name,
            project_id=found.project_id,
            flavor=found.flavor,
            vcpus=found.vcpus,
        )
        return True
    try:
        if context.state.port is not None:
            context.cloud.delete_port(context.state.port["port_id"])
        lost = context.cloud.find_tagged(f"jetrun-run-{context.run}")
    except CloudError as error:
        context.screen.event("instance.not_observed", what=error.what)
        _write(context, _unproven(context, ladder.Reason.UNREACHABLE, began_at=context.clock.now()))
        return False
    if lost:
        context.record(Kind.CREATED, id=lost[0].id, name=lost[0].name, project_id=lost[0].project_id)
        return True
    lease_changes.end(context)
    context.record(Kind.UNTOUCHED)
    context.screen.event("instance.never_made")
    return False


def _say_ending(context: RunContext, disposition: Disposition) -> bool:
    """Mark the switch and the lease as ending, side by side. Neither may delay the shutdown: each is tried once, bounded.

    Returns:
        False where another run has the instance by now, so that nothing may be done to it (invariant 2).
    """
    marked: Callable[[], None] | None = None
    try:
        if context.state.switch is not None and context.state.switch.get("armed"):
            marked = context.remote.mark_ending()
    except RemoteError as error:
        context.screen.event("switch.not_marked", what=error.what)
    ours = lease_changes.mark_ending(context, disposition)
    try:
        if marked is not None:
            marked()
    except RemoteError as error:
        context.screen.event("switch.not_marked", what=error.what)
    context.remote.close()
    return ours


def _climb(context: RunContext, disposition: Disposition) -> Receipt:
    """The ladder, step by step, to its verdict."""
    state = context.state
    starts = {Action.START, Action.UNSHELVE, Action.RESUME, Action.UNPAUSE}
    began_at = context.clock.now()
    own = tuple(one for one in (*state.sent, *state.intended) if one.action in starts)
    evidence = Evidence(
        disposition=disposition,
        bounds=context.bounds,
        began_at=began_at,
        project_id=state.project_id,
        may_delete=state.launched and state.outputs_collected,
        launched=state.launched,
        disposable=state.launched and not state.script_intended,
        shelved_is_down=context.profile.shelved_is_down,
        known=state.known,
        unsettled=tuple(one for one in own if one.outcome is Outcome.AMBIGUOUS),
        # A delete that an earlier process of this run asked for is ours too: its 404 is no alarm.
        sent=tuple(one for one in (*state.sent, *state.intended) if one.action is Action.DELETE),
    )
    while True:
        step = ladder.decide(evidence, context.clock.now())
        match step:
            case ladder.Look(after_s=after_s):
                _sleep(context, after_s)
                evidence = look(context, evidence)
            case ladder.Send(action=action):
                evidence = sent(context, evidence, action)
            case ladder.Verified(observations=observations):
                reached = Disposition.DELETE if observations[-1].status == ABSENT else disposition
                receipt = Receipt(
                    verified=True,
                    disposition=reached,
                    status=observations[-1].status,
                    requested_at=_requested_at(evidence, began_at),
                    verified_at=observations[-1].at,
                    request_ids=_request_ids(context),
                    observations=observations,
                    gap_s=context.bounds.verify_gap_s,
                    shelved_is_down=context.profile.shelved_is_down,
                )
                context.screen.event("instance.down_verified", status=receipt.status)
                return receipt
            case ladder.NotVerified(reason=reason, request_id=request_id):
                context.screen.event("shutdown.unverified", reason=reason.value, request_id=request_id)
                return _unproven(context, reason, began_at=_requested_at(evidence, began_at), blamed=request_id)


def _sleep(context: RunContext, seconds: float) -> None:
    """Wait in pieces; signals are noted and change nothing."""
    left = seconds
    while left > 0:
        piece = min(left, PIECE_S)
        context.clock.sleep(piece)
        context.note_interrupt()
        left -= piece


def _unproven(
    context: RunContext, reason: ladder.Reason, *, began_at: datetime, blamed: RequestId | None = None
) -> Receipt:
    """A receipt that says that the instance is not proven down."""
    seen = context.last_seen
    disposition = Disposition((context.state.shutdown or {})["disposition"])
    return Receipt(
        verified=False,
        disposition=disposition,
        status=seen.status if seen is not None else None,
        requested_at=began_at,
        verified_at=None,
        request_ids=_request_ids(context),
        observations=(seen,) if seen is not None else (),
        reason=reason.value,
        blamed=blamed,
        gap_s=context.bounds.verify_gap_s,
        shelved_is_down=context.profile.shelved_is_down,
        notes=(f"name this request to the cloud's staff: {blamed}",) if blamed else (),
    )


def _requested_at(evidence: Evidence, began_at: datetime) -> datetime:
    """When the shutdown was first asked for."""
    return evidence.sent[0].at if evidence.sent else began_at


def _request_ids(context: RunContext) -> tuple[RequestId, ...]:
    """This run's request ids, oldest first."""
    return tuple(one.request_id for one in context.state.sent if one.request_id is not None)


def _fallback_notes(context: RunContext, disposition: Disposition) -> tuple[str, ...]:
    """Why the disposition is not the one asked for."""
    wanted = context.job.disposition
    if wanted is Disposition.DELETE and disposition is not Disposition.DELETE:
        why = "the outputs are not known to be complete here, and are kept on the instance's disk"
        return (f"shelved, not deleted: {why} (jetrun collect {context.run})",)
    return ()


def _remove_leftovers(context: RunContext, *, gone: bool) -> tuple[str, ...]:
    """Remove the address and the port that this run made, once nothing needs them; what stays is named."""
    if not gone:
        return ()
    notes: list[str] = []

    def remove(what: str, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except CloudError as error:
            notes.append(f"{what} {name} could not be removed ({error.what}); remove it by hand")
            context.screen.event("leftover.kept", what=what, id=name)

    state = context.state
    if state.floating_ip is not None:
        key = state.floating_ip["id"]
        remove("floating IP", state.floating_ip["ip"], lambda: context.cloud.delete_floating_ip(key))
    if state.port is not None:
        port_id = state.port["port_id"]
        remove("port", port_id, lambda: context.cloud.delete_port(port_id))
    return tuple(notes)


def _write(context: RunContext, receipt: Receipt) -> None:
    """Write the receipt down."""
    context.record(Kind.RECEIPT, **receipt.to_dict())
    context.screen.event("receipt.written", verified=receipt.verified, reason=receipt.reason)
