"""The living processes of one run: known by their ``JETRUN_HOME``, which is the test's own, so that nothing else is ever touched."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def living(folder: Path, driver: int) -> dict[str, list[int]]:
    """Pids by what they are: ``driver``, ``guardian``, ``continuer``; ``other`` for the programs that those start.

    Args:
        folder: the desk's, in which the home is. driver: the pid of the run's first process.
    """
    home = f"\0JETRUN_HOME={folder}/".encode()
    found: dict[str, list[int]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if home in Path(entry.path, "environ").read_bytes() and (words := Path(entry.path, "cmdline").read_bytes()):
                argv, role = words.split(b"\0"), "other"
                if int(entry.name) == driver:
                    role = "driver"
                elif b"continue" in argv:
                    role = "continuer"
                elif any(word.endswith(b"/guardian.py") for word in argv):
                    role = "guardian"
                found.setdefault(role, []).append(int(entry.name))
    return found


def kill(pid: int) -> bool:
    """SIGKILL to it; whether it was there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def end_all(folder: Path, driver: int) -> None:
    """Kill until none is left: a guardian that dies may just have made another process."""
    while left := [pid for pids in living(folder, driver).values() for pid in pids]:
        for pid in left:
            kill(pid)
        time.sleep(0.02)
