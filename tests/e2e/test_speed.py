"""How long things take and what the driver needs, by bounds that a busy machine keeps; ``make bench`` has the true ones."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from pathlib import Path

import pytest
from runs import Desk

from jetrun.devcloud.client import Running


@pytest.fixture
def desk(cloud: Running, tmp_path: Path) -> Desk:
    return Desk(cloud=cloud, folder=tmp_path)


def used(desk: Desk, *words: str) -> tuple[float, float]:
    """A run to its end: (processor time of the driver alone in seconds, its peak memory in MB)."""
    driver = desk.start("run", *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak_mb = cpu_s = 0.0
    while os.waitid(os.P_PID, driver.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{driver.pid}/status").read_text().splitlines())
        peak_mb = max(peak_mb, int(status.get("VmHWM", "0 kB").split()[0]) / 1000)
        fields = Path(f"/proc/{driver.pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        time.sleep(0.02)
    assert driver.wait() == 0
    return cpu_s, peak_mb


def test_help_is_quick(desk: Desk) -> None:
    """A8: nothing heavy is imported for it. 0.15 s on an idle machine."""

    def ask() -> float:
        began = time.perf_counter()
        assert desk.jetrun("--help").code == 0
        return time.perf_counter() - began

    ask()
    assert statistics.median(ask() for _ in range(7)) < 0.45


def test_a_null_job_is_over_soon(desk: Desk) -> None:
    """A8: from SHELVED_OFFLOADED to proven down, with nothing in between. 2 s on an idle machine."""
    key = desk.instance("quick")
    script = desk.script("true\n")
    took = []
    for _ in range(3):
        began = time.perf_counter()
        ended = desk.run(script, on=key)
        took.append(time.perf_counter() - began)
        assert ended.code == 0, ended.err
        assert ended.document["receipt"]["verified"]
    assert min(took) < 6.0


def test_output_faster_than_anyone_reads_costs_neither_memory_nor_a_processor(desk: Desk) -> None:
    """A10: the driver sips at a log that runs away from it, and the whole log is there in the end."""
    key = desk.instance("loud")
    script = desk.script("head -c 200000000 /dev/zero\nsleep 4\n")
    quiet_cpu_s, quiet_mb = used(desk, str(desk.script("true\n", "quiet.sh")), "--on", key, "--quiet")
    loud_cpu_s, loud_mb = used(desk, str(script), "--on", key, "--quiet")
    assert loud_mb < 120
    assert loud_mb < quiet_mb + 20
    # One that takes each byte as soon as it may has used these four seconds and more.
    assert loud_cpu_s < quiet_cpu_s + 2.0
    logs = sorted((desk.folder / "home" / "runs").glob("*/log"), key=lambda path: path.stat().st_size)
    assert logs[-1].stat().st_size == 200_000_000
    for log in logs:
        log.unlink()
