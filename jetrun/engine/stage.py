"""Phases ``stage_in`` and ``stage_out``: inputs to the instance, outputs back; each with its own time budget."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jetrun.engine import connect
from jetrun.engine.context import Interrupted, RunContext
from jetrun.errors import InstanceNotStarted, JetrunError, RemoteError, RemoteUnreachable
from jetrun.guarantee.lifecycle import Kind
from jetrun.remote.interface import Transfer, TransferReading, TransferState, Upload

HASHED_BYTES = 1 << 22
"""Of a file that is read back at a time."""
WATCH_S = 0.05
"""Pause between looks at a transfer: a null run must not wait for it, and 20 looks a second cost nothing."""

LISTED = 1000
"""How many outputs the JSON document lists one by one; the manifest in the run's folder has all."""


def stage_in(context: RunContext) -> None:
    """Send the script and the inputs.

    Raises:
        JetrunError: they could not be sent within the job's ``stage_in`` budget.
        Interrupted: somebody asked the run to end.
    """
    job = context.job
    script = Path(job.script).read_bytes() if job.script else None
    _with_connection(context, lambda: context.remote.prepare(script, Path(job.script).name if job.script else ""))
    if job.inputs:
        uploads = [upload_of(source) for source in job.inputs]
        reading = _transfer(
            context,
            "inputs",
            lambda: context.remote.upload(uploads, excludes=job.excludes),
            budget_s=job.stage_in_s,
            interruptible=True,
        )
        if reading.state is not TransferState.DONE:
            raise InstanceNotStarted(
                code="inputs-not-sent",
                what=f"the inputs could not be sent: {reading.failure}",
                state=context.describe_state(),
                next="make room on the instance (df -h), or send less" if reading.disk_full else "jetrun doctor",
            )
    context.record(Kind.STAGED_IN)
    context.screen.event("inputs.staged")


def upload_of(source: str) -> Upload:
    """An input as the remote takes it: it keeps its own name below the work folder."""
    path = Path(source)
    return Upload(source=path, name=path.name or path.resolve().name)


def stage_out(context: RunContext) -> None:
    """Fetch the log and the outputs, whatever became of the script. Never raises: what is missing is written down."""
    problems: list[str] = []
    missing: Sequence[str] = ()
    folder = context.output_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = _transfer(
            context,
            "log",
            lambda: context.remote.download_log(context.folder / "log"),
            budget_s=context.job.stage_out_s,
            interruptible=False,
        )
        if log.state is not TransferState.DONE:
            problems.append(f"the log is not whole: {log.failure}")
        if context.job.outputs:
            reading = _transfer(
                context,
                "outputs",
                lambda: context.remote.download(context.job.outputs, folder),
                budget_s=context.job.stage_out_s,
                interruptible=False,
            )
            missing = reading.missing
            if reading.state is not TransferState.DONE:
                problems.append(reading.failure or "the outputs could not be fetched")
    except (JetrunError, Interrupted, OSError) as error:
        problems.append(error.what if isinstance(error, JetrunError) else str(error))
    files = _manifest(context, problems)
    complete = not problems and not missing
    context.record(
        Kind.STAGED_OUT,
        complete=complete,
        missing=list(missing),
        problems=problems,
        files=files[:LISTED],
        count=len(files),
    )
    context.screen.event("outputs.staged", complete=complete, files=len(files), missing=len(missing))


def _manifest(context: RunContext, problems: list[str]) -> list[dict[str, Any]]:
    """Every file that came, with its size in bytes and its sha256, oldest path first; also kept in the run's folder."""
    if not context.job.outputs or not context.output_dir.is_dir():
        return []
    files = []
    try:
        found = []
        for path in context.output_dir.rglob("*"):
            context.clock.monotonic()
            found.append(path)
        for path in sorted(found):
            if path.is_file() and not path.is_symlink():
                digest = _sha256(context, path)
                name = str(path.relative_to(context.output_dir))
                files.append({"path": name, "size_bytes": path.stat().st_size, "sha256": digest})
    except OSError as error:
        problems.append(f"the outputs cannot be read back: {error}")
    return files


def _sha256(context: RunContext, path: Path) -> str:
    """Of a file that may hold 20 GB: the clock is asked now and then, which tells the guardian that this process lives."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(HASHED_BYTES):
            digest.update(piece)
            context.clock.monotonic()
    return digest.hexdigest()


def _transfer(
    context: RunContext, what: str, begin: Callable[[], Transfer], *, budget_s: float, interruptible: bool
) -> TransferReading:
    """Watch a transfer to its end, beginning it again after a broken connection, within the budget.

    Raises:
        InstanceNotStarted: the way out; the instance is off, or not reached again.
        Interrupted: the way in; somebody asked the run to end.
    """
    began = context.clock.monotonic()
    reading = TransferReading(state=TransferState.FAILED, failure="not begun")
    while True:
        try:
            transfer = begin()
            reading = _watch(context, what, transfer, began + budget_s, interruptible=interruptible)
        except RemoteUnreachable as error:
            reading = TransferReading(state=TransferState.FAILED, failure=error.what, retryable=True)
            if not interruptible:
                # Nothing is fetched from an instance that is off or gone: its end must not wait for it.
                connect.refuse_if_off(context, error)
        left_s = began + budget_s - context.clock.monotonic()
        if reading.state is TransferState.DONE or not reading.retryable or left_s <= 0:
            return reading
        context.screen.event("transfer.broken", what=what, failure=reading.failure)
        # Whoever stopped the script in vain has just waited for a connection as long as is right.
        gave_up = (context.state.script_ended or {}).get("state") == "running"
        patience_s = connect.ATTEMPT_S if gave_up and not interruptible else context.bounds.ssh_s
        try:
            connect.reach_again(context, within_s=min(left_s, patience_s), interruptible=interruptible)
        except InstanceNotStarted as error:
            if not interruptible:
                # What cannot be reached for the log cannot be reached for the outputs either.
                raise
            return TransferReading(state=TransferState.FAILED, failure=error.what)


def _watch(context: RunContext, what: str, transfer: Transfer, until: float, *, interruptible: bool) -> TransferReading:
    """Poll *transfer* until it ends or the time is up, keeping the heartbeat."""
    beaten = context.clock.monotonic()
    try:
        while True:
            reading = transfer.poll()
            context.screen.transfer(what, reading)
            if reading.state is not TransferState.RUNNING:
                return reading
            if context.clock.monotonic() > until:
                return TransferReading(state=TransferState.FAILED, failure=f"not done within its time ({what})")
            if interruptible:
                context.check()
            else:
                context.note_interrupt()
            if context.clock.monotonic() - beaten >= context.bounds.heartbeat_s:
                beaten = context.clock.monotonic()
                beat(context)
            context.clock.sleep(WATCH_S)
    finally:
        transfer.cancel()


def beat(context: RunContext) -> None:
    """Touch the heartbeat; a connection that broke is found by whoever needs it next."""
    try:
        context.remote.beat()
    except RemoteError as error:
        context.screen.event("heartbeat.missed", what=error.what)


def _with_connection(context: RunContext, act: Callable[[], None]) -> None:
    """*act*, once more on a new connection if it broke.

    Raises:
        RemoteError: it failed twice.
    """
    try:
        act()
    except RemoteUnreachable:
        connect.reach_again(context, within_s=context.bounds.ssh_s)
        act()
