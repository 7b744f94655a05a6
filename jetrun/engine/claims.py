"""Taking the lease in the cloud: a conditional write on the instance's Neutron port, and a second look.

Of two runs, the one whose lease stands a moment later has the instance; the other sends no power action.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from jetrun.cloud.interface import LeasePort, command
from jetrun.engine.context import RunContext, lease_dict
from jetrun.engine.lease_changes import TRIES
from jetrun.engine.requests import patiently
from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, InstanceInUse, InstanceNotStarted
from jetrun.guarantee.lease import NO_START, Lease, LeaseState, from_text, is_expired, to_text
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import Disposition
from jetrun.guarantee.requests import FRESH_S


def new_lease(context: RunContext, *, previous: str) -> Lease:
    """The lease that this run asks for. Its generation is the cloud time of the grant, so a later one is larger."""
    is_up = context.last_seen is not None and context.last_seen.status == "ACTIVE"
    now_at = context.cloud_now().replace(microsecond=0)
    cloud = context.state.cloud or {}
    return Lease(
        run=context.run,
        state=LeaseState.GRANTED,
        generation=int(now_at.timestamp()),
        until_at=now_at + timedelta(seconds=context.job.max_lifetime_s),
        disposition=context.job.disposition,
        owner=context.owner,
        user_id=str(cloud.get("user_id", "")),
        start=NO_START if is_up else "",
        previous=previous,
    )


def own_lease(context: RunContext) -> Lease | None:
    """This run's lease as the journal knows it."""
    data = context.state.lease
    if data is None:
        return None
    return Lease(
        run=context.run,
        state=LeaseState(data["state"]),
        generation=data["generation"],
        until_at=datetime.fromisoformat(data["until_at"]),
        disposition=Disposition(data["disposition"]),
        owner=data["owner"],
        user_id=data["user_id"],
        start=data.get("start", ""),
        outputs_collected=data["outputs_collected"],
        previous=data["previous"],
    )


def refuse_if_held(context: RunContext) -> None:
    """Say who holds the instance, if another run does. Writes nothing.

    Raises:
        InstanceInUse: another run's lease lives.
        InstanceNotStarted: the port cannot be read.
    """
    try:
        port = patiently(context, lambda: context.cloud.lease_port(context.instance))
    except CloudError as error:
        raise InstanceNotStarted(code="lease-not-read", what=error.what, next=error.next) from error
    if port is not None:
        refuse_others(context, port)


def refuse_others(context: RunContext, port: LeasePort) -> None:
    """Say who holds the instance of *port* as it was read, if another run does.

    Raises:
        InstanceInUse: another run's lease lives.
    """
    _held(context, port)


def grant(context: RunContext) -> None:
    """Take the lease on the instance's port, or say who holds it.

    Raises:
        InstanceInUse: another run's lease stands, or somebody else's write came first.
        InstanceNotStarted: the port cannot be read or written.
    """
    try:
        port = patiently(context, lambda: lease_port(context))
    except CloudError as error:
        raise InstanceNotStarted(code="lease-not-read", what=error.what, next=error.next) from error
    if port is None:
        raise InstanceNotStarted(
            code="no-port",
            what=f"instance {context.instance} has no network port, so that it can neither hold a lease nor be reached",
            next=f"{command(context.cloud_name)} port list --server {context.instance}",
        )
    held = _held(context, port)
    mine = own_lease(context)
    refuse_if_past(context, mine)
    # A run that was opened again, to collect, has no lease: what it left on the port is as over as anybody's.
    if mine is not None and held is not None and held.run == context.run and held.state is not LeaseState.REAPING:
        context.record(Kind.LEASE_GRANTED, port_id=port.port_id, **lease_dict(held))
        return
    lease = mine if mine is not None else new_lease(context, previous=held.previous if held else port.description)
    context.record(Kind.LEASE_INTENDED, port_id=port.port_id, **lease_dict(lease))
    _write(context, port, lease)
    context.lease_written_at = context.clock.monotonic()
    context.record(Kind.LEASE_GRANTED, port_id=port.port_id, **lease_dict(lease))
    say_granted(context, port.port_id, lease)


def lease_port(context: RunContext) -> LeasePort | None:
    """The port that holds the instance's lease: the one that this run made, which a new instance is bound to only by its host."""
    made = context.state.port
    return context.cloud.read_port(made["port_id"]) if made is not None else context.cloud.lease_port(context.instance)


def refuse_if_past(context: RunContext, lease: Lease | None = None) -> None:
    """Nothing is started any more under a lease whose time is over, in a run that is continued late, or whose machine slept.

    Args:
        lease: by default the run's own, as this process knows it.

    Raises:
        InstanceNotStarted: it is over.
    """
    lease = lease or own_lease(context)
    if lease is not None and context.cloud_now() >= lease.until_at:
        raise InstanceNotStarted(
            code="lease-expired",
            what=f"the run's lease ended at {lease.until_at:%Y-%m-%d %H:%MZ}, before what it was for was begun",
            next=f"jetrun show {context.run}",
        )


def say_granted(context: RunContext, port_id: str, lease: Lease) -> None:
    """Until when the run has the instance: on the screen and in the log."""
    context.screen.event(
        "lease.granted", port_id=port_id, until_at=lease.until_at.isoformat(), generation=lease.generation
    )


def confirm(context: RunContext) -> None:
    """Look whether the lease still stands, some time after it was written and before anything is asked of the instance.

    A conditional write alone does not say: Neutron accepts two at one moment, and the last one stands (decision 0002).
    The time spent on other reads since the write counts.

    Raises:
        InstanceInUse: another lease stands there, or something else does.
        InstanceNotStarted: the port cannot be read.
        Interrupted: somebody asked the run to end.
    """
    lease = context.state.lease
    if lease is None:
        return
    waited_s = max(0.0, context.clock.monotonic() - context.lease_written_at)
    context.pause(max(0.0, context.bounds.lease_settle_s - waited_s))
    port = _read(context, str(lease["port_id"]))
    held = _held(context, port)
    if held is None or held.run != context.run:
        raise _lost(context)
    now_at = context.cloud_now().replace(microsecond=0)
    if (now_at.timestamp() - held.generation) > FRESH_S and not held.start:
        # A task was waited for, or the run is continued: by the lease's date a reaper knows the start that comes now.
        fresh = replace(held, generation=int(now_at.timestamp()))
        context.record(Kind.LEASE_INTENDED, port_id=port.port_id, **lease_dict(fresh))
        _write(context, port, fresh)
        context.record(Kind.LEASE_GRANTED, port_id=port.port_id, **lease_dict(fresh))


def _held(context: RunContext, port: LeasePort) -> Lease | None:
    """The lease that stands on *port*, if it is this run's or has expired.

    Raises:
        InstanceInUse: somebody else's lease lives.
    """
    try:
        held = from_text(port.description)
    except ValueError as error:
        raise InstanceInUse(
            code="lease-unreadable",
            what=f"the port of instance {context.instance} holds a lease of another version: {port.description!r}",
            state=context.describe_state(),
            next=f"{command(context.cloud_name)} port show {port.port_id}",
        ) from error
    if held is None or held.run == context.run:
        return held
    if not is_expired(held, context.cloud_now(), margin_s=context.bounds.lease_margin_s):
        since_at = datetime.fromtimestamp(held.generation, tz=held.until_at.tzinfo)
        raise InstanceInUse(
            code="lease-held",
            what=(
                f"run {held.run} of {held.owner} holds instance {context.state.instance_name}"
                f" since {since_at:%Y-%m-%d %H:%MZ} until {held.until_at:%Y-%m-%d %H:%MZ}"
                + (" and is ending" if held.state is LeaseState.ENDING else "")
            ),
            state=context.describe_state(),
            next=f"jetrun continue {held.run}   (on {held.owner}, if its process is gone; else wait until {held.until_at:%H:%MZ})",
        )
    return held


def _write(context: RunContext, port: LeasePort, lease: Lease) -> LeasePort:
    """Write *lease* on *port* as it was read; a lost reply is resolved by reading.

    Raises:
        InstanceInUse: somebody else's write came first.
        InstanceNotStarted: it cannot be written.
    """
    text = to_text(lease)
    for _ in range(TRIES):
        try:
            return context.cloud.write_port(port, text)
        except CloudPermanent as error:
            if error.status != 412:
                raise InstanceNotStarted(code=error.code, what=error.what, next=error.next) from error
        except CloudAmbiguous:
            pass
        except CloudError as error:
            raise InstanceNotStarted(code=error.code, what=error.what, next=error.next) from error
        now = _read(context, port.port_id)
        if now.description == text:
            return now
        _held(context, now)
        if now.description != port.description:
            raise _lost(context)
        port = now
    raise InstanceNotStarted(
        code="lease-not-written",
        what=f"the lease could not be written on port {port.port_id} in {TRIES} tries",
        next="jetrun doctor",
    )


def _lost(context: RunContext) -> InstanceInUse:
    """Something else than this run's lease stands on the port."""
    return InstanceInUse(
        code="lease-lost",
        what=f"somebody else wrote on the port of instance {context.state.instance_name} at the same moment",
        state=context.describe_state(),
        next="run the same command again",
    )


def _read(context: RunContext, port_id: str) -> LeasePort:
    """The port as it stands.

    Raises:
        InstanceNotStarted: it cannot be read, or is gone.
    """
    try:
        port = patiently(context, lambda: context.cloud.read_port(port_id))
    except CloudError as error:
        raise InstanceNotStarted(code="lease-not-read", what=error.what, next=error.next) from error
    if port is None:
        raise InstanceNotStarted(code="port-gone", what=f"port {port_id} is gone", next="jetrun doctor")
    return port
