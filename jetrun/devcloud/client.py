"""Starting, finding, driving and ending an embedded cloud from outside: for the CLI, the demo and the tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetrun.errors import UsageError

READY_S = 20.0
"""Until it must be there: it needs half a second on an idle machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A running embedded cloud, as its devcloud.json says."""

    folder: Path
    pid: int
    start_time: str
    url: str
    token: str
    mail_port: int
    mail_folder: Path
    ssh_port: int
    key: Path
    clouds: Path

    def is_alive(self) -> bool:
        """Whether that very process lives."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return fields[19] == self.start_time and fields[0] not in {"Z", "X"}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call of its admin door; the JSON answer, None without one."""
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.url}/admin/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Admin-Token": self.token, "Content-Type": "application/json"},
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
                data = answer.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise UsageError(
                code="devcloud-refused", what=f"the embedded cloud refuses: {text}", next="jetrun devcloud status"
            ) from error
        return json.loads(data) if data else None

    def truth(self, instance: str = "") -> Any:
        """What is really so: of all instances, or of the one with that name or id."""
        truth = self.call("GET", "truth")
        if not instance:
            return truth
        return next(row for row in truth["instances"] if instance in (row["id"], row["name"]))

    def do(self, what: str, **more: Any) -> Any:
        """What somebody else or the staff does."""
        return self.call("POST", "do", {"what": what, **more})

    def add_fault(self, name: str, **more: Any) -> None:
        """Set a fault."""
        self.call("POST", "faults", {"name": name, **more})

    def clear_faults(self) -> None:
        """Remove all faults."""
        self.call("DELETE", "faults")


def find(folder: Path) -> Running | None:
    """The embedded cloud of *folder*, if it runs."""
    try:
        data = json.loads((folder / "devcloud.json").read_text())
    except (OSError, ValueError):
        return None
    running = Running(
        folder=folder,
        pid=data["pid"],
        start_time=data["start_time"],
        url=data["url"],
        token=data["token"],
        mail_port=data["mail_port"],
        mail_folder=Path(data["mail_folder"]),
        ssh_port=data["ssh_port"],
        key=Path(data["key"]),
        clouds=Path(data["clouds"]),
    )
    return running if running.is_alive() else None


def start(folder: Path, *, timings: str = "quick", port: int = 0, arguments: tuple[str, ...] = ()) -> Running:
    """Start an embedded cloud in *folder*, or give the one that runs there.

    Raises:
        UsageError: it did not come up.
    """
    running = find(folder)
    if running is not None:
        return running
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "devcloud.json").unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "jetrun.devcloud.server",
        "--dir",
        str(folder),
        "--timings",
        timings,
        "--port",
        str(port),
    ]
    with (folder / "devcloud.log").open("ab") as log:
        child = subprocess.Popen(
            [*command, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        running = find(folder)
        if running is not None:
            child.returncode = 0  # it is meant to outlive this object; ``stop`` waits for it by its pid
            return running
        if child.poll() is not None:
            break
        time.sleep(0.02)
    child.kill()
    child.wait()
    tail = (folder / "devcloud.log").read_text(errors="replace")[-800:]
    raise UsageError(
        code="devcloud-not-up",
        what=f"the embedded cloud did not come up: {tail}",
        next=f"cat {folder / 'devcloud.log'}",
    )


def stop(running: Running) -> None:
    """End it, and wait until it is gone."""
    if not running.is_alive():
        return
    os.kill(running.pid, signal.SIGTERM)
    until = time.monotonic() + 10
    while running.is_alive() and time.monotonic() < until:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(running.pid, os.WNOHANG)
        time.sleep(0.02)
    if running.is_alive():
        os.kill(running.pid, signal.SIGKILL)
