"""A10: the driver's memory, and what following costs a script that prints a lot: its own wall time, as it measures it itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figures import Figure, in_turn, insist
from runs import Desk

PRINTED_BYTES = 200_000_000
LINE = "x" * 99
MEMORY_MB = 120.0
SLOWER = 1.05
"""Bounds of the project's acceptance, A10."""

SCRIPT = f"""\
began=$(date +%s%N)
awk 'BEGIN {{ for (i = 0; i < {PRINTED_BYTES // 100}; i++) {{ x = 0; for (j = 0; j < 20; j++) x += j; print "{LINE}" }} }}'
ended=$(date +%s%N)
echo $((ended - began)) >took
"""
"""Some seconds of work between the lines, as programs that print have."""

UNFOLLOWED = Path(__file__).with_name("unfollowed.py")


def printing(desk: Desk, rounds: int) -> Iterator[Figure]:
    """A null job's memory, then the printing script with following on and off."""
    key = desk.instance("printing")
    null = desk.script("true\n", "null.sh")
    _, quiet = _run(desk, [sys.executable, "-m", "jetrun"], null, key)
    yield Figure(what="driver's peak memory, null job", values=[quiet], unit="MB", bound=MEMORY_MB)
    script = desk.script(SCRIPT, "print.sh")
    peaks: list[float] = []

    def followed() -> float:
        took, peak = _run(desk, [sys.executable, "-m", "jetrun"], script, key)
        peaks.append(peak)
        return took

    def unfollowed() -> float:
        return _run(desk, [sys.executable, str(UNFOLLOWED)], script, key)[0]

    on, off = in_turn(rounds, followed, unfollowed)
    what = f"driver's peak memory, {PRINTED_BYTES // 1_000_000} MB printed"
    yield Figure(
        what=what, values=peaks, unit="MB", bound=min(MEMORY_MB, quiet + 8), why="a null job's, and 8 MB of buffers"
    )
    yield Figure(what="script that prints them, following off", values=off)
    yield Figure(what="script that prints them, followed", values=on)
    ratios = [one / other for one, other in zip(on, off, strict=True)]
    yield Figure(what="followed over not followed", values=ratios, unit="", bound=SLOWER)


def _run(desk: Desk, command: list[str], script: Path, key: str) -> tuple[float, float]:
    """One run: (the script's own wall time in seconds, 0 where it takes none; the driver's peak memory in MB)."""
    folder = desk.folder / "printed"
    words = ["run", str(script), "--on", key, "--output-dir", str(folder)]
    if script.name != "null.sh":
        words += ["-o", "took"]
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    (folder / "took").unlink(missing_ok=True)
    with subprocess.Popen([*command, *words], cwd=desk.folder, env=desk.environ, **options) as driver:
        peak = 0.0
        while driver.poll() is None:
            peak = max(peak, _high_water_mb(driver.pid))
            time.sleep(0.05)
        errors = driver.stderr.read() if driver.stderr is not None else b""
    insist(driver.returncode == 0, errors.decode(errors="replace"))
    _forget_logs(desk)
    took = folder / "took"
    return (int(took.read_text()) / 1e9 if took.exists() else 0.0), peak


def _high_water_mb(pid: int) -> float:
    """The most memory the process has had so far (VmHWM). It only grows, so the last look is the peak but for 50 ms."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:")), 0.0)


def _forget_logs(desk: Desk) -> None:
    """Room on the disk, and nothing left to be written while the next script is timed."""
    for log in (desk.folder / "home" / "runs").glob("*/log"):
        log.unlink()
    for log in desk.cloud.folder.glob("**/.jetrun/*/log"):
        log.unlink()
    os.sync()
