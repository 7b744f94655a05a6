"""The Python API: ``jetrun.run(job)`` carries a job to its end and gives its result. The command line calls the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetrun.engine.context import Screen
from jetrun.engine.continuing import refuse_other_projects
from jetrun.engine.interrupts import Interrupts
from jetrun.engine.report import document_of, exit_code
from jetrun.engine.runner import carry
from jetrun.errors import UsageError
from jetrun.guarantee.lifecycle import Kind, Phase
from jetrun.guarantee.power import RunId
from jetrun.guarantee.receipt import Receipt
from jetrun.job import Job
from jetrun.remote.interface import TransferReading
from jetrun.wiring import House


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a run.

    Attributes:
        exit_code: as the command line ends with (README, exit codes).
        outcome: in words: ``succeeded``, ``failed``, ``timed out`` ...
        receipt: the final statement about the instance; None where nothing was asked of one.
        output_dir: where the outputs are.
        document: everything, as ``--json`` prints it (schema 1).
    """

    run: RunId
    exit_code: int
    outcome: str
    receipt: Receipt | None
    output_dir: Path
    document: Mapping[str, Any]


class SilentScreen:
    """Nobody watches."""

    def phase(self, phase: Phase) -> None:
        """Say nothing."""

    def event(self, name: str, **fields: object) -> None:
        """Say nothing."""

    def output(self, data: bytes) -> None:
        """Show nothing."""

    def transfer(self, what: str, reading: TransferReading) -> None:
        """Show nothing."""


def run(
    job: Job, *, cloud: str | None = None, screen: Screen | None = None, environ: Mapping[str, str] | None = None
) -> Result:
    """Carry *job* to its end: the instance is proven down when this returns, or the result says that it is not.

    Args:
        cloud: an entry of clouds.yaml; by default OS_CLOUD, the OS_* variables, or the only entry.
        screen: told what goes on. environ: the environment to read instead of the process's own.

    Raises:
        UsageError: no cloud can be chosen, or the configuration is wrong; nothing was begun then.

    Effects: signals are taken over while it runs; the instance is started, used and brought down.
    """
    with House(environ) as house:
        choice = house.choose_cloud(cloud)
        return continue_run(house, house.begin(job, choice), screen=screen)


def continue_run(
    house: House,
    run: RunId,
    *,
    screen: Screen | None = None,
    only_end: bool = False,
    watched: Callable[[], bool] | None = None,
) -> Result:
    """Carry a run on from wherever its journal stands, in this process.

    Args:
        only_end: stop its script, collect what there is, and bring it down. watched: whether a person sees what
            *screen* is told, asked at the end.

    Raises:
        UsageError: another living process carries it, or the credential is of another project than the run.
    """
    watching = screen or SilentScreen()
    house.journal.take(run)
    state = house.journal.state(run)
    if only_end and state.exit_code is None and state.script_ended is None and not state.stop_cause:
        house.journal.append(run, Kind.STOP_ASKED, {"cause": "driver lost"})
    choice = house.choose_cloud(str(state.job.get("cloud")) or None)
    with Interrupts() as interrupts:
        context = house.context(run, choice, screen=watching, interrupts=interrupts)
        try:
            refuse_other_projects(context)
        except UsageError:
            house.journal.leave(run)
            raise
        carry(context)
        document = document_of(context, exit_code(context.state))
    document["mail"] = {"state": house.telling.state(run)}
    seen = watched is not None and context.state.stop_cause != "SIGHUP" and watched()
    context.guard.release(context.state.receipt, told=seen or house.telling.told(run))
    # This process may live on, as a notebook does: the run is nobody's now, and a guardian may try again.
    house.journal.leave(run)
    # The instance is down, or a person was told: now there is time for mails that earlier runs could not send.
    house.telling.send_due(watching)
    return Result(
        run=run,
        exit_code=int(document["exit_code"]),
        outcome=str(document["outcome"]),
        receipt=context.state.receipt,
        output_dir=context.output_dir,
        document=document,
    )
