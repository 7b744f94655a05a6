"""A laptop sleeps for eight hours, once, wherever a run can be: what it finds when it wakes, and what it says then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest
from sleeping import HOWS, ElsewhereClock, Nap, Place, SleepyWorld
from world import QuietScreen

from jetrun.engine.reaper import Sweep, reap_once
from jetrun.guarantee.lifecycle import Kind, Phase
from jetrun.testing.sim_cloud import SimCloud

WORLDS: dict[str, dict[str, Any]] = {
    "shelve": {},
    "stop": {"status": "SHUTOFF", "disposition": "stop"},
    "delete": {"launch": True, "disposition": "delete"},
}
SHORT_S, LONG_S = 2 * 3600.0, 12 * 3600.0
"""Leases that end during the sleep, and after it."""
TICK = timedelta(seconds=60)
MILLISECOND = timedelta(milliseconds=1)
STARTS = {"nova.unshelve", "nova.start", "nova.create"}
ENDINGS = {"nova.shelve", "nova.stop", "nova.delete"}
UNWRITTEN = {"neutron.floatingip_delete", "neutron.port_delete"}
"""What is done between the proof and the receipt."""
AFTERWARDS = {("record", "after"), ("clock", "before")}


@cache
def places(world: str) -> tuple[Place, ...]:
    """Where a run without faults can sleep."""
    play = SleepyWorld(Nap(), lease_s=LONG_S, **WORLDS[world])
    assert play.carry() == 0
    return tuple(play.nap.passed)


def at_points(world: str, *points: str, how: str = "before") -> Iterator[Place]:
    """The places of those names."""
    yield from (one for one in places(world) if one.point in points and one.how == how)


def waking_places(world: str) -> Iterator[Place]:
    """Where a run can sleep between its lease and its switch: after each record, and in each wait."""
    for one in places(world):
        if one.phase in {Phase.ACQUIRE.value, Phase.CONNECT.value} and (one.kind, one.how) in AFTERWARDS:
            yield one


def slept(world: str, lease_s: float, place: Place, **more: Any) -> tuple[SleepyWorld, int]:
    """The run with that sleep in it: (the world afterwards, the exit code)."""
    play = SleepyWorld(Nap(place), lease_s=lease_s, **more, **WORLDS[world])
    code = play.carry()
    assert play.nap.woke_at is not None, f"{place} was never reached"
    return play, code


def until_at(play: SleepyWorld) -> datetime | None:
    """The lease's deadline; None for a run that never had one."""
    lease = play.state().lease
    return datetime.fromisoformat(lease["until_at"]) if lease is not None else None


def up_until(play: SleepyWorld) -> datetime | None:
    """When the instance last ran; None for one that never did."""
    server = play.instance()
    return play.switches.up_until.get(server.id) if server is not None else None


def said_late(play: SleepyWorld) -> list[datetime]:
    """When the reads were made of a receipt that was written after waking, as proof; empty without one."""
    receipt, woke_at = play.state().receipt, play.nap.woke_at
    written = [one.at for one in play.journal.records if one.kind is Kind.RECEIPT]
    if receipt is None or not receipt.verified or woke_at is None or written[-1] < woke_at:
        return []
    return [one.at for one in (receipt.observations[0], receipt.observations[-1])]


def judge(play: SleepyWorld, code: int) -> None:
    """What must hold when it has woken and ended; a violation says where it slept."""
    try:
        _judge(play, code)
        _judge_script(play, code)
    except AssertionError as error:
        raise AssertionError(f"asleep at {play.nap.place}\n{error}\n{play.describe(code)}") from error


def _judge(play: SleepyWorld, code: int) -> None:
    nap, server = play.nap, play.instance()
    play.check(code)
    assert nap.woke_at is not None
    assert server is None or not server.really_on
    for at in said_late(play):
        assert at >= nap.woke_at - MILLISECOND, "a proof from before the sleep"
    assert code != 119
    until, up = until_at(play), up_until(play)
    if until is not None and up is not None and nap.covered and not play.late:
        assert up <= until + TICK, f"up until {up}"


def _judge_script(play: SleepyWorld, code: int) -> None:
    """What the script computed is here, or on a disk that is still there, and then that is said."""
    server, outputs, until = play.instance(), play.state().outputs, until_at(play)
    guest = play.guests.get(server.id) if server is not None else None
    if guest is None or guest.script_started_at is None or until is None or guest.script_started_at > until:
        return
    assert guest.starts == 1
    assert guest.ended is not None, "the script did not get to its end"
    assert (guest.ended.exit_code, guest.ended.signal) == (0, None)
    assert outputs is not None
    if not outputs["complete"]:
        assert server.vm_state != "deleted", "invariant 8: its result is lost"
        assert outputs["problems"]
        assert code != 0
        assert play.told[-1]["error"]
        assert play.told[-1]["outputs_problems"]


@pytest.mark.invariant(2, 3, 4, 8)
@pytest.mark.parametrize("kind", list(HOWS))
@pytest.mark.parametrize("lease_s", [SHORT_S, LONG_S], ids=["lease-shorter", "lease-longer"])
@pytest.mark.parametrize("world", list(WORLDS))
def test_a_sleep_at_any_place_ends_in_the_truth(world: str, lease_s: float, kind: str) -> None:
    """Down by the deadline, nothing lost, nothing proven by what was seen before."""
    played = 0
    for place in places(world):
        if place.kind == kind:
            judge(*slept(world, lease_s, place))
            played += 1
    assert played > 20


@pytest.mark.parametrize("world", list(WORLDS))
def test_it_sleeps_in_each_phase(world: str) -> None:
    """At its records, its calls and its own waiting."""
    assert {place.phase for place in places(world)} == {phase.value for phase in Phase} - {Phase.CLOSED.value}
    assert {place.kind for place in places(world)} == set(HOWS)


@pytest.mark.invariant(8)
@pytest.mark.parametrize("world", list(WORLDS))
def test_a_script_that_still_runs_in_the_morning_is_followed_to_its_end(world: str) -> None:
    """Nobody's heartbeat came all night: the switch waits for the script, whose lease lives."""
    calls = {"script.started", "follow", "follower.read", "read_script", "beat"}
    chosen = [place for place in places(world) if place.point in calls and place.phase == Phase.EXECUTE.value]
    for place in [*chosen[:6], *chosen[-4:]]:
        play, code = slept(world, LONG_S, place, script_s=8.1 * 3600)
        judge(play, code)
        assert code == 0, play.describe(code)
        assert (play.state().outputs or {})["complete"]
        assert not play.switches.fired


@pytest.mark.invariant(4)
@pytest.mark.parametrize("world", list(WORLDS))
def test_a_script_that_outlasts_its_lease_is_cut_off_at_the_deadline(world: str) -> None:
    """By the switch alone; what it had written is on the disk, and that is said."""
    for place in at_points(world, "script.started", "follow", "follower.read"):
        play, code = slept(world, SHORT_S, place, script_s=1e7)
        play.check(code)
        until, up, outputs = until_at(play), up_until(play), play.state().outputs
        assert until is not None
        assert up is not None
        assert until <= up <= until + TICK, play.describe(code)
        assert outputs is not None
        assert outputs["problems"]
        assert code != 0
        assert play.instance().vm_state == {"stop": "stopped"}.get(world, "shelved_offloaded")


@pytest.mark.invariant(4, 5)
@pytest.mark.parametrize("world", list(WORLDS))
def test_with_a_reaper_elsewhere_it_is_down_even_where_no_switch_was_armed_yet(world: str) -> None:
    """Between the start and the switch nothing on the instance can end it; then the reaper is the only one awake."""
    uncovered = 0
    for place in waking_places(world):
        play = SleepyWorld(Nap(place), lease_s=SHORT_S, **WORLDS[world])
        clock: Any = ElsewhereClock(play.clock)
        elsewhere = SimCloud(play.cloud_state, clock)

        def reap(play: SleepyWorld = play, clock: Any = clock, elsewhere: SimCloud = elsewhere) -> None:
            reap_once(elsewhere, play.profile, clock, QuietScreen(), Sweep(known={}, expected={}))

        play.nap.meanwhile = reap
        code = play.carry()
        judge(play, code)
        until, up = until_at(play), up_until(play)
        if until is not None and up is not None and not play.late:
            assert up <= until + timedelta(minutes=15), f"{place}\n{play.describe(code)}"
        uncovered += not play.nap.covered
    assert uncovered > 0 or world == "delete", "cloud-init arms the switch of what is launched"
