"""Driver processes that start at one moment: a program that has jetrun imported and forks a process for each command line.

``python race_drivers.py`` reads one order a line on stdin and writes one line on stdout for each driver that ends.
A start of Python with jetrun's libraries costs half a second of processor time, which two racing drivers would have to share; a
fork costs nothing, so that their offset is the one that was asked for. What they share is their code: each has its own process,
environment, folder, home and sockets.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import sys
import threading
import time
from typing import Any, NoReturn

import jetrun
from jetrun.__main__ import leave

LEAD_S = 0.04
"""From an order to the moment that offsets count from: both forks are there by then (4 to 34 ms on a busy machine)."""

NOT_OF_A_RUN = ("jetrun.devcloud", "jetrun.testing", "jetrun.__main__")


def warm() -> None:
    """Import what a run imports, and have a run refused, in this process's own home: what is looked up once is then there."""
    for found in pkgutil.walk_packages(jetrun.__path__, "jetrun."):
        if not found.name.startswith(NOT_OF_A_RUN):
            importlib.import_module(found.name)
    importlib.import_module("fabric")
    from jetrun.cli.app import run_app

    code = run_app(["run", "--on", "no-such-instance", "--json", "--", "true"])
    assert code == 2, f"it was not refused but ended with {code}"
    assert threading.active_count() == 1, "a fork has its own thread only"
    gc.collect()
    gc.freeze()


def become(driver: dict[str, Any], at: float) -> NoReturn:
    """This process, a fork, is ``jetrun`` with these words from now on."""
    for descriptor, name, flags in ((0, os.devnull, os.O_RDONLY), (1, driver["out"], 0), (2, driver["err"], 0)):
        os.dup2(os.open(name, flags or os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    os.environ.clear()
    os.environ.update(driver["environ"])
    os.chdir(driver["folder"])
    sys.argv = ["jetrun", *driver["words"]]
    from jetrun.cli.app import run_app  # imported long ago, by ``warm``

    time.sleep(max(0.0, at + driver["after_s"] - time.monotonic()))
    leave(run_app(driver["words"]))


def main() -> None:
    """Orders, until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warm()
    while line := sys.stdin.readline():
        at = time.monotonic() + LEAD_S
        drivers: dict[int, str] = {}
        for driver in json.loads(line):
            pid = os.fork()
            if pid == 0:
                become(driver, at)
            drivers[pid] = driver["who"]
        while drivers:
            pid, status = os.wait()
            answers.write(json.dumps({"who": drivers.pop(pid), "code": os.waitstatus_to_exitcode(status)}) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
