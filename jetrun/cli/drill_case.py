"""One case of a drill: a run of jetrun's own, killed for real; the instance is watched from outside until it is down.

Each case has a home of its own. Nothing is simulated but the cloud, where none is named: then it is the embedded one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from jetrun.cli.environment import environment
from jetrun.errors import CloudError, UsageError
from jetrun.guarantee.power import Disposition, InstanceId, is_down

CUT_S = 4.0
"""How long the network is cut."""

JOB = """\
name = "drill"
script = "drill.sh"
inputs = ["drill.txt"]
outputs = ["result.txt"]
timeout = "{timeout}"
grace = "1s"
[instance]
on = "{on}"
max_lifetime = "{lease}"
[email]
to = ["drill@localhost"]
[budget]
boot = "{budget}"
stage_in = "{budget}"
stage_out = "{budget}"
shutdown = "{budget}"
"""
CONFIG = '[smtp]\nhost = "127.0.0.1"\nport = {port}\nsender = "jetrun@localhost"\nsecurity = "none"\ntimeout = "5s"\n'
DEAD_PORT = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One case.

    Attributes:
        ended_by: ``driver``, ``guardian``, ``switch, then reaper`` or ``reaper``; empty where nobody did in time.
        seconds: from the kill until the instance was down, for the lease's disposition. off_s: until it was at least powered off.
        cost: of the run, by the cloud's profile; an upper bound. mail: what became of it.
    """

    phase: str
    killed: str
    down: bool
    ended_by: str
    seconds: float | None
    off_s: float | None
    cost: float | None
    unit: str
    mail: str
    exit_code: int | None
    note: str = ""

    @classmethod
    def failed(cls, phase: str, killed: str, why: str) -> Self:
        """A case that could not be played."""
        nothing: dict[str, Any] = dict.fromkeys(("seconds", "off_s", "cost", "exit_code"))
        return cls(phase=phase, killed=killed, down=False, ended_by="", unit="", mail="none", note=why, **nothing)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(kw_only=True)
class Place:
    """Where the cases run.

    Attributes:
        environ: of every process. times: of the job: ``timeout``, ``lease``, ``budget``. lease_s: after so long a reaper comes by,
            whatever the switch did. wait_s: for the whole of one case.
        cut: cuts the network, and gives what joins it again; None where it cannot be cut from here.
        mail_port: a mail server's, None for the user's own configuration.
    """

    environ: Mapping[str, str]
    times: Mapping[str, str]
    lease_s: float
    wait_s: float
    poll_s: float
    mail_port: int | None = None
    cut: Callable[[], Callable[[], None]] | None = None
    job: str = JOB


class Case:
    """One run, what is killed of it, and who ends it.

    Args:
        folder: its own; holds the home, the job and the log.
    """

    def __init__(self, folder: Path, place: Place, instance: InstanceId, phase: str, killed: str) -> None:
        self._folder, self._place, self._instance = folder, place, instance
        self._phase, self._killed = phase, killed
        folder.mkdir(parents=True, exist_ok=True)
        self._environ = {**os.environ, **place.environ, "JETRUN_HOME": str(folder / "home")}
        if place.mail_port is not None or killed == "mail":
            (folder / "config.toml").write_text(
                CONFIG.format(port=DEAD_PORT if killed == "mail" else place.mail_port), encoding="ascii"
            )
            self._environ["JETRUN_CONFIG"] = str(folder / "config.toml")
        (folder / "drill.txt").write_text("drill\n", encoding="ascii")
        script = folder / "drill.sh"
        script.write_text("#!/bin/sh\necho begun\nsleep 2\ncat drill.txt > result.txt\n", encoding="ascii")
        script.chmod(0o755)
        (folder / "job.toml").write_text(place.job.format(on=instance, **place.times), encoding="ascii")
        self._driver: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Watch the cloud from outside, through a home that no run uses."""
        from jetrun.wiring import House  # noqa: PLC0415

        with environment({**self._environ, "JETRUN_HOME": str(self._folder / "outside")}):
            self._house = House()
            self._cloud = self._house.open_cloud(self._house.choose_cloud(self._place.environ["OS_CLOUD"]))
        return self

    def __exit__(self, *_: object) -> None:
        """End what is left of the case."""
        self._house.__exit__(None, None, None)
        if self._driver is not None and self._driver.poll() is None:
            # In order: whoever breaks a drill off must not leave an instance up by it.
            self._driver.terminate()
            self._driver.wait()

    def play(self) -> Row:
        """Run, kill, watch."""
        self._driver = self._jetrun("run", "job.toml", to="run.log")
        join = self._strike() if self._reached() else None
        struck = time.monotonic()
        joined_at = struck + CUT_S
        off_s: float | None = None
        down_s: float | None = None
        while down_s is None and time.monotonic() - struck < self._place.wait_s:
            time.sleep(self._place.poll_s)
            if join is not None and time.monotonic() > joined_at:
                join()
                join = None
            read = self._read() if join is None else None
            if read is None:
                continue
            if off_s is None and is_down(read, Disposition.STOP):
                off_s = round(time.monotonic() - struck, 1)
            if is_down(read, Disposition.SHELVE) and self._is_left() and self._is_over():
                down_s = round(time.monotonic() - struck, 1)
            elif self._killed == "both" and self._is_a_reapers(read, time.monotonic() - struck):
                self._jetrun("reap", to="reap.log", home="elsewhere").wait()
        if join is not None:
            join()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._driver.wait(self._place.wait_s)
        return self._row(down_s, off_s)

    # --- what it does ---

    def _jetrun(self, *words: str, to: str, home: str = "home") -> subprocess.Popen[bytes]:
        """One command line of jetrun's."""
        with (self._folder / to).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "jetrun", *words],
                cwd=self._folder,
                env={**self._environ, "JETRUN_HOME": str(self._folder / home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _reached(self) -> bool:
        """Wait until the run is in its phase; whether it came there."""
        until = time.monotonic() + self._place.wait_s
        while time.monotonic() < until:
            if any(one["event"] == "phase.entered" and one["phase"] == self._phase for one in self._events()):
                return True
            if self._driver is None or self._driver.poll() is not None:
                return False
            time.sleep(0.01)
        return False

    def _strike(self) -> Callable[[], None] | None:
        """Kill what is to be killed; what joins a network again that was cut."""
        if self._killed == "network" and self._place.cut is not None:
            return self._place.cut()
        pids = []
        if self._killed in {"guardian", "both"}:
            pids.append(self._guardian())
        if self._killed in {"driver", "both"} and self._driver is not None:
            pids.append(self._driver.pid)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return None

    def _guardian(self) -> int:
        """The guardian's pid: it stands before anything spends."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            for note in (self._folder / "home/runs").glob("*/guardian.pid"):
                if word := note.read_text():
                    return int(word)
            time.sleep(0.01)
        raise UsageError(code="drill-no-guardian", what="no guardian stands", next=f"cat {self._folder}/run.log")

    # --- what it sees ---

    def _events(self) -> list[dict[str, Any]]:
        """The run's log, as far as it is written."""
        found = next(iter((self._folder / "home/runs").glob("*/run.jsonl")), None)
        if found is None:
            return []
        lines = found.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def _read(self) -> Any:
        """A fresh observation, None where the cloud does not answer."""
        try:
            return self._cloud.observe(self._instance)
        except CloudError:
            return None

    def _is_a_reapers(self, read: Any, waited_s: float) -> bool:
        """Whether it is time for a reaper: the switch has fired, or, where none was armed yet, the lease is over."""
        return is_down(read, Disposition.STOP) or waited_s > self._place.lease_s

    def _is_over(self) -> bool:
        """Whether the run has ended, or nobody is left to carry it: what is down before it was ever started does not count."""
        return self._killed == "both" or any(one["event"] == "run.finished" for one in self._events())

    def _is_left(self) -> bool:
        """Whether the lease is given back, which is the last thing that whoever ended it does."""
        try:
            port = self._cloud.lease_port(self._instance)
        except CloudError:
            return False
        return port is None or not port.description.startswith("jetrun")

    def _row(self, down_s: float | None, off_s: float | None) -> Row:
        """What became of it."""
        shown = subprocess.run(
            [sys.executable, "-P", "-m", "jetrun", "show", "last", "--json"],
            cwd=self._folder, env=self._environ, capture_output=True, check=False,
        )  # fmt: skip
        try:
            document = json.loads(shown.stdout)
        except ValueError:
            document = {}
        verified = bool((document.get("receipt") or {}).get("verified"))
        if self._killed == "both" and not verified:
            started = any(one["event"] == "lease.granted" for one in self._events())
            switched = any(one["event"] == "switch.armed" for one in self._events())
            by = "nobody: not begun" if not started else "switch, then reaper" if switched else "reaper"
        else:
            by = "guardian" if self._was_continued() else "driver"
        return Row(
            phase=self._phase,
            killed=self._killed,
            down=down_s is not None,
            ended_by=by if down_s is not None else "",
            seconds=down_s,
            off_s=off_s,
            cost=(document.get("cost") or {}).get("run"),
            unit=str((document.get("cost") or {}).get("unit", "")),
            mail=str((document.get("mail") or {}).get("state", "none")),
            exit_code=document.get("exit_code"),
        )

    def _was_continued(self) -> bool:
        """Whether a guardian has started something that carried the run."""
        return any(note.stat().st_size for note in (self._folder / "home/runs").glob("*/guardian.log"))
