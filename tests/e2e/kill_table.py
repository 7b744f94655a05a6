"""What became of the runs of the killing experiment, as a table by the layer that brought the instance down."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from killed_run import EARLIER, KilledRun

LAYERS = ("driver", "guardian", "switch", "reaper", EARLIER)
"""What can bring an instance down."""


@dataclass(kw_only=True)
class Outcome:
    """What became of one run.

    Attributes:
        layer: what brought it down. freed_by: whose request ended the charge.
        down_s, free_s: from the kill until off for good, and until nothing was charged.
        wrong: what must not be, in words; empty where all is well.
    """

    run: KilledRun
    layer: str
    freed_by: str
    down_s: float
    free_s: float
    wrong: str


def table(outcomes: Sequence[Outcome]) -> str:
    """What the experiment found, for people."""
    lines = [f"{'layer':<24}{'count':>6}{'median s':>10}{'worst s':>9}{'charged: median s':>19}{'worst s':>9}"]
    for layer, count in Counter(one.layer for one in outcomes).most_common():
        mine = [one for one in outcomes if one.layer == layer]
        cells = ""
        for times in ([one.down_s for one in mine], [one.free_s for one in mine]):
            cells += f"{statistics.median(times):>{19 if cells else 10}.1f}{max(times):>9.1f}"
        lines.append(f"{layer:<24}{count:>6}{cells}")
    runs = [one.run for one in outcomes]
    up = [one.run for one in outcomes if one.layer == "reaper"]
    armed = sum(one.was_armed() for one in up)
    charged = [one for one in outcomes if one.freed_by == "reaper" and one.layer != "reaper"]
    signals = [(whom, phase) for one in runs for _, whom, phase in one.killed]
    lines += [
        f"runs killed: {len(runs)}, signals: {len(signals)}",
        f"still up: {sum(one.is_up for one in runs)}",
        f"off and still charged until the reaper came: {len(charged)}",
        f"up until the reaper came: {len(up) - armed} that were killed before their switch was armed, and {armed} with an armed one",
        f"wrong: {sum(bool(one.wrong) for one in outcomes)}",
        _counted("kind", [one.plan.kind for one in runs if one.plan]),
        _counted("signals by target", [whom for whom, _ in signals]),
        _counted("signals by phase", [phase for _, phase in signals]),
    ]
    return "\n".join(lines) + "\n"


def _counted(what: str, found: Sequence[str]) -> str:
    """How often each word is in *found*."""
    return f"{what}: " + ", ".join(f"{word} {count}" for word, count in Counter(found).most_common())
