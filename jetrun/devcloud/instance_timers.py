"""When a timer elapses next: decided from what is known, without a clock. Pure.

Source: systemd.timer(5), and ``timer_enter_waiting`` of systemd's timer.c for what it leaves open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jetrun.devcloud.instance_unit_files import Unit, calendar, span


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A timer unit's settings, in seconds and instants.

    Attributes:
        once: those after boot (True) or after the timer's own start (False). again: after the unit's start, or its end.
        persistent: a calendar instant that passed while the timer was not there is made up for.
    """

    unit: str
    on_boot: Sequence[float]
    on_active: Sequence[float]
    on_unit_active: Sequence[float]
    on_unit_inactive: Sequence[float]
    on_calendar: Sequence[datetime]
    persistent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What has happened so far; monotonic seconds, and wall time for the calendar.

    Attributes:
        unit_started, unit_ended: the last time, None for never. triggered_at: by this timer, before this boot too if persistent.
        is_initial: the timer has not elapsed since it was started.
    """

    booted: float
    started: float
    unit_started: float | None
    unit_ended: float | None
    triggered_at: datetime | None
    is_initial: bool


def read(unit: Unit) -> Timer:
    """The settings of a timer unit.

    Raises:
        BadUnit: a value that cannot be read.
    """

    def spans(key: str) -> list[float]:
        return [span(value) for value in unit.all("Timer", key)]

    return Timer(
        unit=unit.last("Timer", "Unit", unit.name.removesuffix(".timer") + ".service"),
        on_boot=[*spans("OnBootSec"), *spans("OnStartupSec")],
        on_active=spans("OnActiveSec"),
        on_unit_active=spans("OnUnitActiveSec"),
        on_unit_inactive=spans("OnUnitInactiveSec"),
        on_calendar=[calendar(value) for value in unit.all("Timer", "OnCalendar")],
        persistent=unit.is_yes("Timer", "Persistent"),
    )


def next_elapse_s(timer: Timer, marks: Marks, *, now: float, now_at: datetime) -> float | None:
    """Seconds from *now* until the timer elapses, 0 for at once; None when it never will again."""
    due = [marks.booted + one for one in timer.on_boot] + [marks.started + one for one in timer.on_active]
    # One-time triggers that are past elapse only when the timer is new: afterwards they have had their turn.
    due = [at for at in due if marks.is_initial or at > now]
    if marks.unit_started is not None:
        due += [marks.unit_started + one for one in timer.on_unit_active]
    if marks.unit_ended is not None:
        due += [marks.unit_ended + one for one in timer.on_unit_inactive]
    waits = [max(0.0, at - now) for at in due]
    since = marks.triggered_at if marks.triggered_at is not None else now_at
    waits += [max(0.0, (at - now_at).total_seconds()) for at in timer.on_calendar if at > since]
    return min(waits, default=None)
