"""The kinds of end after which a person may start an instance for their own work."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from person import Person, Turns, asleep
from sleeping import Nap, SleepyWorld

from jetrun.devcloud import orders
from jetrun.guarantee.lifecycle import Kind

LEASE_S = 2 * 3600.0
"""Shorter than a night."""
WORLDS: dict[str, dict[str, Any]] = {"shelve": {}, "stop": {"status": "SHUTOFF", "disposition": "stop"}}
STRANGER_FIRST = "stop"
"""The world in which a reaper without the journal comes before the run's own processes."""
MOMENTS = ("at once", "an hour later", "just before the deadline", "after the deadline")


class DiedError(BaseException):
    """The process is gone."""


class Story:
    """One run to its end, a person, and the world afterwards.

    Args:
        take: what the person does at the moment.
    """

    def __init__(self, end: str, world: str, moment: str, take: Callable[[Person], None]) -> None:
        self.end, self.moment, self.take = end, moment, take
        options = WORLDS[world]
        if end.startswith("asleep"):
            point = {"asleep, script over": "script.started", "asleep before the shutdown": "shutdown.began"}[end]
            self.world = asleep(point, "after", lease_s=LEASE_S, **options)
        else:
            self.world = SleepyWorld(
                Nap(), lease_s=LEASE_S, script_s=1e7 if end == "switch at the deadline" else 60.0, **options
            )
        self.person = Person(self.world, self.wait)
        self.turns = Turns(self.world, self.person, stranger_first=world == STRANGER_FIRST)
        self.until_at = self.world.clock.now() + timedelta(seconds=LEASE_S)

    def wait(self, seconds: float) -> None:
        """The driver's machine sleeps, or nothing of the run is there any more."""
        world = self.world
        asleep = world.nap.began_at is not None and world.nap.woke_at is None
        (world.clock.suspend if asleep else world.clock.sleep)(seconds)
        world.cloud_state.nova.advance(world.clock.now())

    def play(self) -> bool:
        """To the person's start; False where the moment was over before the end was."""
        if self.end.startswith("asleep"):
            self.world.nap.meanwhile = self._in_the_night
            self.turns.carry()
            return self.person.has_it
        getattr(self, "_" + self.end.replace(" ", "_").replace(",", ""))()
        return self._moment_comes()

    def _moment_comes(self) -> bool:
        left_s = self._left_s()
        if left_s < 0:
            return False
        self.wait(left_s)
        self.take(self.person)
        return True

    def _left_s(self) -> float:
        to_deadline_s = (self.until_at - self.world.clock.now()).total_seconds()
        match self.moment:
            case "at once":
                return 60.0
            case "an hour later":
                return 3600.0
            case "just before the deadline":
                return to_deadline_s - 400
            case _:
                return max(60.0, to_deadline_s + 180)

    def _in_the_night(self) -> None:
        """Once it is off: at the moment, counted from then."""
        server = self.world.instance()
        if self.person.has_it or server.really_on:
            return
        self._moment_comes()

    # --- the ends ---

    def _verified(self) -> None:
        assert self.turns.carry() == 0

    def _verified_unheard(self) -> None:
        """The instance did not answer SSH at the end, so that its switch was not told."""
        append = self.world.journal.append

        def cutting(run: Any, kind: Kind, data: Any) -> Any:
            if kind is Kind.SHUTDOWN_BEGAN:
                self.world.cloud_state.faults.add("ssh-drop", times=-1)
            return append(run, kind, data)

        self.world.journal.append = cutting  # type: ignore[method-assign]
        assert self.turns.carry() == 0
        self.world.cloud_state.faults.clear()

    def _stuck(self) -> None:
        """The shutdown's task sticks; the staff reset it, and it runs on."""
        world = self.world
        world.cloud_state.faults.add("stuck-task", on=f"nova.{world.job.disposition.value}")
        assert self.turns.carry() == 119
        orders.reset_state(world.cloud_state.nova, world.instance().id, "active", world.clock.now())

    def _switch_after_the_script(self) -> None:
        """The driver's machine is gone; half an hour after the script the switch fires."""
        self._dies()
        self.wait(2400)
        assert self.world.switches.fired

    def _switch_at_the_deadline(self) -> None:
        self._dies()
        self.wait(LEASE_S + 60)
        assert self.world.switches.fired

    def _reaped(self) -> None:
        """By somebody else's cron; the run's journal knows nothing of it."""
        self._dies()
        self.wait(LEASE_S + 180)
        self.turns.reap({})
        assert [row.good for row in self.turns.rows] == [True]
        self.turns.rows.clear()

    def _dies(self) -> None:
        append = self.world.journal.append

        def dying(run: Any, kind: Kind, data: Any) -> Any:
            record = append(run, kind, data)
            if kind is Kind.SCRIPT_STARTED:
                raise DiedError
            return record

        self.world.journal.append = dying  # type: ignore[method-assign]
        try:
            self.turns.carry()
        except DiedError:
            self.world.journal.append = append  # type: ignore[method-assign]


ENDS = (
    "verified",
    "verified, unheard",
    "stuck",
    "switch after the script",
    "switch at the deadline",
    "reaped",
    "asleep, script over",
    "asleep before the shutdown",
)
