"""Time as the engine sees it: an interface, and the real one."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time and monotonic time, apart: deadlines that cost money use the wall, intervals the monotonic clock."""

    def now(self) -> datetime:
        """Wall time, aware UTC."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; stands still while the machine sleeps."""

    def sleep(self, seconds: float) -> None:
        """Wait; an interruption (a signal) may end it early."""


class SystemClock:
    """The real clock.

    Attributes:
        sign: called whenever somebody asks for the time or waits: whoever does is alive.
    """

    def __init__(self) -> None:
        self.sign: Callable[[], None] = _nothing

    def alive(self) -> None:
        """Somebody lives, who asks for no time just now."""
        self.sign()

    def now(self) -> datetime:
        """Wall time, aware UTC."""
        self.sign()
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds; stands still while the machine sleeps."""
        self.sign()
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; a handled signal does not cut it short, so callers sleep in small pieces."""
        self.sign()
        if seconds > 0:
            time.sleep(seconds)


def _nothing() -> None:
    """Nobody asks whether we live."""
