"""Processes below a process, by /proc: found, and killed until none is left."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def descendants_of(pid: int) -> list[int]:
    """All processes below *pid*, in no order."""
    found, waiting = [], [pid]
    while waiting:
        for child in children_of(waiting.pop()):
            found.append(child)
            waiting.append(child)
    return found


def kill_below(pid: int) -> None:
    """Kill everything below *pid*, until nothing lives there: what is killed may just have started something."""
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        inside = [one for one in descendants_of(pid) if state_of(one) not in {"", "Z", "X"}]
        if not inside:
            return
        for one in inside:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    """The children of every thread of *pid*."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - names only
    except OSError:
        return []
    found = []
    for thread in threads:
        try:
            found += [int(one) for one in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()]
        except OSError:
            continue
    return found


def state_of(pid: int) -> str:
    """The letter of a process's state, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
