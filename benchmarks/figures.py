"""Figures in turn: two ways of doing the same thing, measured alternately, so that a busy machine is as unkind to both."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row of the table.

    Attributes:
        values: what was measured, in the order it was. unit: of the values. bound: the most that the median may be; why, in words.
    """

    what: str
    values: Sequence[float]
    unit: str = "s"
    bound: float | None = None
    why: str = ""

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def is_kept(self) -> bool:
        """Whether the bound holds; true without one."""
        return self.bound is None or self.median <= self.bound

    def row(self) -> str:
        """As a line of the table."""
        spread = f"{min(self.values):.3f} to {max(self.values):.3f}"
        bound = "" if self.bound is None else f"{self.bound:.3f}  {'kept' if self.is_kept else 'NOT KEPT'}  {self.why}"
        return (
            f"{self.what:<52} {self.median:>9.3f} {self.unit:<3} {spread:>20} {len(self.values):>3}  {bound}".rstrip()
        )


HEAD = f"{'':<52} {'median':>9}     {'range':>20} {'n':>3}  bound"


def timed(act: Callable[[], object]) -> float:
    """How long *act* takes, in seconds."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def in_turn(rounds: int, *ways: Callable[[], float]) -> tuple[list[float], ...]:
    """*rounds* measurements of each way, one after the other; who begins changes each round."""
    found: tuple[list[float], ...] = tuple([] for _ in ways)
    for number in range(rounds):
        order = list(range(len(ways)))
        for index in order if number % 2 == 0 else reversed(order):
            found[index].append(ways[index]())
    return found


def say(text: str) -> None:
    """A line of the answer, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def insist(claim: object, why: object) -> None:
    """What is measured must have been done.

    Raises:
        RuntimeError: it was not.
    """
    if not claim:
        raise RuntimeError(str(why))
