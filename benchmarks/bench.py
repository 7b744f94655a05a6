"""The speed and memory that jetrun promises, measured here: ``make bench``. Prints one table; exit code 1 when a bound is not kept.

python benchmarks/bench.py [help] [null] [sync] [output] [--rounds N]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "e2e")]

import null_job  # noqa: E402 - the tests' desk and servers are beside the tests
import output  # noqa: E402
import sync  # noqa: E402
from figures import HEAD, Figure, say  # noqa: E402
from runs import Desk  # noqa: E402

from jetrun.devcloud import client  # noqa: E402

SECTIONS = {
    "help": (null_job.helping, 20),
    "null": (null_job.null_job, 10),
    "sync": (sync.syncing, 10),
    "output": (output.printing, 10),
}
"""What is measured, and how often."""


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="all of them by default")
    parser.add_argument("--rounds", type=int, default=0, help="instead of 10 (20 for the help)")
    asked = parser.parse_args()
    say(f"load of this machine now: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n{HEAD}")
    kept = True
    for figure in _figures(asked.sections or list(SECTIONS), asked.rounds):
        say(figure.row())
        kept = kept and figure.is_kept
    return 0 if kept else 1


def _figures(sections: list[str], rounds: int) -> Iterator[Figure]:
    """Every figure, as it comes, on one embedded cloud without delays of its own."""
    # A control socket's path is short; mkdtemp makes the folder private.
    with tempfile.TemporaryDirectory(prefix="jb", dir="/tmp") as name, contextlib.ExitStack() as closing:
        folder = Path(name)
        running = client.start(folder / "c", timings="zero")
        closing.callback(client.stop, running)
        desk = Desk(cloud=running, folder=folder / "desk", extra={"PYTHONPATH": str(HERE.parent)})
        for section in sections:
            measure, usual = SECTIONS[section]
            yield from measure(desk, rounds or usual)


if __name__ == "__main__":
    sys.exit(main())
