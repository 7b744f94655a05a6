"""The engine for systemd units inside an instance: services and timers, enough for a dead-man's switch.

Unit files lie below etc/ and run/systemd/system of the instance's root; what is enabled is a link below ``*.wants``, so that it
survives a reboot as it does on a real one. A service's processes are known by the INVOCATION_ID in their environment, as
systemd knows them by their control group.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from jetrun.devcloud import instance_timers
from jetrun.devcloud.instance_children import signal_quietly
from jetrun.devcloud.instance_timers import Marks
from jetrun.devcloud.instance_unit_files import BadUnit, Command, Unit, commands, environment, parse
from jetrun.devcloud.processes import descendants_of, state_of

STOP_S = 2.0
"""From SIGTERM to SIGKILL when a service is stopped; systemd's own 90 s would only slow tests down."""

Run = Callable[[Sequence[str], Mapping[str, str], Path], Awaitable[int]]


@dataclass(slots=True, kw_only=True)
class State:
    """What the engine knows of one unit since the boot. Instants are monotonic seconds."""

    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    exit_code: int = 0
    invocation: str = ""
    started: float | None = None
    ended: float | None = None
    triggered_at: datetime | None = None
    due: float | None = None
    loaded: Unit | None = None
    task: asyncio.Task[None] | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Units:
    """The units of one running instance.

    Args:
        root: the instance's root folder. run: executes an argv as root with more environment, in a folder: its exit code.
    """

    def __init__(self, root: Path, run: Run) -> None:
        self.etc = root / "etc/systemd/system"
        self.volatile = root / "run/systemd/system"
        self._stamps = root / "var/lib/systemd/timers"
        self._root = root
        self._run = run
        self._states: dict[str, State] = {}
        self.booted = time.monotonic()

    # --- what there is ---

    def state(self, name: str) -> State:
        """What is known of a unit; of one that never ran, that it is dead."""
        return self._states.setdefault(name, State())

    def find(self, name: str) -> Path | None:
        """Where a unit's file is."""
        return next((path for path in (self.etc / name, self.volatile / name) if path.is_file()), None)

    def is_masked(self, name: str) -> bool:
        """Whether its file is a link to nothing."""
        return os.path.realpath(self.etc / name) == os.devnull

    def load(self, name: str) -> Unit | None:
        """A unit as systemd has it loaded: read once, until ``daemon-reload`` or until it is not active. None: no such unit."""
        state = self.state(name)
        if state.loaded is None or state.active in {"inactive", "failed"}:
            path = None if self.is_masked(name) else self.find(name)
            state.loaded = parse(name, path.read_text(errors="replace")) if path is not None else None
        return state.loaded

    def reload(self) -> None:
        """Read every unit anew when it is next asked for."""
        for state in self._states.values():
            state.loaded = None

    def names(self) -> list[str]:
        """Every unit with a file, in order."""
        return sorted(
            {path.name for folder in (self.etc, self.volatile) for path in folder.glob("*.*") if path.is_file()}
        )

    def wants(self, name: str) -> list[Path]:
        """The links by which a unit is enabled; may be empty."""
        return sorted(self.etc.glob(f"*.wants/{name}"))

    def is_active(self, name: str) -> bool:
        """Whether it is active, or on its way there."""
        return self.state(name).active in {"active", "activating"}

    def timers(self) -> list[str]:
        """The timers that are active."""
        return sorted(
            name for name, state in self._states.items() if name.endswith(".timer") and state.active == "active"
        )

    # --- what is done ---

    def boot(self) -> None:
        """Start what is enabled; a unit that cannot be read keeps no other from starting."""
        self.booted = time.monotonic()
        for name in sorted({link.name for link in self.etc.glob("*.wants/*")}):
            with contextlib.suppress(BadUnit):
                if self.load(name) is not None:
                    self.start(name)

    def start(self, name: str) -> None:
        """Start a unit that is loaded; one that is active is left as it is.

        Raises:
            BadUnit: a setting that cannot be read.
        """
        unit, state = self.load(name), self.state(name)
        if unit is None or self.is_active(name):
            return
        state.over = asyncio.Event()
        state.result, state.started = "success", time.monotonic()
        if name.endswith(".timer"):
            timer = instance_timers.read(unit)
            state.active, state.sub = "active", "waiting"
            state.task = asyncio.ensure_future(self._tick(name, timer))
            return
        programs = commands(unit, environment(unit))
        state.active, state.sub = ("activating", "start") if unit.is_oneshot else ("active", "running")
        state.invocation = uuid.uuid4().hex
        state.task = asyncio.ensure_future(self._serve(unit, state, programs))

    async def stop(self, name: str) -> None:
        """Stop a unit, and every process of a service."""
        state = self.state(name)
        if state.task is not None and not state.task.done() and name.endswith(".timer"):
            state.task.cancel()
        if state.invocation:
            await self._end_processes(state.invocation)
        if state.task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([state.task])
        self._rest(state, "success")

    def stop_all(self) -> None:
        """Start nothing more."""
        for state in self._states.values():
            if state.task is not None:
                state.task.cancel()

    # --- services ---

    async def _serve(self, unit: Unit, state: State, programs: Sequence[Command]) -> None:
        """A service's programs, one after the other."""
        more = {**environment(unit), "INVOCATION_ID": state.invocation}
        folder = Path(unit.last("Service", "WorkingDirectory") or self._root)
        for program in programs:
            try:
                state.exit_code = await self._run(program.argv, more, folder)
            except OSError:
                state.exit_code = 203
            if state.exit_code != 0 and not program.may_fail:
                await self._end_processes(state.invocation)
                self._rest(state, "exit-code" if state.exit_code > 0 else "signal")
                return
        if unit.is_yes("Service", "RemainAfterExit"):
            state.active, state.sub = "active", "exited"
            state.over.set()
            return
        if not unit.is_oneshot:
            await self._end_processes(state.invocation)
        self._rest(state, "success")

    def _rest(self, state: State, result: str) -> None:
        """A unit is no longer active."""
        state.active, state.sub = ("inactive", "dead") if result == "success" else ("failed", "failed")
        state.result, state.due, state.ended = result, None, time.monotonic()
        state.over.set()

    async def _end_processes(self, invocation: str) -> None:
        """End what a service left running: SIGTERM, and SIGKILL after a while."""
        until = time.monotonic() + STOP_S
        number = signal.SIGTERM
        while inside := _processes_of(invocation):
            for pid in inside:
                signal_quietly(pid, number)
            if time.monotonic() > until:
                number = signal.SIGKILL
            await asyncio.sleep(0.01)

    # --- timers ---

    async def _tick(self, name: str, timer: instance_timers.Timer) -> None:
        """Wait for a timer's moments and start its unit at each."""
        state, is_initial = self.state(name), True
        if timer.persistent:
            state.triggered_at = self._stamp(name)
        while True:
            triggered = self.state(timer.unit)
            marks = Marks(
                booted=self.booted,
                started=state.started or 0.0,
                unit_started=triggered.started,
                unit_ended=triggered.ended,
                triggered_at=state.triggered_at,
                is_initial=is_initial,
            )
            wait_s = instance_timers.next_elapse_s(timer, marks, now=time.monotonic(), now_at=datetime.now(UTC))
            if wait_s is None:
                state.sub, state.due = "elapsed", None
                return
            state.sub, state.due = "waiting", time.monotonic() + wait_s
            await asyncio.sleep(wait_s)
            is_initial, state.sub, state.due = False, "running", None
            state.triggered_at = datetime.now(UTC)
            if timer.persistent:
                self._touch(name)
            with contextlib.suppress(BadUnit):
                self.start(timer.unit)
            if self.is_active(timer.unit):
                await self.state(timer.unit).over.wait()

    def _stamp(self, name: str) -> datetime:
        """When a persistent timer last elapsed, in this boot or before; the first time, now."""
        try:
            return datetime.fromtimestamp((self._stamps / f"stamp-{name}").stat().st_mtime, UTC)
        except OSError:
            self._touch(name)
            return datetime.now(UTC)

    def _touch(self, name: str) -> None:
        self._stamps.mkdir(parents=True, exist_ok=True)
        (self._stamps / f"stamp-{name}").touch()


def _processes_of(invocation: str) -> list[int]:
    """The living processes of a service."""
    mark, found = f"INVOCATION_ID={invocation}".encode(), []
    for pid in descendants_of(os.getpid()):
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") and state_of(pid) not in {"", "Z", "X"}:
                found.append(pid)
    return found
