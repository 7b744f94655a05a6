"""Time as the engine sees it: an interface, and the real one."""

from __future__ import annotations

import time
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
    """The real clock."""

    def now(self) -> datetime:
        """Wall time, aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds; stands still while the machine sleeps."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; a handled signal does not cut it short, so callers sleep in small pieces."""
        if seconds > 0:
            time.sleep(seconds)
