"""Making an instance: its port first, then one create on that port, so that a lost reply can never make two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from jetrun.cloud.interface import Instance, LeasePort, command
from jetrun.engine import claims
from jetrun.engine.connect import switch_for
from jetrun.engine.context import RunContext, lease_dict
from jetrun.engine.lease_changes import TRIES
from jetrun.engine.prepare import launch_name, wish
from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, CloudTransient, InstanceNotStarted
from jetrun.guarantee.lease import to_text
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import InstanceId, RequestId
from jetrun.job import Launch

T = TypeVar("T")


def create(context: RunContext) -> None:
    """Port, then instance; continued from wherever the journal stands.

    Raises:
        InstanceNotStarted: the cloud refused, or made nothing that can be found.
        Interrupted: somebody asked the run to end.
    """
    if context.state.instance is not None:
        return
    plan = context.cloud.plan_launch(wish(context))
    if plan.wish.key_name and plan.wish.public_key:
        _try(lambda: context.cloud.ensure_keypair(plan.wish.key_name or "", plan.wish.public_key or ""))
    port = _port(context)
    # Armed at its first boot already: if this process dies before it ever logs in, the lease's deadline still ends it.
    plan = replace(plan, wish=replace(plan.wish, user_data=_first_boot(context)))
    context.check()
    if not context.state.create_intended:
        context.record(Kind.CREATE_INTENDED, port_id=port.port_id, flavor=plan.flavor, vcpus=plan.vcpus)
        try:
            _refuse_late(context)
            instance, request = context.cloud.create(plan, port.port_id)
        except (CloudPermanent, CloudTransient) as error:
            context.record(Kind.CREATE_REFUSED, what=error.what, status=error.status)
            raise InstanceNotStarted(
                code="create-refused",
                what=f"the cloud refused to make the instance: {error.what}",
                next=error.next,
                state="no instance was made",
            ) from error
        except CloudAmbiguous as error:
            context.screen.event("instance.create_unanswered", what=error.what)
        else:
            _created(context, instance, request, plan.flavor, plan.vcpus)
            return
    found = search(context)
    if found is None:
        raise InstanceNotStarted(
            code="create-lost",
            what="the answer to the create request was lost, and no instance of this run appeared",
            state=f"no instance carries the tag jetrun-run-{context.run} after {context.bounds.settle_s:.0f} s",
            next=f"{command(context.cloud_name)} server list --tags jetrun-run-{context.run}",
        )
    _created(context, found.id, None, plan.flavor, plan.vcpus)


def _refuse_late(context: RunContext) -> None:
    """Nothing is made any more once the lease is over, which a sleep of this machine can bring about at any line.

    Raises:
        CloudTransient: it is over; nothing was sent.
    """
    try:
        claims.refuse_if_past(context)
    except InstanceNotStarted as error:
        raise CloudTransient(code=error.code, what=error.what, next=error.next) from error


def _first_boot(context: RunContext) -> str:
    """What cloud-init does at the first boot: arm the dead-man's switch."""
    if not context.job.deadman:
        return ""
    return context.remote.first_boot(switch_for(context, InstanceId(""), None))


def search(context: RunContext) -> Instance | None:
    """The instance of this run after a create without an answer: by the port, then by the tag, until ``settle_s`` passed."""
    began_at = context.clock.now()
    tag = f"jetrun-run-{context.run}"
    pause_s = context.bounds.poll_first_s
    while True:
        try:
            port_id = (context.state.port or {}).get("port_id", "")
            port = context.cloud.read_port(port_id) if port_id else None
            if port is not None and port.device_id:
                return context.cloud.read(InstanceId(port.device_id))
            found = context.cloud.find_tagged(tag)
            if found:
                return found[0]
        except CloudError as error:
            context.screen.event("instance.not_found_yet", what=error.what)
        if (context.clock.now() - began_at).total_seconds() >= context.bounds.settle_s:
            return None
        context.clock.sleep(pause_s)
        pause_s = min(context.bounds.poll_last_s, pause_s * 1.5)


def _port(context: RunContext) -> LeasePort:
    """The port of this run, made once; the lease stands on it before anything can spend (invariant 2)."""
    state = context.state
    name = launch_name(context)
    plan = context.cloud.plan_launch(wish(context))
    if state.port is not None:
        found = context.cloud.read_port(state.port["port_id"])
        if found is not None:
            return found
    if not state.port_name:
        lease = claims.new_lease(context, previous="")
        context.record(Kind.LEASE_INTENDED, port_id="", **lease_dict(lease))
        context.record(Kind.PORT_INTENDED, name=name)
    lease_now = claims.own_lease(context) or claims.new_lease(context, previous="")
    port: LeasePort | None = None
    for _ in range(TRIES):
        existing = [
            one for one in _try(lambda: context.cloud.find_ports(name)) if to_text(lease_now) == one.description
        ]
        port = existing[0] if existing else None
        if port is not None:
            break
        try:
            port = context.cloud.create_port(plan, name=name, description=to_text(lease_now))
            break
        except CloudAmbiguous as error:
            context.screen.event("port.create_unanswered", what=error.what)
        except CloudError as error:
            raise InstanceNotStarted(code="port-refused", what=error.what, next=error.next) from error
    if port is None:
        raise InstanceNotStarted(
            code="port-not-made",
            what="the network port for the instance could not be made",
            next="jetrun doctor",
        )
    context.record(Kind.PORT_MADE, port_id=port.port_id)
    context.record(Kind.LEASE_GRANTED, **{**lease_dict(lease_now), "port_id": port.port_id})
    claims.say_granted(context, port.port_id, lease_now)
    return port


def _created(
    context: RunContext, instance: InstanceId, request: RequestId | None, flavor: str | None, vcpus: int | None
) -> None:
    """Write down the id before anything else. The log's entries of a new instance are all ours."""
    project = ""
    known: list[str] = [request] if request else []
    try:
        read = context.cloud.read(instance)
        project = read.project_id
        known += [entry.request_id for entry in context.cloud.actions(instance) if entry.action == "create"]
    except CloudError as error:
        context.screen.event("instance.not_observed", what=error.what)
    context.record(
        Kind.CREATED,
        id=instance,
        name=launch_name(context),
        project_id=project or (context.state.cloud or {}).get("project_id", ""),
        flavor=flavor,
        vcpus=vcpus,
        request_ids=known,
    )
    context.screen.event("instance.created", instance_id=instance, request_id=request)


def attach_address(context: RunContext) -> None:
    """A floating IP on the port, where the job wants one; made once.

    Raises:
        InstanceNotStarted: it could not be had.
    """
    launch = context.job.instance
    if not isinstance(launch, Launch) or launch.floating_ip == "no" or context.state.port is None:
        return
    if context.state.floating_ip is not None:
        return
    plan = context.cloud.plan_launch(wish(context))
    if plan.external_network_id is None:
        return
    port_id = context.state.port["port_id"]
    context.record(Kind.FLOATING_IP_INTENDED, port_id=port_id)
    found = _try(lambda: context.cloud.find_floating_ips(port_id))
    if not found:
        try:
            found = [context.cloud.attach_floating_ip(port_id, plan.external_network_id)]
        except CloudAmbiguous:
            found = _try(lambda: context.cloud.find_floating_ips(port_id))
        except CloudError as error:
            raise InstanceNotStarted(code="no-floating-ip", what=error.what, next=error.next) from error
    if not found:
        raise InstanceNotStarted(
            code="no-floating-ip", what="the floating IP was asked for and is not there", next="jetrun doctor"
        )
    context.record(Kind.FLOATING_IP_MADE, id=found[0][0], ip=found[0][1])


def _try(call: Callable[[], T]) -> T:
    """*call*, its cloud errors as reasons not to start.

    Raises:
        InstanceNotStarted: the call failed.
    """
    try:
        return call()
    except CloudError as error:
        raise InstanceNotStarted(code=error.code, what=error.what, next=error.next) from error
