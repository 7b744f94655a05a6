"""The namespaces of the lab (mounts, network, processes, host name): make them, enter them, end them with all that is inside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import place
from lab.services import Recorded

KEEPER = "keeper"
KINDS = {"mount": "mnt", "net": "net", "uts": "uts", "ipc": "ipc", "pid": "pid_for_children"}


class LabError(RuntimeError):
    """The lab cannot be brought up or reached; the message says why and what to look at."""


def keeper() -> Recorded | None:
    """The process that holds the namespaces; None when there are none."""
    return Recorded.read(KEEPER)


def start() -> None:
    """Makes the namespaces, unless they are there.

    Raises:
        LabError: this machine does not allow it.
    """
    if keeper() is not None:
        return
    for folder in (place.RUN, place.LOG, place.ETC, place.LOCKS):
        folder.mkdir(parents=True, exist_ok=True)
    for old in place.RUN.iterdir():
        old.unlink() if not old.is_dir() else None
    log = place.LOG / "keeper.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc",
             sys.executable, "-m", "lab.keeper"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=environ(),
        )  # fmt: skip
    Recorded.note(KEEPER, process.pid)
    end = time.monotonic() + 20
    while not (place.RUN / "keeper.ready").exists():
        if process.poll() is not None or time.monotonic() > end:
            raise LabError(f"the lab's namespaces could not be made: {log.read_text()[-600:]}")
        time.sleep(0.02)


def environ(more: Mapping[str, str] = {}) -> dict[str, str]:
    """What a process of the lab sees: nothing of the caller's OpenStack, proxies or Python."""
    kept = {key: os.environ[key] for key in ("HOME", "TERM", "LANG", "CI") if key in os.environ}
    return {
        **kept,
        "PATH": place.PATH,
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(place.HERE.parent),
        "JETRUN_LAB": str(place.STATE),
        "JETRUN_LAB_CACHE": str(place.CACHE),
        **more,
    }


def entering() -> list[str]:
    """The words that, before a command, run it inside.

    Raises:
        LabError: the lab is not up.
    """
    held = keeper()
    if held is None:
        raise LabError("the lab is not up\n  next: make openstack-up")
    where = Path("/proc") / str(held.pid) / "ns"
    return ["nsenter", *(f"--{kind}={where / name}" for kind, name in KINDS.items())]


def enter(command: Sequence[str], env: Mapping[str, str] | None = None) -> int:
    """Runs *command* inside, in the folder where the caller is: its exit code."""
    # Entering mounts ends at their root, so the folder is named again.
    inside = [*entering(), "sh", "-c", 'cd "$0" && exec "$@"', str(Path.cwd()), *command]
    with subprocess.Popen(inside, env=dict(env) if env else None) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            return process.wait()


def stop() -> None:
    """Ends the namespaces and every process in them."""
    held = keeper()
    if held is not None:
        held.signal(signal.SIGKILL)
        held.wait_gone(20)
    Recorded.forget(KEEPER)
