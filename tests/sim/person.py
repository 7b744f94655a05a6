"""Somebody who starts an instance for their own work after a run, by each way there is; and everybody of jetrun's who comes by then.

What jetrun asks of the model after that is kept in ``Turns.touched``: it must stay empty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

from sleeping import SLEEP_S, Nap, Place, SleepyWorld
from switch import is_running
from world import QuietScreen

from jetrun.engine import guardian
from jetrun.engine.guarding import Guarded
from jetrun.engine.reaper import Sweep, reap_once
from jetrun.engine.reaping import Reaped
from jetrun.guarantee.lease import from_text
from jetrun.guarantee.lifecycle import Kind
from jetrun.testing.sim_cloud import SimCloud

WAYS = {
    "start": "stopped",
    "unshelve": "shelved_offloaded",
    "resume": "suspended",
    "unpause": "paused",
    "reboot": "active",
    "hard reboot": "active",
    "hard reboot of what is off": "stopped",
    "reboot inside": "active",
}
"""Each way, and the vm_state in which it is one."""
_TO = {"stopped": "stop", "shelved_offloaded": "shelve", "suspended": "suspend", "paused": "pause"}
_FROM = {"stopped": "start", "shelved_offloaded": "unshelve", "suspended": "resume", "paused": "unpause"}
STEP_S = 120.0
"""Between two things that a person does."""


@dataclass
class Person:
    """Somebody with the same credential and a browser.

    Attributes:
        wait: lets time pass. has_it: since their last act the instance is theirs.
    """

    world: SleepyWorld
    wait: Callable[[float], None]
    has_it: bool = False
    number: int = 0

    def takes(self, way: str) -> None:
        """Bring the instance up by *way*, through the state that it needs."""
        server = self.world.instance()
        self.wait(0)
        if server.vm_state != WAYS[way] and server.vm_state in _FROM:
            self._act(_FROM[server.vm_state])
        if server.vm_state != WAYS[way]:
            self._act(_TO[WAYS[way]])
        assert server.vm_state == WAYS[way], f"{way} while it is {server.vm_state}"
        if way == "reboot inside":
            self.world.switches.reboot_inside(server.id)
        else:
            self._act(way.removesuffix(" of what is off"))
        assert is_running(server), f"{way} leaves it {server.vm_state}"
        self.has_it = True

    def _act(self, action: str) -> None:
        world, server = self.world, self.world.instance()
        self.number += 1
        request_id = f"req-person{self.number}-{action.replace(' ', '-')}"
        world.cloud_state.nova.act(
            world.cloud.caller, server.id, action, request_id=request_id, now=world.clock.now()
        )  # fmt: skip
        self.wait(STEP_S)


@dataclass
class Turns:
    """Driver, guardian, reaper and switch, one after the other, again and again.

    Attributes:
        stranger_first: the reaper that knows nothing of the run comes before all others.
        touched: requests of jetrun's that reached the instance after the person's start. told: how often the owner was told of that
            start by processes of the run as long as its guardian stood. rows: what the reapers said.
    """

    world: SleepyWorld
    person: Person
    stranger_first: bool = False
    touched: list[str] = field(default_factory=list)
    rows: list[Reaped] = field(default_factory=list)
    told: int = 0

    def __post_init__(self) -> None:
        nova = self.world.cloud_state.nova
        act, delete = nova.act, nova.delete
        self.page: Any = SimpleNamespace(verdict=guardian.UNDER_WAY)

        def acting(caller: Any, key: str, action: str, *, request_id: str, now: Any) -> None:
            if self.person.has_it and not request_id.startswith("req-person"):
                self.touched.append(f"{action} at {now:%H:%M}")
            act(caller, key, action, request_id=request_id, now=now)

        def deleting(caller: Any, key: str, *, request_id: str, now: Any) -> None:
            if self.person.has_it:
                self.touched.append(f"delete at {now:%H:%M}")
            delete(caller, key, request_id=request_id, now=now)

        nova.act, nova.delete = acting, deleting  # type: ignore[method-assign]

    def turn(self) -> None:
        """The guardian continues the run; a reaper here, with its journal; another one elsewhere, without. Or the other way round."""
        comers = [
            self.continues,
            lambda: self.reap({str(self.world.state().instance): self.world.state()}),
            lambda: self.reap({}),
        ]
        for comes in reversed(comers) if self.stranger_first else comers:
            comes()

    def continues(self) -> None:
        """As ``jetrun continue`` does it, whether or not the guardian still stands."""
        world, state = self.world, self.world.state()
        if state.exit_code is not None and state.receipt is not None and not state.receipt.verified:
            world.journal.append(world.run, Kind.SHUTDOWN_BEGAN, dict(state.shutdown or {}))
        if world.state().exit_code is None:
            self.carry()

    def carry(self) -> int:
        """One process of the run, from where its journal stands, and what its guardian learns: the exit code."""
        stood, before = self.page.verdict != guardian.DONE, len(self.world.told)
        code = self.world.carry()
        told = self.world.told[before:]
        self.told += sum(stood and str((one["error"] or {}).get("code", "")).endswith("somebody-elses") for one in told)
        Guarded(self.page).release(self.world.state().receipt, told=bool(told))
        return code

    def reap(self, known: dict[str, Any]) -> None:
        world = self.world
        elsewhere = SimCloud(world.cloud_state, world.clock)
        self.rows += reap_once(elsewhere, world.profile, world.clock, QuietScreen(), Sweep(known=known, expected={}))

    def leases(self) -> list[Any]:
        """The leases that stand on the cloud's ports."""
        rows = self.world.cloud_state.network.ports.values()
        return [lease for row in rows if (lease := from_text(row["description"])) is not None]


def asleep(point: str, how: str, *, lease_s: float, number: int = 0, **options: Any) -> SleepyWorld:
    """A world whose driver sleeps at that place: the *number*-th of its name, from 0."""
    return SleepyWorld(Nap(_place(point, how, number, tuple(options.items()))), lease_s=lease_s, **options)


@cache
def _place(point: str, how: str, number: int, options: tuple[tuple[str, Any], ...]) -> Place:
    plain = SleepyWorld(Nap(), lease_s=SLEEP_S * 2, **dict(options))
    plain.carry()
    return [one for one in plain.nap.passed if (one.point, one.how) == (point, how)][number]
