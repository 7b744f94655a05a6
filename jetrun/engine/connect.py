"""Phase ``connect``: reach the instance over SSH, see that it may be used, arm the dead-man's switch and read it back."""

from __future__ import annotations

from collections.abc import Sequence

from jetrun.cloud.interface import Address, command
from jetrun.engine import continuing, self_shelve
from jetrun.engine.context import RunContext
from jetrun.errors import CloudError, InstanceInUse, InstanceNotStarted, RemoteError, RemoteRefused, UsageError
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import Disposition, InstanceId, is_down
from jetrun.remote.interface import GuestFacts, Switch, SwitchReading, Target

ATTEMPT_S = 10.0
"""One connection attempt: long enough for a slow guest's key exchange, short enough to look at the cloud between."""

STEADY_S = 30.0
"""A connection that stood for this long was a good one; also the longest pause before a new one."""

NO_ANSWER_PAUSE_S, NO_ANSWER_PART = 0.2, 0.01
"""Longest pause while nobody answers: at first, and as a part of the wait so far. A guest takes a quarter of a minute to boot,
and every second of it is paid for; one that has not answered for minutes is in no hurry."""


ADDRESSES_S = 5.0
"""How old may be what is known of the instance, its addresses and that it is on, while nobody answers there."""


def connect(context: RunContext) -> None:
    """Reach the instance, check it, arm the switch.

    Raises:
        InstanceNotStarted: no SSH in time, or clocks apart.
        InstanceInUse: a taken-over instance has people or work on it.
        UsageError: no passwordless root for the switch.
        Interrupted: somebody asked the run to end.
    """
    target, trust = reach(context, within_s=context.bounds.ssh_s)
    facts = context.remote.facts(people=context.state.adopted)
    _check(context, facts)
    context.record(
        Kind.REACHED,
        host=target.host,
        port=target.port,
        user=target.user,
        trust=trust,
        boot_id=facts.boot_id,
        has_rsync=facts.has_rsync,
        cpus=facts.cpus,
    )
    context.screen.event("instance.reached", host=target.host, user=target.user, host_key=trust)
    arm(context, facts)


def reach(
    context: RunContext, *, within_s: float, interruptible: bool = True, theirs: bool = False
) -> tuple[Target, str]:
    """An SSH connection: (where to, how its host key was trusted). Tries every address again until the time is up.

    Args:
        interruptible: otherwise a run that was asked to end, or is, is connected all the same: to stop its script, or to collect.
        theirs: it is known that a person has it.

    Raises:
        InstanceNotStarted: none in time (names the security group where that is why), or the instance is off.
        InstanceInUse: a person, or another run, has the instance by now.
        Interrupted: somebody asked the run to end.
    """
    began = context.clock.monotonic()
    last: RemoteError | None = None
    keys: Sequence[str] = ()
    pause_s = context.bounds.poll_first_s
    addresses: list[Address] = []
    asked = float("-inf")
    seen = context.clock.monotonic()
    while True:
        if not addresses or context.clock.monotonic() - asked >= ADDRESSES_S:
            asked = context.clock.monotonic()
            try:
                addresses = context.cloud.addresses(context.instance)
            except CloudError as error:
                context.screen.event("instance.address_unknown", what=error.what)
        if not keys and not context.remote.is_pinned(context.instance):
            keys = _console_keys(context)
        hosts = [context.job.ssh.host] if context.job.ssh.host else [one.ip for one in addresses]
        for host in hosts:
            context.pause(0.0, interruptible=interruptible)
            target = _target(context, host, keys)
            try:
                trusted = context.remote.connect(target, within_s=ATTEMPT_S)
            except RemoteRefused as error:
                last = error
                if context.clock.monotonic() - began > within_s / 4:
                    # A key that is refused while cloud-init is still at work may be let in a moment later, not for ever.
                    raise InstanceNotStarted(
                        code=error.code, what=error.what, state=context.describe_state(), next=error.next
                    ) from error
            except RemoteError as error:
                last = error
                if context.clock.monotonic() - seen >= ADDRESSES_S:
                    seen = context.clock.monotonic()
                    refuse_if_off(context, error)
            else:
                if not theirs:
                    try:
                        continuing.look_again(context)
                    except InstanceInUse:
                        # Nothing more goes over a connection to what is somebody else's.
                        context.remote.close()
                        raise
                return target, trusted.host_key_trust
        if context.clock.monotonic() - began >= within_s:
            raise _unreachable(context, hosts, last)
        if isinstance(last, RemoteRefused):
            # OpenSSH 9.8 shuts out whoever is refused too often: a penalty of 5 s each, enforced from 15 s on (PerSourcePenalties).
            pause_s = context.bounds.poll_last_s
        context.pause(pause_s, interruptible=interruptible)
        longest_s = max(NO_ANSWER_PAUSE_S, NO_ANSWER_PART * (context.clock.monotonic() - began))
        pause_s = min(longest_s, context.bounds.poll_last_s, pause_s * 1.5)


def reach_again(context: RunContext, *, within_s: float, interruptible: bool = True) -> None:
    """A new connection after a broken one; slower each time when connections break as soon as they stand.

    Raises:
        InstanceNotStarted, InstanceInUse: as for ``reach``.
        Interrupted: somebody asked the run to end.
    """
    now = context.clock.monotonic()
    steady = now - context.reached_at >= STEADY_S
    context.reconnect_pause_s = 0.0 if steady else min(STEADY_S, max(0.5, context.reconnect_pause_s * 2))
    context.pause(context.reconnect_pause_s, interruptible=interruptible)
    reach(context, within_s=within_s, interruptible=interruptible)
    context.reached_at = context.clock.monotonic()


def refuse_if_off(context: RunContext, error: Exception) -> None:
    """Look at the instance that does not answer.

    Raises:
        InstanceNotStarted: it is off. An API that does not answer either says nothing about it.
    """
    try:
        read = context.cloud.observe(context.instance)
    except CloudError as unread:
        context.screen.event("instance.not_observed", what=unread.what)
        return
    context.last_seen = read
    if is_down(read, Disposition.STOP) or read.status in {"ABSENT", "SUSPENDED", "PAUSED", "ERROR"}:
        raise InstanceNotStarted(
            code="instance-lost",
            what=f"instance {context.state.instance_name} is {read.status}, so that nothing on it can be reached",
            state=context.describe_state(),
            next=f"jetrun collect {context.run}",
        ) from error


def _target(context: RunContext, host: str, keys: Sequence[str]) -> Target:
    """Where and as whom to connect."""
    ssh = context.job.ssh
    return Target(
        instance=context.instance,
        host=host,
        port=ssh.port or context.profile.ssh_port,
        user=ssh.user or context.profile.ssh_user,
        identities=context.identities,
        console_host_keys=keys,
    )


def _console_keys(context: RunContext) -> Sequence[str]:
    """Host keys from the console log, empty where it has none (yet)."""
    try:
        return context.remote.parse_console(context.cloud.console(context.instance))
    except CloudError as error:
        context.screen.event("instance.console_unread", what=error.what)
        return ()


def _unreachable(context: RunContext, hosts: Sequence[str], last: RemoteError | None) -> InstanceNotStarted:
    """The error for no SSH: with the commonest mistake looked for, a security group without a rule for SSH."""
    port = context.job.ssh.port or context.profile.ssh_port
    cause = last.what if last is not None else "it has no address"
    where = ", ".join(hosts) or "no address"
    following = f"{command(context.cloud_name)} console log show {context.instance}"
    try:
        rule = context.cloud.ssh_rule(context.instance, port)
        if rule.allowed is False:
            groups = ", ".join(rule.groups) or "none"
            cause += f"; no rule of its security groups ({groups}) lets TCP port {port} in"
            group = rule.groups[0] if rule.groups else "default"
            following = (
                f"{command(context.cloud_name)} security group rule create --protocol tcp --dst-port {port} {group}"
            )
    except CloudError as error:
        context.screen.event("security_group.unread", what=error.what)
    return InstanceNotStarted(
        code="no-ssh",
        what=f"instance {context.state.instance_name} is up and does not answer SSH at {where} port {port}: {cause}",
        state=context.describe_state(),
        next=following,
    )


def _check(context: RunContext, facts: GuestFacts) -> None:
    """Refuse what would make the promise wrong.

    Raises:
        InstanceNotStarted: the guest's clock is off.
        InstanceInUse: taken over, and somebody is on it.
        UsageError: no passwordless root, and the switch was not waived.
    """
    skew_s = (facts.now_at - context.clock.now()).total_seconds()
    if abs(skew_s) > context.bounds.skew_s:
        raise InstanceNotStarted(
            code="clock-skew",
            what=f"the instance's clock is {skew_s:+.0f} s off this machine's; the dead-man's switch would fire at a wrong time",
            state=context.describe_state(),
            next=f"ssh {context.profile.ssh_user}@INSTANCE sudo timedatectl set-ntp true",
        )
    busy = facts.load_1m > context.profile.busy_load * max(1, facts.cpus)
    if context.state.adopted and (facts.logged_in or busy):
        signs = [f"logged in: {', '.join(facts.logged_in)}"] if facts.logged_in else []
        signs += [f"load {facts.load_1m:.1f} on {facts.cpus} CPUs"] if busy else []
        if context.job.take_over != "force":
            raise InstanceInUse(
                code="somebody-is-on-it",
                what=f"instance {context.state.instance_name} is running and in use ({'; '.join(signs)})",
                state=context.describe_state(),
                next="ask them, or add --take-over=force, which warns them first",
            )
        context.remote.warn_users(
            f"jetrun run {context.run} of {context.owner} takes this instance over; it will be brought down afterwards."
        )
    if not facts.has_root and context.job.deadman:
        user = context.job.ssh.user or context.profile.ssh_user
        raise UsageError(
            code="no-root-for-the-switch",
            what=f"user {user} has no passwordless sudo on the instance, which the dead-man's switch needs",
            state=context.describe_state(),
            next=f"on the instance: echo '{user} ALL=(ALL) NOPASSWD:ALL' | sudo tee /etc/sudoers.d/jetrun   "
            "(or: --no-deadman, then nothing on the instance ends it when all else is gone)",
        )


def arm(context: RunContext, facts: GuestFacts) -> None:
    """Arm the dead-man's switch and read it back (DESIGN.md section 3, layer 3).

    Raises:
        InstanceNotStarted: what is read back is not what was asked for.
    """
    if not context.job.deadman:
        context.record(Kind.SWITCH_ARMED, armed=False)
        return
    reading = context.remote.arm_switch(switch_for(context, context.instance, facts))
    lease = context.state.lease or {}
    good = reading.state == "armed" and reading.ticking and reading.generation == lease.get("generation")
    if not good:
        raise InstanceNotStarted(
            code="switch-not-armed",
            what=f"the dead-man's switch was set and reads back as {_phrase(reading)}",
            state=context.describe_state(),
            next="jetrun doctor, or --no-deadman",
        )
    deadline = reading.deadline_at.isoformat() if reading.deadline_at else None
    context.record(Kind.SWITCH_ARMED, armed=True, deadline_at=deadline, generation=reading.generation)
    context.screen.event("switch.armed", deadline_at=deadline)
    self_shelve.arm(context)


def switch_for(context: RunContext, instance: InstanceId, facts: GuestFacts | None) -> Switch:
    """How the switch is to be armed: the lease's deadline in the guest's own time."""
    now_at = context.clock.now()
    left_s = max(0.0, (context.deadline_at() - now_at).total_seconds())
    offset = (facts.now_at - now_at) if facts is not None else (now_at - now_at)
    return Switch(
        instance=instance,
        run=context.run,
        generation=int((context.state.lease or {}).get("generation", 0)),
        deadline_at=context.deadline_at() + offset,
        countdown_s=left_s,
        orphan_s=context.bounds.orphan_s,
        tick_s=context.bounds.switch_tick_s,
        gap_s=context.bounds.tick_gap_s,
    )


def _phrase(reading: SwitchReading) -> str:
    """A reading in words."""
    return f"{reading.state}, generation {reading.generation}, {'ticking' if reading.ticking else 'not ticking'}"
