"""jetrun's own failures: whatever raises, wherever, the run ends in words, with 119 where the instance may be up."""

from __future__ import annotations

from typing import Any

import pytest
from world import World

from jetrun.engine import runner
from jetrun.guarantee.lifecycle import Kind, Phase


class OddError(Exception):
    """Nothing that the code knows."""


def raising(*_: object, **__: object) -> Any:
    raise OddError("odd")


def quiet(world: World) -> World:
    """A screen that takes a crash as an event, as the real one does."""
    world.screen.event = lambda name, **fields: world.screen.events.append((name, fields))  # type: ignore[method-assign]
    return world


@pytest.mark.invariant(4)
@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.CLOSED])
def test_a_phase_that_always_raises_ends_in_the_truth(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the shutdown itself: then a person is told."""
    world = quiet(World())
    monkeypatch.setitem(runner._ACTS, phase, raising)
    code = world.carry()
    world.check(code) if phase is not Phase.REPORT else None
    server = world.server
    assert server is not None
    if phase is Phase.SHUTDOWN:
        assert code == 119
        assert world.told, "a person is told"
        assert world.told[0]["error"]["code"] == "shutdown-unverified-internal-error"
    else:
        assert not server.really_on


@pytest.mark.invariant(1)
@pytest.mark.parametrize("error", [OddError("odd"), UnicodeEncodeError("utf-8", "x", 0, 1, "odd"), MemoryError()])
@pytest.mark.parametrize("number", range(1, 31))
def test_a_journal_that_breaks_at_any_record_never_keeps_the_instance_up(error: Exception, number: int) -> None:
    """Whatever it raises, and from whichever record on."""
    world = quiet(World())
    append = world.journal.append
    count = 0

    def breaking(run: Any, kind: Kind, data: Any) -> Any:
        nonlocal count
        count += 1
        if count >= number:
            raise error
        return append(run, kind, data)

    world.journal.append = breaking  # type: ignore[method-assign]
    world.carry()
    assert world.server is not None
    world.clock.sleep(600)
    world.cloud_state.nova.advance(world.clock.now())
    assert not world.server.really_on
