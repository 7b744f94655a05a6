"""Acceptance C3: random ``kill -9`` of driver, guardian and both, at any instant of a run, on the embedded cloud over real SSH.

    .venv/bin/python tests/e2e/kills.py --kills 200 --seed 7

Nobody types ``continue``. What all processes of a run have left up is the switch's to power off at the lease's deadline; then one
``jetrun reap`` with a fresh home ends the charge. Printed is which layer brought each instance down, and how long after the kill.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from devcloud_subject import embedded_cloud
from kill_plan import Pace, Plan, life
from kill_table import LAYERS, Outcome, table
from killed_run import KilledRun
from runs import Desk

from jetrun.devcloud.client import Running

LEASE_S, LEASE_LIVES, MARGIN_S = 12, 3, 3
"""A lease lasts as long as three lives of a run at the pace of this machine, and twelve seconds at least."""
BOUNDS = {"lease_margin_s": MARGIN_S, "switch_tick_s": 1, "heartbeat_s": 1, "orphan_s": 8, "retry_s": 0.3}
"""As the embedded cloud's own bounds: a tenth of the real ones, or less."""
INSTANCES = 30
"""Most of them wait for the end of a lease, and need nothing meanwhile."""
LOOK_S = 0.15
"""Between two looks at the cloud: how exact an instant is."""
STUCK_LEASES, LOST_S = 4, 30.0
"""After the last signal the processes of a run must have ended within so many leases. An instance without either, no task of whose
is to end, is lost after so many seconds."""
REAP_S = 60.0
"""One sweep: three seconds on an idle machine."""


@dataclass(kw_only=True)
class Experiment:
    """Runs that are killed, several at once, until enough signals were sent.

    Args:
        say: told how far it is, and what is wrong. at_once: runs with living processes.
        only: the plan of this number alone. lease_s: of each run; longer where the machine is slow.
    """

    cloud: Running
    folder: Path
    kills: int
    seed: int
    say: Callable[[str], object]
    at_once: int = 6
    only: int | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    missed: int = 0
    pace: Pace | None = None
    lease_s: int = LEASE_S

    def __post_init__(self) -> None:
        entry = yaml.safe_load(self.cloud.clouds.read_text())
        mine = entry["clouds"]["devcloud"].setdefault("jetrun", {})
        mine["bounds"] = {**mine.get("bounds", {}), **BOUNDS}
        self._clouds = self.folder / "clouds.yaml"
        self._clouds.write_text(yaml.safe_dump(entry))
        self._idle: list[str] = []
        self._made = 0
        self._number = 0
        self._runs: list[KilledRun] = []
        self._reaper: tuple[Desk, subprocess.Popen[bytes], list[KilledRun], float] | None = None
        self._sweeps = 0
        self._looked = 0.0

    # --- the whole ---

    def carry_out(self) -> None:
        """Measure how long a run lives here, then kill."""
        try:
            self._measure()
            while len(self.outcomes) < self.kills:
                coming = sum(not one.missed for one in self._runs)
                busy = sum(not one.quiet_since for one in self._runs)
                if busy < self.at_once and len(self.outcomes) + coming < self.kills and len(self._runs) < INSTANCES:
                    number = self._number if self.only is None else self.only
                    self._runs.append(self._begun(Plan.drawn(self.seed, number)))
                self._turn()
        finally:
            for one in self._runs:
                one.end()
            if self._reaper is not None:
                self._reaper[1].kill()
                self._reaper[1].communicate()

    def _measure(self) -> None:
        """A run's usual life, beside as many others as later."""
        runs = [self._begun(None) for _ in range(self.at_once)]
        self._runs = list(runs)
        while self._runs:
            self._turn()
        self.pace = Pace.of([life(one.log, one.began, one.ended_at) for one in runs])
        self.lease_s = max(self.lease_s, math.ceil(LEASE_LIVES * self.pace.life_s))

    def _begun(self, plan: Plan | None) -> KilledRun:
        """A run on an instance that nobody uses."""
        if not self._idle:
            self._made += 1
            self._idle.append(str(self.cloud.do("add", name=f"vm-{self._made}")["id"]))
        instance = self._idle.pop(0)
        row = self.cloud.truth(instance)
        one = KilledRun(
            number=self._number,
            plan=plan,
            desk=self._desk(f"run-{self._number}"),
            instance=instance,
            pace=self.pace,
            lease_s=self.lease_s,
            margin_s=MARGIN_S,
            offset=len(row["actions"]),
        )
        self._number += 1
        one.begin()
        return one

    def _desk(self, name: str) -> Desk:
        desk = Desk(cloud=self.cloud, folder=self.folder / name, guarded=True)
        desk.extra["OS_CLIENT_CONFIG_FILE"] = str(self._clouds)
        return desk

    def _turn(self) -> None:
        """Strike where it is time, look, and take those away that are through."""
        for one in self._runs:
            one.strike()
        if time.monotonic() - self._looked < LOOK_S:
            time.sleep(0.01)
            return
        self._looked = time.monotonic()
        # Whether anybody lives is asked first: what is seen of an instance is then younger than its last process.
        for one in self._runs:
            if not one.ended_at and one.driver.poll() is not None:
                one.ended_at = time.time()
            if not one.quiet_since and not one.is_alive():
                one.quiet_since = time.time()
        self._end_sweep()
        truth = self.cloud.truth()
        rows = {row["id"]: row for row in truth["instances"]}
        notes = {port["device_id"]: port["description"] for port in truth["ports"]}
        for one in self._runs:
            one.see(rows[one.instance], notes[one.instance])
        self._begin_sweep()
        for one in list(self._runs):
            wrong = self._judged(one)
            if wrong is not None:
                self._close(one, wrong)

    # --- one run's end ---

    def _judged(self, one: KilledRun) -> str | None:
        """None while it goes on; what is wrong with it once it is through, empty for nothing."""
        now = time.time()
        if not one.quiet_since:
            stuck = one.killed and now - one.killed[-1][0] > STUCK_LEASES * self.lease_s
            return f"processes live {STUCK_LEASES} leases after the last signal: {one.living()}" if stuck else None
        if one.claims_verified() and not one.is_free:
            return "its receipt says verified, and it is not down"
        if one.is_free and not one.written:
            return ""
        if not one.written:
            return f"it is {one.row['status']} without a lease" if now - one.quiet_since > LOST_S else None
        return f"one reap has not ended it: {one.reaped}" if one.reaped else None

    def _close(self, one: KilledRun, wrong: str) -> None:
        """Keep what became of it; its instance is free for another run where all is well."""
        one.end()
        self._runs.remove(one)
        layer = one.layer()
        if one.up_past_lease and one.was_armed():
            wrong = wrong or "the switch was armed, and it was up after its lease and margin"
        if layer == "unknown":
            wrong = wrong or "nobody is known to have brought it down"
        if not one.is_up and not one.written:
            self._idle.append(one.instance)
        if not one.killed and not wrong:
            self.missed += one.plan is not None
            return
        timed = layer in LAYERS
        down_s, free_s = (one.seconds(one.off_since), one.seconds(one.free_since)) if timed else (0.0, 0.0)
        freed_by = one.freed_by()
        self.outcomes.append(
            Outcome(run=one, layer=layer, freed_by=freed_by, down_s=down_s, free_s=free_s, wrong=wrong)
        )
        met = ", ".join(f"{whom} in {phase}" for _, whom, phase in one.killed)
        self.say(f"{len(self.outcomes):>4}  number {one.number}: killed {met}: {layer}, {down_s:.1f} s\n")
        if wrong:
            self.say(f"WRONG: {wrong}\n{one.story()}\n")

    def report(self) -> str:
        """The table, and under what circumstances."""
        life_s = self.pace.life_s if self.pace is not None else 0.0
        return (
            f"{table(self.outcomes)}a run's usual life here: {life_s:.1f} s, lease: {self.lease_s} s, at once: {self.at_once}, "
            f"sweeps of the reaper: {self._sweeps}, drawn anew because the run had ended: {self.missed}\n"
        )

    def _end_sweep(self) -> None:
        """Note what the reaper says, once it is through."""
        if self._reaper is None:
            return
        desk, process, waiting, began = self._reaper
        if process.poll() is None and time.time() - began < REAP_S:
            return
        process.kill()
        process.wait()
        said = (desk.folder / "out").read_text()
        for one in waiting:
            one.reaped = next(
                (row["verdict"] for row in _rows(said) if row["instance"] == one.instance), f"said {said!r}"
            )
        self._reaper = None

    def _begin_sweep(self) -> None:
        """One ``jetrun reap`` from elsewhere for all whose lease has expired and of whom nobody lives; never two at a time."""
        now = time.time()
        waiting = [
            one for one in self._runs if one.quiet_since and one.written and not one.reaped and now > one.due_at + 1
        ]
        if not waiting or self._reaper is not None:
            return
        self._sweeps += 1
        desk = self._desk(f"reaper-{self._sweeps}")
        with (desk.folder / "out").open("wb") as out, (desk.folder / "err").open("wb") as err:
            self._reaper = (desk, desk.start("reap", "--json", stdout=out, stderr=err), waiting, now)


def _rows(said: str) -> list[dict[str, Any]]:
    """What the reaper printed; empty where it is no document."""
    try:
        return list(json.loads(said))
    except ValueError:
        return []


def main(argv: Sequence[str]) -> int:
    """Carry out the experiment and print its table; 0 where nothing is up and nothing is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--at-once", type=int, default=6, help="runs with living processes")
    parser.add_argument("--only", type=int, help="the plan of this number alone, again and again")
    parser.add_argument("--keep", type=Path, help="a new folder for what the runs leave behind")
    asked = parser.parse_args(argv)
    # As a Ctrl-C: what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    with ExitStack() as stack:
        folder = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills")))
        folder.mkdir(parents=True, exist_ok=True)
        cloud = stack.enter_context(embedded_cloud(timings="quick"))
        experiment = Experiment(
            cloud=cloud,
            folder=folder,
            say=sys.stdout.write,
            kills=asked.kills,
            seed=asked.seed,
            at_once=asked.at_once,
            only=asked.only,
        )
        experiment.carry_out()
        sys.stdout.write(f"{experiment.report()}seed: {asked.seed}, took {time.monotonic() - began:.0f} s\n")
    return 1 if any(one.wrong or one.run.is_up for one in experiment.outcomes) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
