"""Virtual time: wall and monotonic apart, so that a laptop can sleep, drift and jump."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

LIMIT_S = 400 * 86400.0
"""A simulation that has waited longer than this waits for ever: it fails instead of hanging."""


class SimClock:
    """A clock that moves only when somebody waits.

    Args:
        start: the wall time at the beginning, aware UTC.
    """

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._wall = start
        self._monotonic = 0.0
        self.moved: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        """Wall time."""
        return self._wall

    def monotonic(self) -> float:
        """Seconds awake since the beginning."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            AssertionError: it has passed for longer than any run may take.
        """
        self._monotonic += max(0.0, seconds)
        self._wall += timedelta(seconds=max(0.0, seconds))
        if (self._wall - self._start).total_seconds() > LIMIT_S:
            raise AssertionError("an endless wait")
        self.moved()

    def suspend(self, seconds: float) -> None:
        """The laptop sleeps: only the wall clock goes on."""
        self._wall += timedelta(seconds=seconds)
        self.moved()

    def jump(self, seconds: float) -> None:
        """The wall clock is set, forwards or backwards."""
        self._wall += timedelta(seconds=seconds)
