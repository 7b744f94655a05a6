"""Phase ``prepare``: who we are, which instance, and every reason not to begin. Touches no instance."""

from __future__ import annotations

import difflib
import hashlib
import shlex
from datetime import timedelta

from jetrun.cloud.interface import Instance, LaunchWish, command
from jetrun.engine import self_shelve
from jetrun.engine.context import RunContext
from jetrun.engine.requests import patiently
from jetrun.errors import CloudError, InstanceNotStarted, UsageError
from jetrun.guarantee.lifecycle import Kind
from jetrun.job import Launch, On, duration_text
from jetrun.job_fields import toml_text


def prepare(context: RunContext) -> None:
    """Authenticate, resolve the instance, and refuse what cannot be carried to its end.

    Raises:
        UsageError: unknown or ambiguous instance, a credential that ends before the deadline.
        InstanceNotStarted: the clocks are too far apart, or the cloud does not answer.
    """
    try:
        identity = patiently(context, context.cloud.identify)
    except CloudError as error:
        raise UsageError(code=error.code, what=error.what, next=error.next) from error
    if abs(identity.clock_skew_s) > context.bounds.skew_s:
        raise InstanceNotStarted(
            code="clock-skew",
            what=f"this machine's clock is {-identity.clock_skew_s:+.0f} s off the cloud's; deadlines would be wrong",
            next="timedatectl set-ntp true",
        )
    context.clock_skew_s = identity.clock_skew_s
    ends_at = identity.credential_expires_at
    needed_at = context.cloud_now() + timedelta(seconds=context.job.max_lifetime_s + context.bounds.lease_margin_s)
    if ends_at is not None and ends_at < needed_at:
        raise UsageError(
            code="credential-ends-too-soon",
            what=(
                f"the application credential ends at {ends_at:%Y-%m-%d %H:%MZ}, before this run's deadline "
                f"({needed_at:%Y-%m-%d %H:%MZ} with margin): the instance could not be brought down after that"
            ),
            next="make a credential with a later expiry (Horizon, Identity, Application Credentials), or write a shorter max_lifetime",
        )
    match context.job.instance:
        case On(name_or_id=name):
            instance = resolve(context, name)
            context.screen.event("instance.resolved", instance_id=instance.id, instance_name=instance.name)
            context.record(
                Kind.RESOLVED,
                id=instance.id,
                name=instance.name,
                project_id=instance.project_id,
                flavor=instance.flavor,
                vcpus=instance.vcpus,
                status=instance.observation.status,
            )
        case Launch():
            plan_launch(context)
    self_shelve.check(context)
    _say_worst_case(context)
    context.record(
        Kind.IDENTIFIED,
        cloud=identity.cloud,
        user_id=identity.user_id,
        user_name=identity.user_name,
        project_id=identity.project_id,
        project_name=identity.project_name,
        clock_skew_s=identity.clock_skew_s,
    )


def _say_worst_case(context: RunContext) -> None:
    """What the run costs if it needs its whole lease; said before anything begins."""
    job, profile, state = context.job, context.profile, context.state
    rate = profile.rate_per_hour(state.flavor, state.vcpus, "ACTIVE")
    hours = job.max_lifetime_s / 3600
    context.screen.event(
        "run.worst_case",
        cost=f"{rate * hours:.3g} {profile.unit}"
        if rate is not None
        else f"{hours:g} h of the instance, at a rate that is unknown here",
        lifetime=duration_text(job.max_lifetime_s),
        edge=f"with this machine gone for good and no reaper elsewhere, it is {_unattended(context)} by the deadline, "
        "and nobody is told",
    )


def _unattended(context: RunContext) -> str:
    """How the instance ends with nobody there."""
    return "powered off" if context.shelve_keys is None else "shelved by itself, or else powered off,"


def resolve(context: RunContext, name: str) -> Instance:
    """The one instance that *name* means.

    Raises:
        UsageError: none, or several: then the candidates with their ids and owners.
    """
    try:
        found = patiently(context, lambda: context.cloud.find_instances(name))
        if not found:
            names = sorted({one.name for one in context.cloud.list_instances()})
            near = difflib.get_close_matches(name, names, n=8, cutoff=0.0)
            raise UsageError(
                code="unknown-instance",
                what=f"instance.on: no instance {name!r} in this project; there are: {', '.join(near) or 'none'}",
                next=f"--on {shlex.quote(near[0])}   (or on = {toml_text(near[0])} in the job file)"
                if near
                else f"{command(context.cloud_name)} server list",
            )
    except CloudError as error:
        raise UsageError(code=error.code, what=error.what, next=error.next) from error
    if len(found) > 1:
        lines = "; ".join(f"{one.id} ({one.observation.status}, user {one.user_id})" for one in found)
        raise UsageError(
            code="ambiguous-instance",
            what=f"instance.on: {len(found)} instances are named {name!r}: {lines}",
            next=f'on = "{found[0].id}"',
        )
    context.last_seen = found[0].observation
    return found[0]


def launch_name(context: RunContext) -> str:
    """The name of what this run makes."""
    wanted = context.job.instance
    return (isinstance(wanted, Launch) and wanted.name) or f"jetrun-{context.run}"


def wish(context: RunContext) -> LaunchWish:
    """The job's wish as the cloud interface takes it."""
    launch = context.job.instance
    assert isinstance(launch, Launch)  # noqa: S101 - the caller matched on it
    own = launch.key == "auto"
    # The name says which key it is, so that another machine or a new home never meets a pair of the same name.
    digest = hashlib.sha256((context.public_key or "").encode()).hexdigest()[:12]
    return LaunchWish(
        name=launch_name(context),
        image=launch.image,
        flavor=launch.flavor,
        network=launch.network,
        key_name=f"jetrun-{digest}" if own else launch.key,
        public_key=context.public_key if own else None,
        security_groups=launch.security_groups,
        metadata={"jetrun_run": context.run, "jetrun_end": context.job.disposition.value},
        tags=("jetrun", f"jetrun-run-{context.run}"),
    )


def plan_launch(context: RunContext) -> None:
    """See that every name of the launch can be resolved.

    Raises:
        UsageError: one cannot.
    """
    try:
        plan = patiently(context, lambda: context.cloud.plan_launch(wish(context)))
        context.record(Kind.PLANNED, flavor=plan.flavor, vcpus=plan.vcpus)
    except CloudError as error:
        raise UsageError(code=error.code, what=error.what, next=error.next) from error
