"""The network between driver and instance is gone for good while the script runs; the cloud's API answers all the while."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from world import World

from jetrun.guarantee.lifecycle import Kind


def cut_when_the_script_runs(world: World) -> None:
    """From the script's start on nothing reaches the instance."""
    append = world.journal.append

    def cutting(run: Any, kind: Kind, data: Any) -> Any:
        if kind is Kind.SCRIPT_STARTED:
            world.cloud_state.faults.add("ssh-drop")
            world.cloud_state.faults.add("ssh-silent", times=-1)
        return append(run, kind, data)

    world.journal.append = cutting  # type: ignore[method-assign]


def minutes_of(world: World) -> float:
    """Virtual minutes from the first record to the last."""
    return (world.journal.records[-1].at - world.journal.records[0].at) / timedelta(minutes=1)


@pytest.mark.invariant(1)
def test_the_scripts_time_limit_holds_while_nothing_is_heard_of_it() -> None:
    """It cannot be told to stop; bringing the instance down stops it. Not only at the lease's end, hours later."""
    world = World()
    world.job = replace(world.job, timeout_s=1800.0)
    world.remote_options["script_s"] = 1e9
    cut_when_the_script_runs(world)
    code = world.carry()
    world.check(code)
    assert code == 124
    assert world.server is not None
    assert not world.server.really_on
    assert minutes_of(world) < 60


@pytest.mark.invariant(1)
def test_an_instance_that_goes_off_meanwhile_is_seen_and_shelved() -> None:
    """By its switch, for instance, half an hour after a script that nobody heard end: SHUTOFF still costs."""
    world = World()
    world.remote_options["script_s"] = 60.0
    cut_when_the_script_runs(world)
    off_at = world.clock.now() + timedelta(minutes=45)

    def switch() -> None:
        server = world.server
        if server is not None and server.really_on and world.clock.now() >= off_at:
            world.cloud_state.nova.guest_powered_off(server.id, world.clock.now())

    world.clock.moved = switch
    code = world.carry()
    world.check(code)
    assert code not in {0, 119}
    assert world.server is not None
    assert world.server.vm_state == "shelved_offloaded"
    assert minutes_of(world) < 52, "seen after 5 min at most, and nothing is fetched from what is off"


@pytest.mark.invariant(1)
def test_without_a_time_limit_it_waits_as_long_as_the_lease_allows() -> None:
    """What a script computes is not thrown away for a day without a network."""
    world = World()
    world.remote_options["script_s"] = 1e9
    cut_when_the_script_runs(world)
    code = world.carry()
    world.check(code)
    assert world.server is not None
    assert not world.server.really_on
    assert world.job.max_lifetime_s / 60 * 0.8 < minutes_of(world) < world.job.max_lifetime_s / 60


@pytest.mark.invariant(1)
def test_a_driver_that_is_off_the_net_altogether_goes_on_where_it_was() -> None:
    """A laptop in a tunnel: neither instance nor API answer for twenty minutes, and the script ends well meanwhile."""
    world = World()
    world.remote_options["script_s"] = 600.0
    cut_when_the_script_runs(world)
    append = world.journal.append
    back_at = world.clock.now() + timedelta(minutes=20)

    def away(run: Any, kind: Kind, data: Any) -> Any:
        if kind is Kind.SCRIPT_STARTED:
            world.cloud_state.faults.add("close", on="*", times=-1)
        return append(run, kind, data)

    def back() -> None:
        if world.clock.now() >= back_at:
            world.cloud_state.faults.clear()

    world.journal.append = away  # type: ignore[method-assign]
    world.clock.moved = back
    code = world.carry()
    world.check(code)
    assert code == 0
    assert 20 <= minutes_of(world) < 30
