"""What once was done to an instance that a person had started (test_persons_start.py), each case by its cause."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ends import Story
from nights import Night
from sleeping import Place
from test_asleep import LONG_S, SHORT_S, WORLDS, places
from test_persons_start import QUICK, keeps_its_own, lived_through

from jetrun.guarantee.lifecycle import Kind, Phase

DAWN_S, SOON_S = 3 * 3600.0, 900.0
"""When the person comes: once the switch has fired; while the instance may still be up."""


def places_of(world: str, phase: Phase, *points: str, how: str = "") -> Iterator[Place]:
    """The places of that phase, of those names only where some are given."""
    for one in places(world):
        if one.phase == phase.value and (not points or one.point in points) and how in {"", one.how}:
            yield one


def taken(world: str, place: Place, *, lease_s: float = LONG_S, after_s: float = DAWN_S) -> Night:
    """A night in which the person took the instance."""
    night = Night(place, lease_s=lease_s, after_s=after_s, **WORLDS[world])
    assert night.play(), f"asleep at {place}, and nobody could take it"
    return night


@pytest.mark.invariant(5)
@pytest.mark.parametrize(("end", "way"), sorted(QUICK))
def test_the_switch_of_a_run_that_is_over_never_fires_on_a_quick_person(end: str, way: str) -> None:
    """The instance was not reached at the end (or stuck), so its switch is armed; minutes later a person has it up again.

    Half an hour after the script's end, or at the deadline, it is powered off under them.
    """
    lived_through(end, way, "at once", "stop")


@pytest.mark.invariant(5)
@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("world", list(WORLDS))
def test_a_shutdown_that_slept_looks_again_before_it_sends(world: str, how: str) -> None:
    """Between the decision and the request lies a record, which is a disk's time: in the morning a person's instance is shelved,
    stopped, or deleted."""
    for place in places_of(world, Phase.SHUTDOWN, Kind.REQUEST_INTENDED.value, how=how):
        night = taken(world, place)
        assert night.turns.touched == [], night.world.describe(-1)


@pytest.mark.invariant(5)
@pytest.mark.parametrize(("world", "point"), [("shelve", "nova.unshelve"), ("stop", "nova.start")])
def test_a_persons_start_of_the_night_is_not_taken_for_the_lost_one(world: str, point: str) -> None:
    """The run's start never arrived, the person's did: the run works on their instance, and then brings it down."""
    (place,) = places_of(world, Phase.ACQUIRE, point, how="cut")
    night = taken(world, place)
    assert night.turns.touched == [], night.world.describe(-1)


@pytest.mark.invariant(5)
@pytest.mark.parametrize("world", ["shelve", "stop"])
def test_no_switch_is_armed_on_what_a_person_has(world: str) -> None:
    """Asleep between start and switch; the person reboots it. In the morning it is armed, and fires at the deadline."""
    for place in places_of(world, Phase.ACQUIRE, Kind.UP.value):
        night = taken(world, place)
        keeps_its_own(night, str(place))


@pytest.mark.invariant(5)
@pytest.mark.parametrize("world", ["shelve", "stop"])
def test_no_script_is_started_on_what_a_person_has(world: str) -> None:
    """Off by its switch at the deadline, started by a person: in the morning the run stages in and starts its script there."""
    for place in places_of(world, Phase.STAGE_IN):
        night = taken(world, place, lease_s=SHORT_S)
        assert not night.script_was_started_on_theirs(), night.world.describe(-1)


@pytest.mark.invariant(5)
@pytest.mark.parametrize("world", ["shelve", "stop"])
def test_who_reboots_it_after_the_script_and_before_the_switch_fires_keeps_it(world: str) -> None:
    """The driver is asleep, the script over, the lease alive, the instance still up: then rebooted by a person, and powered off."""
    for place in places_of(world, Phase.EXECUTE, Kind.SCRIPT_STARTED.value):
        night = taken(world, place, after_s=SOON_S)
        assert night.way == "reboot"
        assert not night.world.switches.fired, night.world.describe(-1)


def test_the_stories_are_what_they_say() -> None:
    """An expected failure must fail for its own reason: nobody's start without one, and the ends without a person are quiet."""
    quiet = Story("verified, unheard", "stop", "at once", lambda person: None)
    assert quiet.play()
    assert not quiet.world.switches.fired
    assert quiet.world.instance().vm_state == "stopped"
    (guest,) = quiet.world.guests.values()
    assert guest.switch_state == "armed"
