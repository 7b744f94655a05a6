"""One run, from wherever its journal stands to its end: the loop over the phases. No threads, journal first.

Invariant 4: no path leads from "may be up" to the end of this function without a receipt in hand and a person told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from jetrun.cloud.interface import command
from jetrun.engine import lease_changes
from jetrun.engine.acquire import acquire
from jetrun.engine.connect import connect
from jetrun.engine.context import Interrupted, RunContext
from jetrun.engine.continuing import check_still_ours
from jetrun.engine.execute import execute
from jetrun.engine.prepare import prepare
from jetrun.engine.report import exit_code, report
from jetrun.engine.shutdown import give_up, shut_down
from jetrun.engine.stage import stage_in, stage_out
from jetrun.errors import InternalError, JetrunError
from jetrun.guarantee.lifecycle import Kind, Phase, Record, RunState, apply, next_phase

_ACTS: dict[Phase, Callable[[RunContext], None]] = {
    Phase.PREPARE: prepare,
    Phase.ACQUIRE: acquire,
    Phase.CONNECT: connect,
    Phase.STAGE_IN: stage_in,
    Phase.EXECUTE: execute,
    Phase.STAGE_OUT: stage_out,
    Phase.SHUTDOWN: shut_down,
    Phase.REPORT: report,
}


def carry(context: RunContext) -> int:
    """Carry the run to its end; its exit code.

    Effects: everything that jetrun does.
    """
    context.interrupts.describe = lambda: _describe(context)
    if context.state.exit_code is not None and (context.state.receipt is None or context.state.receipt.verified):
        # Over and proven, and yet its lease may stand: the cloud did not answer when it was to be given back.
        lease_changes.end(context)
    repeats = 0
    try:
        check_still_ours(context)
    except Interrupted:
        context.screen.event("run.interrupted", cause=context.state.stop_cause)
    except JetrunError as error:
        _note(context, error)
    while (phase := next_phase(context.state)) is not Phase.CLOSED:
        before = context.state
        try:
            context.enter(phase)
            _be_guarded(context, phase)
            _ACTS[phase](context)
        except Interrupted:
            context.screen.event("run.interrupted", cause=context.state.stop_cause)
        except JetrunError as error:
            _note(context, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the instance must be brought down first
            _note(context, _internal(context, error))
        repeats = repeats + 1 if _facts(before) == _facts(context.state) else 0
        if repeats > 1:
            _force_on(context, phase)
    return int(context.state.exit_code or 0)


def _be_guarded(context: RunContext, phase: Phase) -> None:
    """The guardian stands before anything that spends; a shutdown never waits for one that does not.

    Raises:
        InternalError: it cannot be started, and nothing was asked of an instance yet.
    """
    if context.is_guarded or phase in {Phase.PREPARE, Phase.REPORT}:
        return
    context.is_guarded = True
    try:
        kept = context.guard.stand()
    except InternalError as error:
        if not context.state.spending_possible:
            raise
        context.screen.event("guardian.missing", what=error.what)
        return
    if kept is not None:
        context.record(Kind.GUARDED, **kept)
        if kept["scope"] not in {"", "systemd"}:
            context.screen.event("guardian.confined", scope=kept["scope"])


def _facts(state: RunState) -> RunState:
    """The state without the list of phases, to see whether a phase changed anything."""
    return replace(state, phases=(), phase=Phase.PREPARE)


def _force_on(context: RunContext, phase: Phase) -> None:
    """A phase that neither ends nor fails would turn in a circle: end it in words, so that the next one comes."""
    match phase:
        case Phase.STAGE_OUT:
            context.record(Kind.STAGED_OUT, complete=False, missing=[], problems=["jetrun failed"], files=[], count=0)
        case Phase.SHUTDOWN:
            give_up(context)
        case Phase.REPORT:
            context.record(Kind.CLOSED, exit_code=int(exit_code(context.state)))
        case _:
            _note(context, _internal(context, RuntimeError(f"phase {phase} made no progress")))


def _note(context: RunContext, error: JetrunError) -> None:
    """Write down an error; if even that fails, remember it, so that the shutdown follows all the same."""
    try:
        context.trouble(error)
    except Exception:  # noqa: BLE001 - nothing may stand between here and the shutdown
        data = {**error.as_dict(), "exit_code": int(error.exit_code)}
        context.state = apply(context.state, Record(at=context.clock.now(), kind=Kind.TROUBLE, data=data))


def _internal(context: RunContext, error: Exception) -> JetrunError:
    """An error of jetrun's own, in three parts."""
    context.screen.event("run.crashed", error=f"{type(error).__name__}: {error}", exc_info=error)
    return InternalError(
        what=f"{type(error).__name__}: {error}",
        state=context.describe_state(),
        next=f"jetrun show {context.run}; it is a bug of jetrun's",
    )


def _describe(context: RunContext) -> str:
    """What a second Ctrl-C is told."""
    name = context.state.instance_name or "the instance"
    if context.state.instance is None:
        return f"jetrun is in phase {context.state.phase}; nothing was started yet."
    return (
        f"jetrun is in phase {context.state.phase}; {name} is {context.describe_state()}. It goes on until that is proven down.\n"
        f"By hand: {command(context.cloud_name)} server shelve {context.state.instance}"
    )
