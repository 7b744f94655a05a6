"""A process of the lab: started in a session of its own, known by pid and start time, ended for good."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab import place


def started_at(pid: int) -> str | None:
    """The start of a process in clock ticks since boot (field 22 of stat); None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    after = text.rpartition(")")[2].split()
    return None if after[0] == "Z" else after[19]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A process that was started earlier and is still that very one."""

    pid: int
    start: str

    @classmethod
    def read(cls, name: str) -> Recorded | None:
        try:
            pid, start = (place.RUN / f"{name}.pid").read_text().split()
        except (OSError, ValueError):
            return None
        return cls(pid=int(pid), start=start) if started_at(int(pid)) == start else None

    @staticmethod
    def note(name: str, pid: int) -> None:
        (place.RUN / f"{name}.pid").write_text(f"{pid} {started_at(pid)}\n")

    @staticmethod
    def forget(name: str) -> None:
        (place.RUN / f"{name}.pid").unlink(missing_ok=True)

    def is_there(self) -> bool:
        return started_at(self.pid) == self.start

    def signal(self, number: signal.Signals) -> None:
        if self.is_there():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait_gone(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while self.is_there():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


class ServiceError(RuntimeError):
    """A service did not come up; the message ends with its last lines."""


def answers(url: str) -> bool:
    """Whether an HTTP server is there; any answer will do."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=3).close()
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
    return True


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service.

    Attributes:
        command: what to run, in the foreground.
        ready: when it is at work; None for those that are looked at otherwise.
        settings: files below ETC; a change of one restarts it.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        return place.LOG / f"{self.name}.log"

    def running(self) -> Recorded | None:
        return Recorded.read(self.name)

    def start(self) -> None:
        """Starts it, unless it runs."""
        if self.running() is not None:
            return
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        environment = {"PATH": place.PATH, "LC_ALL": "C.UTF-8", "HOME": str(place.STATE), **self.environ}
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        wires = [(os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
        program = shutil.which(self.command[0], path=environment["PATH"])
        if program is None:
            raise ServiceError(f"{self.name}: there is no program {self.command[0]}")
        # It outlives whoever starts it, a test among them, so no object of this process stands for it.
        pid = os.posix_spawn(program, self.command, environment, file_actions=wires, setsid=True)
        os.close(output)
        os.close(nothing)
        Recorded.note(self.name, pid)

    def stop(self, patience_s: float = 15) -> None:
        """Ends it and its session: asked first, then made."""
        recorded = self.running()
        if recorded is not None:
            recorded.signal(signal.SIGTERM)
            recorded.wait_gone(patience_s)
            self._end_session(recorded.pid)
            recorded.wait_gone(5)
        Recorded.forget(self.name)

    def kill(self) -> None:
        """Ends it at once, as a crash would, with its children."""
        recorded = self.running()
        if recorded is None:
            raise ServiceError(f"{self.name} does not run")
        self._end_session(recorded.pid)
        recorded.wait_gone(10)
        Recorded.forget(self.name)

    @staticmethod
    def _end_session(leader: int) -> None:
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == leader:
                    os.kill(int(entry.name), signal.SIGKILL)

    def wait(self, seconds: float = 90) -> None:
        """Until it is ready.

        Raises:
            ServiceError: it died, or is not ready in time.
        """
        end = time.monotonic() + seconds
        while self.ready is not None and not self.ready():
            if self.running() is None:
                raise ServiceError(f"{self.name} ended\n{self.last_lines()}")
            if time.monotonic() > end:
                raise ServiceError(f"{self.name} is not ready after {seconds:.0f} s\n{self.last_lines()}")
            time.sleep(0.1)

    def last_lines(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-15:] if self.log.exists() else []
        return "\n".join([f"  {self.log}:", *("    " + line for line in lines)])
