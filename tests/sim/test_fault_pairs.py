"""Every fault of the embedded cloud, alone and in pairs, on the pure model in virtual time (acceptance A4)."""

from __future__ import annotations

import itertools

import pytest
from world import World

CALLS = (
    "keystone.auth", "nova.list", "nova.show", "nova.actions", "nova.action", "nova.unshelve", "nova.shelve",
    "nova.metadata_update", "neutron.port_list", "neutron.port_show", "neutron.port_update",
)  # fmt: skip
LAUNCH_CALLS = ("nova.create", "nova.delete", "neutron.port_create", "neutron.floatingip_create", "nova.flavor_list")
ANSWERS = (
    "refuse-401", "refuse-403", "refuse-404", "refuse-409", "refuse-429", "refuse-500", "refuse-503", "hang", "close",
    "apply-then-500", "apply-then-504", "lost-reply", "slow", "stale-read",
)  # fmt: skip
BEHAVIOURS = (
    ("shelve-fails-silently", ""), ("never-offloads", ""), ("unshelve-bounces", ""), ("stuck-task", "nova.shelve"),
    ("stuck-task", "nova.unshelve"), ("ssh-silent", ""), ("ssh-refused", ""), ("ssh-drop", ""), ("guest-poweroff", ""),
)  # fmt: skip
LAUNCH_BEHAVIOURS = (("build-error", ""), ("late-active-after-failed-create", ""), ("stuck-task", "nova.delete"))

SINGLE = [(name, on) for name in ANSWERS for on in CALLS] + list(BEHAVIOURS)
LAUNCH = [(name, on) for name in ANSWERS for on in (*LAUNCH_CALLS, "nova.show", "neutron.port_show")] + list(
    LAUNCH_BEHAVIOURS
)


def ends_in_truth(world: World) -> int:
    code = world.carry()
    world.check(code)
    return code


def test_without_a_fault_the_run_succeeds() -> None:
    """The simulation itself works."""
    for disposition, launch in (("shelve", False), ("stop", False), ("shelve", True), ("stop", True), ("delete", True)):
        assert ends_in_truth(World(disposition=disposition, launch=launch)) == 0


@pytest.mark.parametrize("status", ["SHUTOFF", "SUSPENDED", "PAUSED", "ACTIVE"])
@pytest.mark.parametrize("disposition", ["shelve", "stop"])
def test_from_each_state(status: str, disposition: str) -> None:
    """Every start, every end."""
    assert ends_in_truth(World(status=status, disposition=disposition)) == 0


@pytest.mark.parametrize("times", [1, 3, -1])
@pytest.mark.parametrize("skip", [0, 1, 4])
@pytest.mark.invariant(4)
def test_one_fault_leaves_the_truth(times: int, skip: int) -> None:
    """Each fault at each call, once, three times and for ever, early and later in the run."""
    for name, on in SINGLE:
        world = World()
        world.cloud_state.faults.add(name, on=on, times=times, skip=skip, seconds=5)
        ends_in_truth(world)


@pytest.mark.parametrize("times", [1, -1])
@pytest.mark.parametrize("disposition", ["shelve", "delete"])
@pytest.mark.invariant(6)
def test_one_fault_of_a_launch_leaves_the_truth(times: int, disposition: str) -> None:
    """Never two instances for one run."""
    for name, on in LAUNCH:
        world = World(launch=True, disposition=disposition)
        world.cloud_state.faults.add(name, on=on, times=times, seconds=5)
        ends_in_truth(world)


@pytest.mark.parametrize("part", range(8))
def test_pairs_of_faults_leave_the_truth(part: int) -> None:
    """Two at once are one more than the promise covers; the truth must be told all the same."""
    pairs = list(itertools.combinations(SINGLE, 2))
    for first, second in pairs[part::8]:
        world = World()
        for name, on in (first, second):
            world.cloud_state.faults.add(name, on=on, times=1, seconds=5)
        ends_in_truth(world)


def test_the_same_faults_give_the_same_trace() -> None:
    """Determinism itself is tested: a failure can be replayed."""

    def trace() -> list[object]:
        world = World()
        world.cloud_state.faults.add("lost-reply", on="nova.unshelve")
        world.cloud_state.faults.add("shelve-fails-silently")
        world.carry()
        return [(record.at, record.kind, record.data) for record in world.journal.records]

    assert trace() == trace()
