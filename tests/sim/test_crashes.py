"""The driver dies at every journal record and at every call to the cloud; another process continues from the journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from world import MemoryJournal, World

from jetrun.guarantee.lifecycle import Kind


class Died(BaseException):
    """The process is gone; nothing of it runs any more."""


def dies_at_record(world: World, number: int, *, written: bool) -> None:
    """Arrange that the process dies at its *number*-th record, just before or just after it is on disk."""
    append = world.journal.append
    count = 0

    def dying(run: Any, kind: Kind, data: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            if written:
                append(run, kind, data)
            raise Died
        return append(run, kind, data)

    world.journal.append = dying  # type: ignore[method-assign]


def dies_at_call(world: World, number: int) -> None:
    """Arrange that the process dies at its *number*-th call, before it leaves the machine."""
    count = 0

    def dying(point: str) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise Died

    world.cloud.before_call = dying


def lives_again(world: World, after_s: float) -> int:
    """Another process carries the run on, some time later."""
    world.journal.__dict__.pop("append", None)
    world.cloud.before_call = lambda point: None
    world.clock.sleep(after_s)
    assert isinstance(world.journal, MemoryJournal)
    code = world.carry()
    world.check(code)
    assert code in {0, 120}, world.describe(code)
    assert code == 0 or world.state().instance is None, "only a create that never left the machine may come to nothing"
    return code


def crash_everywhere(make: Callable[[], World], arrange: Callable[[World, int], None], after_s: float) -> int:
    """Crash at the first, second, third ... place until the run ends without a crash: how many places there were."""
    number = 0
    while True:
        number += 1
        world = make()
        arrange(world, number)
        try:
            world.carry()
        except Died:
            lives_again(world, after_s)
        else:
            return number - 1


WORLDS: dict[str, Callable[[], World]] = {
    "shelved": World,
    "stopped": lambda: World(status="SHUTOFF", disposition="stop"),
    "taken over": lambda: World(status="ACTIVE"),
    "launched": lambda: World(launch=True),
    "launched, deleted": lambda: World(launch=True, disposition="delete"),
}


@pytest.mark.parametrize("name", list(WORLDS))
@pytest.mark.parametrize("after_s", [1.0, 3600.0])
@pytest.mark.parametrize("written", [True, False])
@pytest.mark.invariant(10)
def test_a_crash_at_each_record_is_continued(name: str, after_s: float, *, written: bool) -> None:
    """Invariant 10: at any instruction."""
    places = crash_everywhere(
        WORLDS[name], lambda world, number: dies_at_record(world, number, written=written), after_s
    )
    assert places > 20


@pytest.mark.parametrize("name", list(WORLDS))
@pytest.mark.parametrize("after_s", [1.0, 3600.0])
@pytest.mark.invariant(10)
def test_a_crash_at_each_call_is_continued(name: str, after_s: float) -> None:
    """The journal has the intent, and the cloud has not."""
    assert crash_everywhere(WORLDS[name], dies_at_call, after_s) > 20


@pytest.mark.parametrize("fault", ["lost-reply", "apply-then-500", "hang"])
@pytest.mark.parametrize("point", ["nova.unshelve", "nova.shelve", "neutron.port_update"])
def test_a_crash_after_a_lost_reply_is_continued(fault: str, point: str) -> None:
    """Two blows: the reply is lost, and then the process."""

    def make() -> World:
        world = World()
        world.cloud_state.faults.add(fault, on=point)
        return world

    crash_everywhere(make, lambda world, number: dies_at_record(world, number, written=True), 1.0)
