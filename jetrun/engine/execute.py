"""Phase ``execute``: the script runs detached on the instance; the driver follows its log and waits for its exit file.

More than 300 lines because following a script (its log, its end, its limits, its connection) is one loop over one state.
"""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jetrun.engine import claims, connect
from jetrun.engine.context import Interrupted, RunContext
from jetrun.errors import InstanceNotStarted, RemoteCommandFailed, RemoteUnreachable
from jetrun.guarantee.lifecycle import Kind, Record, apply
from jetrun.remote.interface import LogFollower, ScriptReading, ScriptSpec, ScriptState

CHUNK_BYTES = 256 * 1024
"""One read of the log."""

RATE_BYTES_S = 1024 * 1024
"""How much of the log is followed live, a second: more than anyone reads, little enough not to slow the script.
The whole log is fetched at the end, so that nothing is lost by it."""

SIP_BYTES = RATE_BYTES_S // 4
"""The least that is asked for at once: a driver that takes each byte as soon as it is allowed keeps a processor busy with it."""

WAIT_S = 0.25
"""How long one read of the log waits: also how late a signal or the time limit may be noticed."""

LOOK_S = 5.0
"""Between looks at the exit file while the log stands still: the log's end tells of it sooner; this is the second way."""

BEHIND_LOOK_S = 2.0
"""The same while the log grows faster than it is followed: its end then lies far behind, and tells of nothing."""


def execute(context: RunContext) -> None:
    """Start the script, or find it running, and follow it to its end.

    Raises:
        InstanceNotStarted: the instance was lost.
    """
    reading = _started(context)
    script = _Following(context, reading)
    try:
        script.to_the_end()
    finally:
        script.close()


def _started(context: RunContext) -> ScriptReading:
    """The script's first reading: started now, or found as it is after a continue.

    Raises:
        InstanceNotStarted: the connection could not be had.
    """
    job = context.job
    command = list(job.command) if job.command else [f"../script/{Path(job.script or '').name}"]
    spec = ScriptSpec(command=command, env={**job.env, **context.secrets})
    if not context.state.script_intended:
        claims.refuse_if_past(context)
        context.record(Kind.SCRIPT_INTENDED)
    until = context.clock.monotonic() + context.bounds.ssh_s
    while True:
        try:
            reading = context.remote.start_script(spec)
            break
        except RemoteUnreachable as error:
            context.screen.event("connection.lost", what=error.what)
            if context.clock.monotonic() >= until:
                raise
            connect.refuse_if_off(context, error)
            connect.reach_again(context, within_s=context.bounds.ssh_s)
    if context.state.script is None:
        at = reading.started_at or context.clock.now()
        context.record(Kind.SCRIPT_STARTED, started_at=at.isoformat())
        context.screen.event("script.started")
    return reading


class _Following:
    """The script being watched: its log, its end, its time limits, the connection."""

    def __init__(self, context: RunContext, reading: ScriptReading) -> None:
        self._context = context
        self._reading = reading
        self._path = context.folder / "log"
        self._offset = self._path.stat().st_size if self._path.exists() else 0
        self._follower: LogFollower | None = None
        self._beaten = context.clock.monotonic()
        self._looked = context.clock.monotonic()
        self._allowance = float(CHUNK_BYTES)
        self._refilled = context.clock.monotonic()
        self._log_lost = False
        self._stop_until: float | None = None
        self._cause = ""
        self._said_stop = False
        self._cut_off = False

    def close(self) -> None:
        """Stop following."""
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def to_the_end(self) -> None:
        """Follow until the script has ended, is out of time, or somebody asks for the end."""
        context = self._context
        while True:
            try:
                if self._reading.state is not ScriptState.RUNNING:
                    self._drain()
                    _ended(context, self._reading)
                    return
                context.note_interrupt()
                cause = context.state.stop_cause or ("timeout" if self._time_left_s() <= 0 else "")
                if cause and not self._has_ended_by_itself(cause):
                    self._stop(cause)
                    return
                if not cause:
                    self._stop_until = None
                    self._step()
            except RemoteUnreachable as error:
                if self._reading.state is not ScriptState.RUNNING:
                    # Its end is known; what is left of the log comes with the outputs.
                    _ended(context, self._reading, stopped=self._cause if self._said_stop else "")
                    return
                if self._stop_until is not None and context.clock.monotonic() >= self._stop_until:
                    self._say_stop(self._cause)
                    # It cannot be told to stop; bringing the instance down stops it all the same.
                    _ended(context, ScriptReading(state=ScriptState.RUNNING), stopped=context.state.stop_cause)
                    return
                self._reconnect(error)

    def _step(self) -> None:
        """One turn of the loop: some log, the heartbeat, and a look at the exit file now and then."""
        context = self._context
        now = context.clock.monotonic()
        if now - self._beaten >= context.bounds.heartbeat_s:
            self._beaten = now
            context.remote.beat()
            self._take_extension()
        if self._follower is None:
            self._follower = context.remote.follow(self._offset)
        self._allowance = min(RATE_BYTES_S, self._allowance + (now - self._refilled) * RATE_BYTES_S)
        self._refilled = now
        behind = self._allowance < SIP_BYTES
        if behind:
            context.clock.sleep(WAIT_S)
        else:
            data = self._follower.read(min(CHUNK_BYTES, int(self._allowance)), WAIT_S)
            self._take(data)
        if self._follower.ended or now - self._looked >= (BEHIND_LOOK_S if behind else LOOK_S):
            self._looked = now
            self._reading = context.remote.read_script()

    def _take_extension(self) -> None:
        """A later deadline that ``jetrun extend`` has put into the cloud: the switch on the instance follows."""
        context = self._context
        longer = context.journal.newest(context.run, Kind.EXTENDED)
        lease = context.state.lease or {}
        if longer is None or longer["until_at"] <= lease.get("until_at", ""):
            return
        before = context.state
        context.state = apply(before, Record(at=context.clock.now(), kind=Kind.EXTENDED, data=longer))
        try:
            connect.arm(context, context.remote.facts(people=False))
        except BaseException:
            # Not taken until the switch has it: it is tried again on the next connection.
            context.state = before
            raise
        context.screen.event("lease.extended", until_at=longer["until_at"])

    def _take(self, data: bytes) -> None:
        """New bytes of the log: to the run's folder and the screen."""
        if not data:
            return
        self._allowance -= len(data)
        self._offset += len(data)
        if not self._log_lost:
            try:
                with self._path.open("ab") as file:
                    file.write(data)
            except OSError as error:
                # A full disk here must not end the script there.
                self._log_lost = True
                self._context.screen.event("log.not_kept", what=str(error))
        self._context.screen.output(data)

    def _drain(self) -> None:
        """What is left of the log, if it is little; the rest comes with the outputs."""
        left = self._reading.log_size_bytes - self._offset
        if not 0 < left <= CHUNK_BYTES:
            return
        if self._follower is None:
            self._follower = self._context.remote.follow(self._offset)
        until = self._context.clock.monotonic() + 5.0
        while left > 0 and self._context.clock.monotonic() < until:
            data = self._follower.read(CHUNK_BYTES, WAIT_S)
            self._take(data)
            left = self._reading.log_size_bytes - self._offset
            if not data and self._follower.ended:
                return

    def _time_left_s(self) -> float:
        """Seconds until the script's own limit, or until the time that the shutdown needs begins; less than 0 when past."""
        context, job = self._context, self._context.job
        now_at = context.clock.now()
        reserved_s = job.grace_s + job.stage_out_s + job.shutdown_s
        left_s = (context.deadline_at() - now_at).total_seconds() - min(reserved_s, job.max_lifetime_s / 2)
        if job.timeout_s is None:
            return left_s
        began_at = datetime.fromisoformat((context.state.script or {})["started_at"]).astimezone(UTC)
        return min(left_s, job.timeout_s - (now_at - began_at).total_seconds())

    def _has_ended_by_itself(self, cause: str) -> bool:
        """Whether the script ended before its time was up: its end may have been slept through together with its limit."""
        context = self._context
        if self._stop_until is None:
            left_s = (context.deadline_at() - context.clock.now()).total_seconds() - context.job.shutdown_s
            within_s = min(context.bounds.ssh_s, max(0.0, left_s))
            self._stop_until = context.clock.monotonic() + context.job.grace_s + within_s
            self._cause = cause
        if cause != "timeout" or context.state.stop_cause:
            return False
        self._reading = context.remote.read_script()
        return self._reading.state is not ScriptState.RUNNING

    def _say_stop(self, cause: str) -> None:
        """That the script is stopped, and why; once."""
        context = self._context
        if not context.state.stop_cause:
            context.record(Kind.STOP_ASKED, cause=cause)
        if not self._said_stop:
            self._said_stop = True
            context.screen.event("script.stop_asked", cause=cause, grace_s=context.job.grace_s)

    def _stop(self, cause: str) -> None:
        """TERM, the grace, KILL: each step said; then what the exit file says."""
        context = self._context
        self._say_stop(cause)
        for number, wait_s in ((signal.SIGTERM, context.job.grace_s), (signal.SIGKILL, 10.0)):
            try:
                context.remote.signal_script(number)
            except RemoteCommandFailed as error:
                context.screen.event("script.not_signalled", what=error.what)
            if self._wait_for_end(wait_s):
                break
        self._drain()
        _ended(context, self._reading, stopped=cause)

    def _wait_for_end(self, wait_s: float) -> bool:
        """Whether the script ends within *wait_s*."""
        context = self._context
        until = context.clock.monotonic() + wait_s
        pause_s = 0.05
        while True:
            self._reading = context.remote.read_script()
            if self._reading.state is not ScriptState.RUNNING:
                return True
            if context.clock.monotonic() >= until:
                return False
            context.clock.sleep(pause_s)
            pause_s = min(1.0, pause_s * 1.5)

    def _reconnect(self, error: RemoteUnreachable) -> None:
        """One try at a new connection, ``ssh_s`` at most: between two of them the caller looks at the time limits.

        The script may well go on without us, so that only its limits, the lease, or an instance that is off end it.

        Raises:
            InstanceNotStarted: the instance is off. InstanceInUse: it is somebody else's.
        """
        context = self._context
        if not self._cut_off:
            context.screen.event("connection.lost", what=error.what)
        self._cut_off = True
        self.close()
        connect.refuse_if_off(context, error)
        until_s = self._time_left_s() if self._stop_until is None else self._stop_until - context.clock.monotonic()
        try:
            connect.reach_again(
                context,
                within_s=min(context.bounds.ssh_s, max(0.0, until_s)),
                interruptible=self._stop_until is None,
            )
        except InstanceNotStarted:
            return
        except Interrupted:
            # Asked to end while there is no connection: the caller stops the script, over one that is had all the same if it can be.
            return
        try:
            self._reading = context.remote.read_script()
        except RemoteUnreachable:
            # Broken again at once: the caller meets it, and each new try waits longer.
            return
        self._cut_off = False
        context.screen.event("connection.restored")


def _ended(context: RunContext, reading: ScriptReading, *, stopped: str = "") -> None:
    """Write down how the script ended."""
    data: dict[str, Any] = {
        "state": reading.state.value,
        "exit_code": reading.exit_code,
        "signal": reading.signal,
        "started_at": reading.started_at.isoformat() if reading.started_at else None,
        "ended_at": reading.ended_at.isoformat() if reading.ended_at else None,
        "log_size_bytes": reading.log_size_bytes,
        "stopped": stopped,
    }
    context.record(Kind.SCRIPT_ENDED, **data)
    context.screen.event("script.ended", exit_code=reading.exit_code, state=reading.state.value, stopped=stopped)
