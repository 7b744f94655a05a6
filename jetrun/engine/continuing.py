"""What a process does that continues a run, or wakes from a sleep, before it touches the instance: see that it is still the run's.

Between two processes of one run, or in a night that the machine slept through, anything may have happened: a reaper ended it, the
switch fired, a person started the instance for themselves, or another run has taken it (invariants 2 and 5).
"""

from __future__ import annotations

from collections.abc import Sequence

from jetrun.cloud.interface import LeasePort
from jetrun.engine import claims
from jetrun.engine.context import RunContext
from jetrun.engine.requests import patiently
from jetrun.errors import CloudError, CloudTransient, InstanceInUse, JetrunError, UsageError
from jetrun.guarantee.lifecycle import Kind, Phase, next_phase
from jetrun.guarantee.power import InstanceAction
from jetrun.guarantee.requests import somebody_elses_start

TOUCHING = frozenset({Phase.CONNECT, Phase.STAGE_IN, Phase.EXECUTE, Phase.STAGE_OUT})
"""Phases that act on an instance that an earlier process has brought up. ``acquire`` and the ladder look for themselves."""


OURS_S = 60.0
"""How long a look at whose the instance is holds for a new connection."""


def refuse_other_projects(context: RunContext) -> None:
    """Look whether the credential is still of the run's project.

    A cloud's name may mean another one by now, as ``envvars`` does in another shell: there the instance is not to be seen, and
    "gone" would be believed of one that is up.

    Raises:
        UsageError: the credential is of another project than the run's.
    """
    known = (context.state.cloud or {}).get("project_id")
    if not known:
        return
    try:
        now = context.cloud.identify()
    except CloudError as error:
        # Who cannot be asked shows nothing at all, and nothing is believed of that.
        context.screen.event("instance.not_observed", what=error.what)
        return
    if now.project_id != known:
        raise UsageError(
            code="other-project",
            what=f"run {context.run} is of project {(context.state.cloud or {}).get('project_name') or known}, and the credential of "
            f"cloud {context.cloud_name} is of {now.project_name} now",
            state="not looked at, nothing is changed",
            next=f"log in to that project as before, then: jetrun continue {context.run}",
        )


def check_still_ours(context: RunContext) -> None:
    """Look whether somebody else has the instance now; then nothing more is done to it, and its outputs stay on its disk.

    Raises:
        InstanceInUse: a person started it, or another run holds it.
        CloudError: the cloud does not say, until the lease's deadline.
        Interrupted: somebody asked the run to end.
    """
    if next_phase(context.state) not in TOUCHING or not context.state.up:
        return
    try:
        _check(context)
    except JetrunError:
        if context.state.script_intended and context.state.outputs is None:
            problem = "not fetched: the instance is not this run's any more, or the cloud does not say"
            context.record(Kind.STAGED_OUT, complete=False, missing=[], problems=[problem], files=[], count=0)
        raise


def look_again(context: RunContext) -> None:
    """The same at a new connection, where the last look is a while ago: as connections break when a machine sleeps.

    A cloud that does not answer keeps nobody from an instance that was the run's own a moment before the connection broke.

    Raises:
        InstanceInUse: as above.
    """
    if context.ours_at is not None and abs((context.clock.now() - context.ours_at).total_seconds()) < OURS_S:
        return
    try:
        _judge(context, context.cloud.actions(context.instance), claims.lease_port(context))
    except CloudError as error:
        context.screen.event("instance.not_observed", what=error.what)


def _check(context: RunContext) -> None:
    """One answer of the cloud, however long it takes.

    Raises:
        InstanceInUse, CloudError: as above.
    """
    while True:
        try:
            log = patiently(context, lambda: context.cloud.actions(context.instance))
            port = patiently(context, lambda: claims.lease_port(context))
            break
        except CloudError as error:
            if not isinstance(error, CloudTransient) or context.clock.now() >= context.deadline_at():
                raise
            context.screen.event("instance.not_observed", what=error.what)
        context.pause(context.bounds.poll_last_s)
    _judge(context, log, port)


def _judge(context: RunContext, log: Sequence[InstanceAction], port: LeasePort | None) -> None:
    """Whether the log and the port say that it is still the run's.

    Raises:
        InstanceInUse: they do not.
    """
    context.ours_at = None
    if port is not None:
        claims.refuse_others(context, port)
    state = context.state
    start = somebody_elses_start(log, known=state.known, project_id=state.project_id, launched=state.launched)
    if start is not None:
        raise InstanceInUse(
            code="somebody-elses",
            what=(
                f"instance {context.state.instance_name} was started at {start.started_at:%Y-%m-%d %H:%MZ} by somebody else"
                f" ({start.action}, request {start.request_id}), after this run's own start; it is left alone"
            ),
            state=context.describe_state(),
            next=f"jetrun collect {context.run}   (when it is free again)",
        )
    context.ours_at = context.clock.now()
