"""What is done to one run of the killing experiment, drawn by a seed: whom to kill, and when, as a part of a run's usual life."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

KINDS = {
    "driver": (20, ("driver",), ()),
    "guardian": (12, ("guardian",), ()),
    "both": (33, ("driver", "guardian"), ()),
    "driver, then whoever continues": (15, ("driver",), ("continuer",)),
    "driver, then guardian and whoever continues": (20, ("driver",), ("continuer", "guardian")),
}
"""What is killed: its share of all runs in percent, whom the first blow meets, whom the second one meets."""

SECTIONS = ("start-up", "prepare", "acquire", "connect", "stage_in", "execute", "stage_out", "shutdown", "report")
"""A run's life, by what it has come to: the phases of its journal."""
SHAPE = (0.85, 0.02, 0.77, 0.14, 0.02, 0.54, 0.01, 0.9, 0.1)
"""How long each takes on an idle machine, in seconds: 3.35 in all. Blows fall uniformly over this life. Measured 2026-11-21, a script
of half a second on the embedded cloud with its quick timings."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done to one run; the same for the same seed and number.

    Attributes:
        first, second: whom each blow meets, in order; there may be no second one.
        at: when the first blow falls: in which section of the run's life, after which part of it (0 to 1).
        again_at: when the second one falls: as a part of a run's usual life, from when somebody is seen to continue it.
        endless: the script does not end by itself, so that only the lease's deadline brings a forgotten instance down.
    """

    kind: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    at: tuple[int, float]
    again_at: float
    endless: bool

    @classmethod
    def drawn(cls, seed: int, number: int) -> Plan:
        """The plan of that number."""
        chance = random.Random(f"{seed}-{number}")  # noqa: S311 - chosen to be repeated, not to be secret
        (kind,) = chance.choices(list(KINDS), weights=[share for share, _, _ in KINDS.values()])
        _, *targets = KINDS[kind]
        first, second = (tuple(chance.sample(whom, len(whom))) for whom in targets)
        return cls(
            kind=kind,
            first=first,
            second=second,
            at=_instant(chance.random()),
            again_at=chance.random(),
            endless=chance.random() < 0.5,
        )


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long each section of a run's life takes on this machine now, beside others, in seconds.

    Start-up needs a processor and a phase mostly waits, so that on a busy machine the first would take nearly all blows.
    """

    sections: tuple[float, ...]

    @classmethod
    def of(cls, lives: Sequence[Sequence[float]]) -> Pace:
        """The usual one of several undisturbed lives."""
        return cls(sections=tuple(statistics.median(times) for times in zip(*lives, strict=True)))

    @property
    def life_s(self) -> float:
        """All of it."""
        return sum(self.sections)

    def instant(self, section: int, part: float) -> tuple[int, float]:
        """The section's number, and how many seconds from its beginning that part of it lies."""
        return section, part * self.sections[section]


def _instant(share: float) -> tuple[int, float]:
    """Where a part of the idle machine's life lies: the section's number, and the part of it."""
    left_s = share * sum(SHAPE)
    for number, length_s in enumerate(SHAPE):
        if left_s < length_s:
            return number, left_s / length_s
        left_s -= length_s
    return len(SHAPE) - 1, 1.0


def life(log: Path, began: float, ended: float) -> list[float]:
    """How long each section of an undisturbed run took, by its log."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    entered = [datetime.fromisoformat(one["at"]).timestamp() for one in lines if one["event"] == "phase.entered"]
    marks = [began, *entered, ended]
    return [after - before for before, after in pairwise(marks)]
