"""Where two drivers with separate homes race for one instance: an embedded cloud, and a program that starts both at one moment."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from devcloud_subject import embedded_cloud, eventually
from races import WHO, Plan, Raced, Side, judge
from runs import Desk

from jetrun.devcloud.client import Running
from jetrun.devcloud.server import TIMINGS

SCRIPT = 'echo "$WHO" >> "$RACE/ran"\nread -r _ < "$RACE/go"\n'
"""Says that it ran, and goes on until the other driver has ended: one that comes when all is over has lost no race."""

ENDS_S = 60.0
"""Until both drivers must have ended; a race takes one to ten seconds."""


class Lane:
    """Where races are run one after the other: an embedded cloud of its own, so that a fault hits no other race.

    Args:
        program: a running race_drivers.py.
    """

    def __init__(self, cloud: Running, folder: Path, program: subprocess.Popen[bytes]) -> None:
        self._cloud = cloud
        self._folder = folder
        self._program = program
        self._instance = ""
        self._raced = 0

    def race(self, wanted: Plan) -> Raced:
        """One race, on the instance of the race before if that one was good."""
        self._raced += 1
        folder = self._folder / f"race-{self._raced}"
        desks = {who: Desk(cloud=self._cloud, folder=folder / who) for who in WHO}
        self._cloud.do("timings", timings=asdict(TIMINGS["zero"]))
        if not self._instance:
            self._instance = desks["a"].instance(f"vm-{self._raced}")
        _bring(desks["a"], self._instance, wanted.status)
        before = len(desks["a"].truth(self._instance)["actions"])
        self._cloud.do("timings", timings=asdict(TIMINGS[wanted.timings]))
        for fault, call, skip in wanted.lost:
            self._cloud.add_fault(fault, on=call, times=1, skip=skip)
        began = time.monotonic()
        codes = self._drive(desks, wanted, folder)
        took_s = time.monotonic() - began
        left = len(self._cloud.call("GET", "faults"))
        self._cloud.clear_faults()
        truth = desks["a"].truth(self._instance)
        (port,) = [row for row in self._cloud.truth()["ports"] if row["device_id"] == self._instance]
        raced = Raced(
            plan=wanted,
            sides={who: _side(desks[who].folder, codes.get(who, -1)) for who in WHO},
            order=list(codes),
            ran=(folder / "ran").read_text().split() if (folder / "ran").exists() else [],
            actions=truth["actions"][before:],
            port=port["description"],
            is_down=desks["a"].is_down(self._instance),
            struck=len(wanted.lost) - left,
            took_s=took_s,
        )
        raced.problems = judge(raced)
        if raced.problems:
            self._instance = ""
        return raced

    def _drive(self, desks: dict[str, Desk], wanted: Plan, folder: Path) -> dict[str, int]:
        """Both drivers to their ends: their exit codes in that order. The script may end when the first of them has."""
        extra = ["--take-over"] if wanted.status == "ACTIVE" else []
        orders = []
        for who, desk in desks.items():
            words = ["run", str(desk.script(SCRIPT)), "--on", self._instance, "--json", "--quiet", "--timeout", "30s"]
            words += ["--env", f"WHO={who}", "--env", f"RACE={folder}", *extra]
            orders.append({
                "who": who, "words": words, "after_s": wanted.after_s[who], "environ": desk.environ, "folder": str(desk.folder),
                "out": str(desk.folder / "stdout"), "err": str(desk.folder / "stderr"),
            })  # fmt: skip
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps(orders).encode() + b"\n")
        codes: dict[str, int] = {}
        os.mkfifo(folder / "go")
        go = os.open(folder / "go", os.O_RDWR)
        for _ in WHO:
            ready, _, _ = select.select([self._program.stdout], [], [], ENDS_S)
            assert ready, f"in {ENDS_S} s only {codes} of {wanted}; {folder}"
            line = self._program.stdout.readline()
            os.write(go, b"go\ngo\n")
            answer = json.loads(line)
            codes[answer["who"]] = answer["code"]
        os.close(go)
        return codes


def _bring(desk: Desk, instance: str, status: str) -> None:
    """From SHELVED_OFFLOADED into that state, by somebody's actions."""
    for action, reached in (("unshelve", "ACTIVE"), ("stop", "SHUTOFF")):
        if desk.truth(instance)["status"] == status:
            return
        desk.cloud.do("act", user="ada", instance=instance, action=action)
        eventually(lambda reached=reached: desk.truth(instance)["status"] == reached)


def _side(folder: Path, code: int) -> Side:
    """What one driver left behind."""
    records = []
    if (journal := folder / "home" / "journal.sqlite").exists():
        with closing(sqlite3.connect(journal)) as database:
            rows = database.execute("SELECT at, kind, data FROM records ORDER BY run, seq").fetchall()
        records = [(at, kind, json.loads(data)) for at, kind, data in rows]
    out = (folder / "stdout").read_text()
    document = json.loads(out) if out.strip() else {}
    return Side(code=code, document=document, err=(folder / "stderr").read_text(), records=records)


@contextmanager
def lane(folder: Path) -> Iterator[Lane]:
    """A lane with its cloud and its drivers' program, both ended afterwards."""
    with embedded_cloud() as cloud, (folder / "drivers.log").open("wb") as log:
        warming = Desk(cloud=cloud, folder=folder / "warming")
        program = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("race_drivers.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=log, env=warming.environ, cwd=warming.folder, bufsize=0, start_new_session=True,
        )  # fmt: skip
        try:
            yield Lane(cloud, folder, program)
        finally:
            _end(program)


def _end(program: subprocess.Popen[bytes]) -> None:
    """It ends by itself when no order can come any more; drivers that do not end go with it."""
    assert program.stdin is not None
    program.stdin.close()
    try:
        program.wait(timeout=ENDS_S)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    assert program.stdout is not None
    program.stdout.close()
