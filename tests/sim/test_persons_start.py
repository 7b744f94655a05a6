"""A person starts the instance for their own work, by each way, after each kind of end, at each moment: nothing of jetrun's touches it.

Then driver, guardian, reapers and switch come by ten times, over the lease's deadline and over a reboot of the guest's own.
"""

from __future__ import annotations

import pytest
from ends import ENDS, MOMENTS, WORLDS, Story
from nights import Night
from person import WAYS
from sleeping import HOWS, Place
from switch import is_running
from test_asleep import SHORT_S, places

from jetrun.guarantee.power import STARTING_ACTIONS

TURNS, TURN_S = 10, 1200.0
"""More than three hours: a lease of two hours ends meanwhile."""
LEFT_ALONE = "left alone: somebody started it after the run"

UNHEARD = "verified, unheard"
INSIDE = "reboot inside"
QUICK = frozenset({(UNHEARD, way) for way in WAYS} | {("stuck", "resume"), ("stuck", "unpause")})
"""What the switch does not see, when it is quick: it needs the script's exit file, or the driver; test_persons_start_close_calls.py."""


def lived_through(end: str, way: str, moment: str, world: str) -> Story | None:
    """The person's start and everything after it; None where that moment was over before the run was.

    Raises:
        AssertionError: something of jetrun's touched the instance.
    """
    story = Story(end, world, moment, lambda person: person.takes(way))
    if not story.play():
        return None
    keeps_its_own(story, f"{end}, {way}, {moment}, {world}")
    return story


def keeps_its_own(story: Story | Night, name: str, *, turns: int = TURNS) -> None:
    """Ten turns of everybody, and the instance runs through them all."""
    all_of_them, switches = story.turns, story.world.switches
    server = story.world.instance()
    fired = len(switches.fired)
    for number in range(turns):
        story.wait(TURN_S)
        if number == turns // 2:
            switches.reboot_inside(server.id)
        all_of_them.turn()
        where = f"{name}, turn {number}\n{story.world.describe(-1)}"
        assert all_of_them.touched == [], where
        assert len(switches.fired) == fired, f"the switch took it\n{where}"
        assert is_running(server), where
        assert (server.vm_state, server.task_state) == ("active", None), where


@pytest.mark.invariant(5)
@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("end", ENDS)
def test_what_a_person_started_is_left_to_them(end: str, way: str) -> None:
    """Whoever comes by, and however often."""
    lived = 0
    for moment in MOMENTS:
        if moment == "at once" and ((end, way) in QUICK or (end, way) == ("stuck", INSIDE)):
            continue
        for world in WORLDS:
            lived += lived_through(end, way, moment, world) is not None
    assert lived >= len(WORLDS) * 2


@pytest.mark.invariant(5)
@pytest.mark.parametrize("world", list(WORLDS))
@pytest.mark.parametrize(("end", "way"), sorted(QUICK))
def test_all_but_the_switch_leave_a_quick_person_alone(end: str, way: str, world: str) -> None:
    """A resume or an unpause is the only start that the log has of them; the switch, which cannot read it, is broken here."""
    story = Story(end, world, "at once", lambda person: person.takes(way))
    assert story.play()
    story.world.switches.broken = True
    keeps_its_own(story, f"{end}, {way}, {world}")


@pytest.mark.invariant(4, 5)
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("end", ENDS)
def test_the_owner_is_told_of_it_once(end: str, moment: str) -> None:
    """By the run or by a reaper, whoever comes first: it gives the lease back, and nothing is left to say."""
    story = None if (end, moment) == (UNHEARD, "at once") else lived_through(end, "reboot", moment, "shelve")
    if story is None:
        return
    rows = tuple(row.words for row in story.turns.rows)
    assert story.turns.leases() == []
    story.turns.rows.clear()
    story.turns.turn()
    assert story.turns.rows == [], "nothing is left to report"
    if end.startswith("verified"):
        assert (story.turns.told, rows) == (0, ()), "the run was over, and its lease given back: nobody looks"
    else:
        assert (story.turns.told, rows) in {(1, ()), (0, (LEFT_ALONE,))}


@pytest.mark.parametrize("world", list(WORLDS))
def test_a_reboot_from_inside_of_what_never_went_down_is_nobodys_start(world: str) -> None:
    """The run's shutdown stuck, the staff freed it, a guest reboots itself: no log has it, and the run still ends it."""
    story = Story("stuck", world, "at once", lambda person: person.takes(INSIDE))
    assert story.play()
    story.turns.turn()
    assert not story.world.instance().really_on
    receipt = story.world.state().receipt
    assert receipt is not None
    assert receipt.verified


def is_on_its_way(place: Place) -> bool:
    """Whether a sleep there lies within the very call that brings the instance down: nothing can be looked at any more then."""
    return place.point in {"nova.shelve", "nova.stop"} and place.how in {"before", "after"}


@pytest.mark.invariant(5)
@pytest.mark.parametrize("kind", list(HOWS))
@pytest.mark.parametrize("world", list(WORLDS))
def test_wherever_the_driver_slept_it_leaves_alone_in_the_morning_what_a_person_started_in_the_night(
    world: str, kind: str
) -> None:
    """Off by its own end, by its switch or never started: then theirs. The lease ends in that night."""
    taken = 0
    for place in places(world):
        if place.kind != kind or is_on_its_way(place) or (kind, place.how) == ("cloud", "lost"):
            continue
        night = Night(place, lease_s=SHORT_S, after_s=3 * 3600.0, **WORLDS[world])
        if night.play():
            taken += 1
            if place.phase == "acquire":
                # A start of what runs already is refused (409), and changes nothing: it was on its way.
                night.turns.touched = [one for one in night.turns.touched if one.split()[0] not in STARTING_ACTIONS]
            keeps_its_own(night, str(place), turns=2)
    assert taken > 5


def test_every_kind_of_end_and_every_way_comes_to_pass() -> None:
    """A person's action log after each way names it; the ends are the ends that they are called."""
    seen = set()
    for way in WAYS:
        story = Story("verified", "stop", "at once", lambda person, way=way: person.takes(way))
        assert story.play()
        seen |= {row["action"] for row in story.world.instance().actions if row["request_id"].startswith("req-person")}
        assert is_running(story.world.instance())
    assert seen >= {"start", "unshelve", "resume", "unpause", "reboot"}
    for end in ENDS:
        story = Story(end, "shelve", "after the deadline", lambda person: person.takes("reboot"))
        assert story.play()
        assert bool(story.world.switches.fired) == (end.startswith(("switch", "asleep")) or end in {"stuck", "reaped"})
