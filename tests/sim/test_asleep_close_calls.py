"""After a sleep of the machine (test_asleep.py): what once was started, sent, said or left where it should not have been."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sleeping import Nap, SleepyWorld
from test_asleep import (
    LONG_S,
    MILLISECOND,
    SHORT_S,
    UNWRITTEN,
    WORLDS,
    at_points,
    said_late,
    slept,
    until_at,
    waking_places,
)

from jetrun.guarantee.lifecycle import Kind, Phase

FIRST_READ = 7
"""Of the script's log, among the calls to the instance."""


@pytest.mark.invariant(2)
@pytest.mark.parametrize("world", list(WORLDS))
def test_nothing_is_started_after_the_leases_deadline(world: str) -> None:
    """Slept through between the lease and the start: the start that it then asks for has no right any more."""
    late = [place for place in waking_places(world) if slept(world, SHORT_S, place)[0].late]
    assert [place for place in late if place.point != Kind.REQUEST_INTENDED.value] == [], "the rest was on its way"


@pytest.mark.parametrize("world", ["shelve", "stop"])
def test_no_script_is_started_after_the_leases_deadline(world: str) -> None:
    """The instance is up, the lease is over: its script is started all the same, and stopped at once."""
    started = []
    for place in waking_places(world):
        play, _ = slept(world, SHORT_S, place)
        until, guests = until_at(play), play.guests.values()
        if until is not None and any(one.script_started_at and one.script_started_at > until for one in guests):
            started.append(place)
    assert started == []


@pytest.mark.parametrize(
    ("world", "point", "how"),
    [
        ("shelve", "nova.unshelve", "before"),
        ("shelve", "nova.shelve", "before"),
        ("shelve", "nova.shelve", "cut"),
        ("delete", "nova.delete", "before"),
        ("delete", "nova.delete", "cut"),
    ],
)
def test_a_request_that_slept_on_its_way_has_its_time_all_the_same(world: str, point: str, how: str) -> None:
    """It is accepted in the morning, and given up a second later as eight hours old: 119, or 120 for a start, for nothing."""
    (place,) = at_points(world, point, how=how)
    play, code = slept(world, LONG_S, place)
    assert code == 0, play.describe(code)


@pytest.mark.invariant(3)
@pytest.mark.parametrize(("world", "points"), [("shelve", {"receipt.written"}), ("delete", UNWRITTEN)])
def test_a_receipt_is_not_written_over_a_sleep(world: str, points: set[str]) -> None:
    """*Verified* is written and told in the morning by what was read in the evening; a person may have started it meanwhile."""
    for place in at_points(world, *points):
        play, _ = slept(world, LONG_S, place)
        assert said_late(play)[-1] >= (play.nap.woke_at or play.clock.now()) - MILLISECOND, play.describe(0)


@pytest.mark.invariant(3)
@pytest.mark.parametrize("world", list(WORLDS))
def test_both_reads_of_a_receipt_are_from_after_the_sleep(world: str) -> None:
    """Asleep in the five seconds between the two: one read of the morning and one of the evening are not two fresh ones."""
    for place in at_points(world, "sleep"):
        if place.phase == Phase.SHUTDOWN.value:
            play, _ = slept(world, LONG_S, place)
            for at in said_late(play):
                assert at >= (play.nap.woke_at or play.clock.now()) - MILLISECOND, play.describe(0)


def woken_past_the_limit(world: str) -> tuple[SleepyWorld, int]:
    """A script whose end and whose time limit both passed during the sleep, the end first; its instance is still up."""
    (place,) = [one for one in at_points(world, "follower.read") if one.number == FIRST_READ]
    play = SleepyWorld(Nap(place), lease_s=LONG_S, script_s=7.8 * 3600, **WORLDS[world])
    play.job = replace(play.job, timeout_s=7.9 * 3600)
    code = play.carry()
    play.check(code)
    (guest,) = play.guests.values()
    assert guest.ended is not None
    assert guest.ended.exit_code == 0
    return play, code


@pytest.mark.parametrize("world", list(WORLDS))
def test_a_script_that_ended_in_time_is_not_called_timed_out(world: str) -> None:
    """It ended with 0; 124 is what is said."""
    play, code = woken_past_the_limit(world)
    assert code == 0, play.describe(code)


@pytest.mark.parametrize("world", list(WORLDS))
def test_results_are_fetched_over_a_new_connection_though_the_run_was_asked_to_end(world: str) -> None:
    """The instance is up and reachable, and is brought down with the results on it; so after a Ctrl-C in a tunnel, too."""
    play, code = woken_past_the_limit(world)
    assert (play.state().outputs or {})["complete"], play.describe(code)
