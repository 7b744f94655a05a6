"""The promise by exhaustion: the driver dies everywhere, something else fails besides, and who comes after it comes in every order.

20,000 of the schedules that there are, each time the same; ``make sim-long`` plays a million others.
"""

from __future__ import annotations

import os

import pytest
from schedules import WORLDS, Play, Schedule, count, places, play, some

NUMBER = int(os.environ.get("JETRUN_SCHEDULES", "20000"))
SEED = int(os.environ.get("JETRUN_SEED", "20261120"))
PARTS = 16


@pytest.mark.invariant(1, 2, 3, 4, 5, 6, 8, 10)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_schedule_breaks_the_promise(part: int) -> None:
    """The invariants are judged on the model, where every request arrives; see schedules.py."""
    died = 0
    for number, schedule in enumerate(some(NUMBER, SEED)):
        if number % PARTS == part:
            died += play(schedule).died
    assert died > NUMBER / PARTS / 2, "most of them let the driver die"


def test_there_are_millions_of_schedules_and_none_twice() -> None:
    assert count() > 10_000_000
    chosen = list(some(2000, SEED))
    assert len(set(chosen)) == 2000
    assert {one.world for one in chosen} == set(WORLDS)


def test_the_same_schedule_gives_the_same_trace() -> None:
    def trace(schedule: Schedule) -> list[object]:
        played: Play = play(schedule)
        return [(one.at, one.kind, one.data) for one in played.world.journal.records]

    for schedule in some(20, SEED):
        assert trace(schedule) == trace(schedule)


def test_the_driver_can_die_at_a_hundred_places_of_each_world() -> None:
    assert all(len(places(world)) > 100 for world in WORLDS)
