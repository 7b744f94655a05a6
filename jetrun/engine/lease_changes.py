"""Changing a lease that stands in the cloud: extended, marked as ending or reaping, given back. Conditional writes all.

A run that takes a lease: claims.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from jetrun.cloud.interface import Cloud, LeasePort
from jetrun.engine.clock import Clock
from jetrun.engine.context import RunContext, lease_dict
from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent
from jetrun.guarantee.lease import Lease, LeaseState, from_text, is_expired, short, to_text
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import Disposition, RequestId

TRIES = 3
"""How often a conditional write is tried when its reply was lost: each try after reading what stands there."""


def change(cloud: Cloud, port_id: str, run: str, to: Callable[[Lease], str], *, tries: int = TRIES) -> Lease | None:
    """Rewrite the lease of *run* on its port, by conditional writes.

    Args:
        to: gives the new text from the lease that stands there.

    Returns:
        The lease that stood there; None where the port is gone or holds no lease of this run (nothing is written then).

    Raises:
        CloudError: it could not be written in so many tries.
    """
    last: CloudError = CloudAmbiguous(what=f"the lease on port {port_id} was not written")
    for _ in range(tries):
        port = cloud.read_port(port_id)
        lease = _lease_of(port, run)
        if port is None or lease is None or to(lease) == port.description:
            return lease
        try:
            cloud.write_port(port, to(lease))
        except CloudAmbiguous as error:
            last = error
        except CloudPermanent as error:
            if error.status != 412:
                raise
            last = error
        else:
            return lease
    raise last


def change_for_good(
    cloud: Cloud, clock: Clock, port_id: str, run: str, to: Callable[[Lease], str], *, settle_s: float
) -> Lease | None:
    """As ``change``, and looks *settle_s* later whether it still stands; what was written over is written again.

    Args:
        to: as for ``change``; given what it wrote itself, it gives the same text.

    Returns:
        The lease that stands there then; None where the port is gone or holds no lease of this run.

    Raises:
        CloudError: it could not be written, or was written over three times.
    """
    for _ in range(TRIES):
        if change(cloud, port_id, run, to) is None:
            return None
        clock.sleep(settle_s)
        lease = _lease_of(port := cloud.read_port(port_id), run)
        if port is None or lease is None or to(lease) == port.description:
            return lease
    raise CloudAmbiguous(what=f"the lease on port {port_id} was written over {TRIES} times by somebody else")


def _lease_of(port: LeasePort | None, run: str) -> Lease | None:
    """The lease of *run* on *port*; None for no port, no lease, another's, or one that cannot be read."""
    try:
        lease = from_text(port.description) if port is not None else None
    except ValueError:
        return None
    return lease if lease is not None and lease.run == run else None


def mark_ending(context: RunContext, disposition: Disposition) -> bool:
    """Mark the lease as ending, before the shutdown request. Never raises, never retried for long: the shutdown goes on.

    Returns:
        False where the port was read, and another living lease stands there: the instance is another run's now.
    """
    if not context.state.lease_granted or context.state.lease is None:
        return True
    port_id = context.state.lease["port_id"]

    def ending(lease: Lease) -> str:
        return to_text(
            replace(
                lease,
                state=LeaseState.ENDING,
                disposition=disposition,
                outputs_collected=context.state.outputs_collected,
            )
        )

    try:
        if change(context.cloud, port_id, context.run, ending, tries=1) is not None:
            return True
        port = context.cloud.read_port(port_id)
        other = from_text(port.description) if port is not None else None
    except CloudError as error:
        context.screen.event("lease.not_marked", what=error.what)
        return True
    except ValueError:
        return False
    return other is None or is_expired(other, context.cloud_now(), margin_s=context.bounds.lease_margin_s)


def note_start(context: RunContext, request: RequestId) -> None:
    """Write into the lease which start is the run's own, while the instance comes up. Never raises: a reaper can go by time, too."""
    lease = context.state.lease
    if lease is None or not context.state.lease_granted or lease.get("start") == short(request):
        return
    try:
        stood = change(
            context.cloud, lease["port_id"], context.run, lambda one: to_text(replace(one, start=short(request)))
        )
    except CloudError as error:
        context.screen.event("lease.not_marked", what=error.what)
        return
    if stood is not None:
        context.record(Kind.LEASE_GRANTED, port_id=lease["port_id"], **lease_dict(replace(stood, start=short(request))))


def end(context: RunContext) -> None:
    """Give the lease back: the port's description is what it was before. Only after the receipt. Never raises."""
    state = context.state
    # Intended is enough: a lease whose writing had no answer may stand there. Another run's is left as it is.
    if state.lease is None or state.lease_ended:
        return
    for left in reversed(range(TRIES)):
        try:
            change(context.cloud, state.lease["port_id"], context.run, lambda lease: lease.previous)
        except CloudError as error:
            if not left or isinstance(error, CloudPermanent):
                context.screen.event("lease.not_ended", what=error.what)
                return
            # One hiccup must not leave the instance taken until the lease's deadline.
            context.clock.sleep(context.bounds.poll_last_s)
        else:
            context.record(Kind.LEASE_ENDED)
            return
