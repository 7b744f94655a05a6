"""A driver that sleeps at any place of its run, and a person who takes the instance in that night."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from person import Person, Turns
from sleeping import Nap, Place, SleepyWorld

TAKES = {"active": "reboot", "stopped": "start", "shelved_offloaded": "unshelve"}
"""What one does about an instance as it is found."""


class Night:
    """One night, and the morning after it.

    Args:
        after_s: how long after the driver fell asleep the person comes.
    """

    def __init__(self, place: Place, *, lease_s: float, after_s: float, **options: Any) -> None:
        self.world = SleepyWorld(Nap(place), lease_s=lease_s, **options)
        self.person = Person(self.world, self.wait)
        self.turns = Turns(self.world, self.person, stranger_first=bool(options))
        self.way = ""
        self._after_s = after_s
        self._began_at: datetime | None = None
        self.world.nap.meanwhile = self._comes

    def wait(self, seconds: float) -> None:
        """Of the driver's machine only the wall clock goes on while it sleeps."""
        nap, clock = self.world.nap, self.world.clock
        (clock.suspend if nap.began_at is not None and nap.woke_at is None else clock.sleep)(seconds)
        self.world.cloud_state.nova.advance(clock.now())

    def play(self) -> bool:
        """To the end of the driver that woke: whether the person had the instance."""
        self.turns.carry()
        return self.person.has_it

    def script_was_started_on_theirs(self) -> bool:
        """After the driver woke."""
        woke_at, guests = self.world.nap.woke_at, self.world.guests.values()
        started = [one.script_started_at for one in guests if one.script_started_at is not None]
        return woke_at is not None and any(at >= woke_at for at in started)

    def _comes(self) -> None:
        server, now = self.world.instance(), self.world.clock.now()
        self._began_at = self._began_at or now
        early = (now - self._began_at).total_seconds() < self._after_s
        if self.person.has_it or early or server is None or server.task_state or server.vm_state not in TAKES:
            return
        self.way = TAKES[server.vm_state]
        self.person.takes(self.way)
