"""Schedules of failure in virtual time: where the driver dies, what else goes wrong, who comes after it, and when a person does.

Each is played on the pure model from the beginning, and the invariants are checked on the model while it goes on and afterwards:
a start without a lease, a request after a person's start, a second instance, a delete over lost outputs, a receipt that is not true.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from test_fault_pairs import LAUNCH, SINGLE
from world import World

from jetrun.devcloud.errors import ApiError
from jetrun.engine.reaper import Sweep, reap_once
from jetrun.engine.reaping import Reaped
from jetrun.errors import CloudError
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import STARTING_ACTIONS
from jetrun.testing.sim_cloud import SimCloud

WORLDS: dict[str, dict[str, Any]] = {
    "shelved": {},
    "stopped, to stop": {"status": "SHUTOFF", "disposition": "stop"},
    "stopped, to shelve": {"status": "SHUTOFF"},
    "suspended": {"status": "SUSPENDED"},
    "paused, to stop": {"status": "PAUSED", "disposition": "stop"},
    "taken over": {"status": "ACTIVE"},
    "launched": {"launch": True},
    "launched, to delete": {"launch": True, "disposition": "delete"},
}
SLOW = "a slow cloud, and a script that never ends"
"""Not among the schedules: each takes a thousand steps."""
HEIRS = ("guardian", "reaper", "tomorrow")
"""Who comes after a driver that died: the guardian at once; the reaper, from another machine, when the lease has expired; the driver's
machine, a day later. The switch on the instance needs nobody: it works, or it is broken."""
SKIPS = (0, 1, 2, 4, 8, 16)
ORDERS = tuple(order for number in (1, 2, 3) for order in itertools.permutations(HEIRS, number))
STARTS = set(STARTING_ACTIONS)
UNKNOWING = Sweep(known={}, expected={})
"""A reaper on a machine without a journal."""


class Died(BaseException):
    """The process is gone; nothing of it runs any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One schedule.

    Attributes:
        crash: the driver dies ``before`` or ``after`` its n-th record is on disk, or at its n-th ``call``.
        fault: name and call of a fault that is met once, None for none; ``skip``: after how many calls of that kind.
        heirs: in order. person: after how many of them a person starts the instance; None for never.
        switch: the dead-man's switch works.
    """

    world: str
    crash: tuple[str, int]
    fault: tuple[str, str] | None
    skip: int = 0
    heirs: tuple[str, ...]
    person: int | None
    switch: bool


@cache
def places(world: str) -> tuple[tuple[str, int], ...]:
    """Where the driver of a run without faults can die."""
    played = World(**WORLDS[world])
    played.carry()
    records, calls = len(played.journal.records) - 1, len(played.cloud.calls)
    return tuple(
        [(when, number) for when in ("before", "after") for number in range(1, records + 1)]
        + [("call", number) for number in range(1, calls + 1)]
    )


@cache
def faults(world: str) -> tuple[tuple[tuple[str, str] | None, int], ...]:
    """What else can go wrong, and when."""
    pairs = LAUNCH if WORLDS[world].get("launch") else SINGLE
    return ((None, 0), *((fault, skip) for fault in pairs for skip in SKIPS))


def count() -> int:
    """How many schedules there are."""
    return sum(len(places(world)) * len(faults(world)) * len(_AFTER) for world in WORLDS)


_AFTER = tuple(
    (order, person, switch)
    for order in ORDERS
    for person in (None, *range(len(order)))
    for switch in (True, False)
)  # fmt: skip


def nth(number: int) -> Schedule:
    """The schedule of that number, from 0 to ``count()``."""
    for world in WORLDS:
        size = len(places(world)) * len(faults(world)) * len(_AFTER)
        if number < size:
            number, after = divmod(number, len(_AFTER))
            place, number = divmod(number, len(faults(world)))
            fault, skip = faults(world)[number]
            heirs, person, switch = _AFTER[after]
            return Schedule(
                world=world,
                crash=places(world)[place],
                fault=fault,
                skip=skip,
                heirs=heirs,
                person=person,
                switch=switch,
            )
        number -= size
    raise IndexError(number)


def undisturbed() -> Iterator[Schedule]:
    """Each world once, without a crash and without a fault."""
    for world in (*WORLDS, SLOW):
        yield Schedule(world=world, crash=("call", 0), fault=None, heirs=(), person=None, switch=True)


def some(number: int, seed: int) -> Iterator[Schedule]:
    """That many different schedules; the same seed gives the same."""
    yield from (nth(one) for one in random.Random(seed).sample(range(count()), number))  # noqa: S311


class Play:
    """One schedule, played.

    Attributes:
        touched: what was done to the instance against the invariants; empty at the end of a good play.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.world = World(**WORLDS.get(schedule.world, {"slow": True}))
        self.journal_append = self.world.journal.append
        self.person_has_it = False
        self.died = False
        self.spent = False
        self.rows: list[Reaped] = []
        self.broken: list[str] = []
        self._watch_the_model()
        if schedule.switch:
            self.world.clock.moved = self._tick
        self._ticked: dict[str, tuple[str, Any]] = {}
        if schedule.fault is not None:
            name, on = schedule.fault
            self.world.cloud_state.faults.add(name, on=on, times=1, skip=schedule.skip, seconds=5)

    # --- the invariants, where they can be broken ---

    def _watch_the_model(self) -> None:
        """Every request that reaches the model is judged there, whoever sent it."""
        nova = self.world.cloud_state.nova
        act, delete, create = nova.act, nova.delete, nova.create

        def acting(caller: Any, key: str, action: str, *, request_id: str, now: Any) -> None:
            if not request_id.startswith("req-person"):
                self._judge(action, key)
            act(caller, key, action, request_id=request_id, now=now)
            self.spent = self.spent or (action in STARTS and not request_id.startswith("req-person"))

        def deleting(caller: Any, key: str, *, request_id: str, now: Any) -> None:
            self._judge("delete", key)
            delete(caller, key, request_id=request_id, now=now)

        def creating(caller: Any, body: Any, *, request_id: str, now: Any) -> Any:
            self._judge("create", "", port=body["networks"][0]["port"])
            self.spent = True
            return create(caller, body, request_id=request_id, now=now)

        nova.act, nova.delete, nova.create = acting, deleting, creating  # type: ignore[method-assign]

    def _judge(self, action: str, key: str, port: str = "") -> None:
        try:
            self._judged(action, key, port)
        except AssertionError as error:
            # Whoever sent the request may survive it, as one that must go on with the next instance does.
            self.broken.append(str(error))
            raise

    def _judged(self, action: str, key: str, port: str) -> None:
        world, state = self.world, self.world.state()
        assert not self.person_has_it, f"invariant 5: {action} after a person's start"
        if action in STARTS | {"create"}:
            kinds = [record.kind for record in world.journal.records]
            assert Kind.LEASE_INTENDED in kinds, "invariant 1: no lease in the journal"
            intents = {Kind.CREATE_INTENDED} if action == "create" else {Kind.REQUEST_INTENDED}
            assert intents & set(kinds), f"invariant 1: {action} without an intent"
            rows = world.cloud_state.network.ports.values()
            held = [row for row in rows if (row["id"] == port if port else row["device_id"] == key)]
            assert any(f"run={world.run} " in row["description"] for row in held), f"invariant 2: {action}, no lease"
        elif action == "delete":
            assert state.launched or state.create_intended, "never delete what this run did not make"
            safe = not state.script_intended or bool((state.outputs or {}).get("complete"))
            assert safe, "invariant 8: deleted before the outputs are here"

    # --- who does what ---

    def _tick(self) -> None:
        """The switch on each instance: fires at its deadline, or when the script is over and nobody came; bound to its boot."""
        nova, now = self.world.cloud_state.nova, self.world.clock.now()
        for key, guest in self.world.guests.items():
            server = nova.servers.get(key)
            if server is None or not server.really_on or guest.switch is None:
                continue
            boot = next((row["request_id"] for row in reversed(server.actions) if row["action"] in STARTS), "")
            before, ticked_at = self._ticked.get(key, (boot, now))
            if boot != before and guest.switch_state in {"armed", "ending"}:
                late = now - ticked_at > timedelta(minutes=10)
                guest.switch_state = "disarmed" if late or guest.switch_state == "ending" else "armed"
            self._ticked[key] = boot, now
            if guest.switch_state == "armed" and now >= guest.switch.deadline_at:
                guest.switch_state = "spent"
                nova.guest_powered_off(key, now)

    def play(self) -> None:
        """From the driver's start to the last heir, and what must hold then."""
        self._with_crash(*self.schedule.crash)
        try:
            code = self.world.carry()
        except Died:
            self.died = True
        else:
            self._closed(code)
        self._alive_again()
        for number, heir in enumerate(self.schedule.heirs):
            if self.schedule.person == number:
                self._a_person_starts_it()
            {"guardian": self._guardian, "reaper": self._reaper, "tomorrow": self._tomorrow}[heir]()
        self._at_the_end()

    def _with_crash(self, where: str, number: int) -> None:
        counted = 0

        def due() -> bool:
            nonlocal counted
            counted += 1
            return counted == number

        def append(run: Any, kind: Kind, data: Any) -> Any:
            if not due():
                return self.journal_append(run, kind, data)
            if where == "after":
                self.journal_append(run, kind, data)
            raise Died

        def before_call(point: str) -> None:
            if due():
                raise Died

        if where == "call":
            self.world.cloud.before_call = before_call
        else:
            self.world.journal.append = append  # type: ignore[method-assign]

    def _alive_again(self) -> None:
        self.world.journal.__dict__.pop("append", None)
        self.world.cloud.before_call = lambda point: None

    def _closed(self, code: int) -> None:
        """A process of this run has ended by itself: what it said is so."""
        if not self.person_has_it:
            self.world.check(code)
        if self.schedule.crash == ("call", 0):
            assert code in {0, 124}, f"a run without a fault ends with {code}"
            rows = self.world.cloud_state.network.ports.values()
            assert not [row for row in rows if row["description"]], "its lease is given back"
        server, receipt = self._server(), self.world.state().receipt
        if server is not None and server.really_on and self.spent and not self.person_has_it:
            assert code == 119, f"invariant 4: up, and the exit code is {code}"
            assert any(one["exit_code"] == 119 for one in self.world.told), "invariant 4: up, and nobody was told"
        if receipt is not None and receipt.verified:
            first, second = receipt.observations[0], receipt.observations[-1]
            assert first.task_state is None, "invariant 3: a read with a task"
            assert second.task_state is None, "invariant 3: a read with a task"
            gap_s = (second.at - first.at).total_seconds()
            millisecond = timedelta(milliseconds=1)  # as a receipt is written
            assert gap_s >= self.world.profile.bounds.verify_gap_s, f"invariant 3: {gap_s} s between the two reads"
            if self.schedule.fault is None and not self.died:
                until = self.world.state().lease or {}
                assert second.at.isoformat() <= until["until_at"], "invariant 7: the lease was over before the run"
            replies = [one.at for one in self.world.journal.records if one.kind is Kind.REQUEST_REPLIED]
            assert not replies or first.at >= max(replies) - millisecond, (
                "invariant 3: read before the last request was answered"
            )

    def _continue(self) -> None:
        state = self.world.state()
        if state.exit_code is not None and state.receipt is not None and not state.receipt.verified:
            # As House.reopen_if_unverified does it.
            self.world.journal.append(self.world.run, Kind.SHUTDOWN_BEGAN, dict(state.shutdown or {}))
        if self.world.state().exit_code is None:
            self._closed(self.world.carry())

    def _guardian(self) -> None:
        self.world.clock.sleep(1)
        self._continue()

    def _tomorrow(self) -> None:
        self.world.clock.sleep(86400)
        self._continue()

    def _reaper(self) -> None:
        """From a machine that knows nothing, once the lease must have expired."""
        world = self.world
        world.clock.sleep(world.job.max_lifetime_s + world.profile.bounds.lease_margin_s + 60)
        elsewhere = SimCloud(world.cloud_state, world.clock)
        try:
            rows = reap_once(elsewhere, world.profile, world.clock, world.screen, UNKNOWING)
        except CloudError:
            # cron comes again; here the next time is at once
            rows = reap_once(elsewhere, world.profile, world.clock, world.screen, UNKNOWING)
        self.rows += rows

    def _a_person_starts_it(self) -> None:
        """In the web page, for their own work, whatever state it is in."""
        world = self.world
        server = self._server()
        if server is None:
            return
        # Not within the minutes in which a lost request of the run may still begin: nobody can tell the two apart then.
        world.clock.sleep(360)
        nova = world.cloud_state.nova
        nova.advance(world.clock.now())
        word = {"stopped": "start", "shelved_offloaded": "unshelve", "suspended": "resume", "paused": "unpause"}
        action = word.get(server.vm_state)
        if action is None or server.task_state is not None:
            return
        try:
            nova.act(world.cloud.caller, server.id, action, request_id=f"req-person-{action}", now=world.clock.now())
        except ApiError:
            return
        world.clock.sleep(900)
        nova.advance(world.clock.now())
        self.person_has_it = server.really_on
        # A guest that powers itself off now does so under its person, and by nobody's doing.
        faults = world.cloud_state.faults
        for one in faults.to_list():
            if one["name"] == "guest-poweroff":
                faults.clear(one["id"])

    def _server(self) -> Any:
        world = self.world
        if world.server is not None:
            return world.cloud_state.nova.servers.get(world.server.id)
        mine = [one for one in world.cloud_state.nova.servers.values() if one.metadata.get("jetrun_run") == world.run]
        assert len(mine) <= 1, "invariant 6: one run made two instances"
        return mine[0] if mine else None

    def _at_the_end(self) -> None:
        """Up only where a person has it, or was told that it is."""
        assert not self.broken, self.broken[0]
        world = self.world
        world.clock.sleep(7200)
        world.cloud_state.nova.advance(world.clock.now())
        server = self._server()
        if self.person_has_it:
            assert server.really_on, "invariant 5: a person's instance was taken from them"
            return
        told = any(one["exit_code"] == 119 for one in world.told) or any(not row.good for row in self.rows)
        up = server is not None and server.really_on
        untouched = world.server is not None and not self.spent
        assert not up or told or untouched, "invariant 4: it is up, and nobody was told"
        assert sum(guest.starts for guest in world.guests.values()) <= 1, "invariant 10: the script ran twice"


def play(schedule: Schedule) -> Play:
    """Play it; a violation says which schedule it was.

    Raises:
        AssertionError: an invariant does not hold.
    """
    played = Play(schedule)
    try:
        played.play()
    except AssertionError as error:
        raise AssertionError(f"{schedule}\n{error}\n{played.world.describe(-1)}") from error
    return played
