"""``kill -9`` of driver, guardian and both, at moments drawn by lot, on virtual machines: whoever is left brings the instance down.

Three in CI; ``make openstack-long`` draws twenty (``JETRUN_REAL_KILLS``, ``JETRUN_SEED``).
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
import truth
from desk import Desk
from faulty import note, when
from machine import Machine

MOMENTS = ("lease.granted", "instance.up", "switch.armed", "script.started", "script.ended", "outputs.staged")
KILLS = int(os.environ.get("JETRUN_REAL_KILLS", "3"))
DRAWN = random.Random(int(os.environ.get("JETRUN_SEED", "1")))  # noqa: S311 - the same draws again
LIFE_S = 215
"""Of the lease: what a job of this size needs at least, and how long the last of the layers may take."""

ARRIVES_S = 8.0
"""For a start that was on its way when everything was killed."""

JOB = """
script = "job.sh"
outputs = ["done"]
timeout = "30s"
grace = "1s"
disposition = "stop"
on_driver_loss = "continue"
[instance]
on = "{on}"
max_lifetime = "{life}s"
[budget]
boot = "90s"
stage_in = "10s"
stage_out = "10s"
shutdown = "30s"
"""


def draws() -> list[tuple[str, str, float]]:
    """Whom, when, and how long after that; in CI one of each, all after the switch was armed, so that no lease is waited for."""
    if KILLS == 3:
        return [("driver", "script.started", 1.0), ("guardian", "switch.armed", 0.5), ("both", "script.started", 2.0)]
    whom = [("driver", "guardian", "both")[number % 3] for number in range(KILLS)]
    return [(one, DRAWN.choice(MOMENTS), DRAWN.uniform(0, 3)) for one in whom]


def guardian_of(desk: Desk) -> int:
    """The pid of the newest run's guardian."""
    notes = sorted((desk.folder / "home/runs").glob("*/guardian.pid"), key=lambda path: path.stat().st_mtime)
    return int(notes[-1].read_text())


@pytest.mark.parametrize(("whom", "moment", "after_s"), draws())
def test_whoever_is_killed_somebody_brings_it_down(
    desk: Desk, machine: Machine, whom: str, moment: str, after_s: float
) -> None:
    desk.bounds |= {"orphan_s": 25, "switch_tick_s": 10, "retry_s": 2}
    desk.write_clouds()
    machine.be("SHUTOFF")
    desk.script("sleep 5\ndate > done\n")
    path = desk.folder / "kill.toml"
    path.write_text(JOB.format(on=machine.name, life=LIFE_S))
    run = desk.start("run", str(path), "--json")
    when(lambda: desk.has_seen(moment), 150)
    time.sleep(after_s)
    pids = {"driver": [run.process.pid], "guardian": [guardian_of(desk)]}
    for pid in pids.get(whom, [pid for each in pids.values() for pid in each]):
        os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    if whom != "guardian":
        run.process.wait()
    if whom == "both":
        time.sleep(ARRIVES_S)
        truth.eventually(lambda: is_off(desk, machine, killed_at), LIFE_S + 120, every_s=0.5)
        off_s = time.monotonic() - killed_at
        ended = desk.jetrun("continue", "last", "--only-end", "--json")
    else:
        truth.eventually(lambda: desk.has_seen("run.finished"), 300)
        off_s = time.monotonic() - killed_at
        ended = desk.jetrun("show", "last", "--json")
    assert ended.receipt is None or ended.is_verified, str(ended)
    found = truth.row(machine.id)
    assert found.is_down, found
    by = {"driver": "its guardian", "guardian": "the driver"}.get(whom, "the switch, or a reaper")
    note(f"kill -9 of {whom} {after_s:.1f} s after {moment} (ended by {by}, {off_s:.0f} s)", ended, found)


def is_off(desk: Desk, machine: Machine, killed_at: float) -> bool:
    """Whether nothing of it runs, as libvirt says. Once the lease is over a reaper comes by, as cron lets it."""
    if not truth.row(machine.id).runs:
        return True
    if time.monotonic() - killed_at > LIFE_S + 15:
        desk.jetrun("reap")
    return False
