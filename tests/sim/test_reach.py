"""How often a booting instance is knocked at, in virtual time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from world import World

from jetrun.engine import connect
from jetrun.errors import InstanceNotStarted, RemoteError, RemoteRefused, RemoteUnreachable
from jetrun.remote.interface import Connected


class Booting:
    """A guest that answers only after a while, and until then with an error."""

    def __init__(self, world: World, error: RemoteError, *, boots_s: float) -> None:
        self._clock = world.clock
        self._error = error
        self._up_at = self._clock.monotonic() + boots_s
        self.tries: list[float] = []

    def is_pinned(self, instance: object) -> bool:
        return True

    def connect(self, target: object, *, within_s: float) -> Connected:
        self.tries.append(self._clock.monotonic())
        if self._clock.monotonic() < self._up_at:
            raise self._error
        return Connected(host_key_trust="pinned", host_key_fingerprint="")


def knocks(error: RemoteError, *, boots_s: float) -> list[float]:
    """The pauses between tries, in seconds, until the guest is reached."""
    world = World(status="ACTIVE")
    assert world.server is not None
    context: Any = world.context()
    context.state = replace(context.state, instance=world.server.id)
    context.remote = guest = Booting(world, error, boots_s=boots_s)
    connect.reach(context, within_s=300)
    return [after - before for before, after in pairwise(guest.tries)]


def test_a_guest_that_is_up_is_reached_within_half_a_second() -> None:
    """Each second of an instance that is up and not used is paid for."""
    pauses = knocks(RemoteUnreachable(what="no answer"), boots_s=60)
    assert pauses[-1] == pytest.approx(0.5, abs=0.2)
    assert max(pauses) < 1.0


def test_refused_logins_stay_below_what_openssh_shuts_out() -> None:
    """OpenSSH 9.8, PerSourcePenalties: 5 s for each refused login, enforced when 15 s have added up."""
    pauses = knocks(RemoteRefused(code="login-refused", what="our key is refused"), boots_s=60)
    assert min(pauses) >= 5.0


def test_an_instance_that_goes_off_before_it_is_reached_is_seen_within_seconds() -> None:
    """It powered itself off: waiting for its SSH would cost five minutes of its price, and end in the same."""
    world = World(status="ACTIVE")
    assert world.server is not None
    context: Any = world.context()
    context.state = replace(context.state, instance=world.server.id)
    context.remote = Booting(world, RemoteUnreachable(what="no answer"), boots_s=1e9)
    world.cloud_state.nova.guest_powered_off(world.server.id, world.clock.now())
    began = world.clock.monotonic()
    with pytest.raises(InstanceNotStarted) as caught:
        connect.reach(context, within_s=300)
    assert caught.value.code == "instance-lost"
    assert world.clock.monotonic() - began < 15
