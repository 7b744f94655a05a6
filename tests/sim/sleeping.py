"""A driver's machine that sleeps once, at any place of a run: the process stands still, and its connections are dead afterwards.

The cloud, the instance and its switch go on meanwhile. Where it can sleep: at each record of the journal (before or after it is
on disk), at each call to the cloud and to the instance, and while it waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from switch import LIVE, Switches
from world import World

from jetrun.engine.context import RunContext
from jetrun.errors import CloudAmbiguous, CloudTransient, RemoteUnreachable
from jetrun.guarantee.lifecycle import Kind, RunState, apply, replay
from jetrun.testing.clock import SimClock
from jetrun.testing.sim_cloud import SimCloud
from jetrun.testing.sim_remote import SimFollower, SimRemote

T = TypeVar("T")

SLEEP_S = 8 * 3600.0
HOWS = {
    "record": ("before", "after"),
    "cloud": ("before", "cut", "lost", "late"),
    "remote": ("before", "lost"),
    "clock": ("before",),
}
"""How it can sleep at each kind of place. before: and then the call is made. cut: the call finds its connection dead, without
effect. lost: it took effect, and the answer never comes. late: the answer lay in the socket all night. Of reads, the last two."""
COMING_UP = frozenset({"scheduling", "networking", "unshelving", "spawning", "powering-on"})
LOCAL = frozenset({"is_pinned", "parse_console", "first_boot", "close", "warn_users"})
"""What the remote does without asking the instance."""


class Place(NamedTuple):
    """Where a run can sleep: the *number*-th of its kind, what is done there, and in which phase."""

    kind: str
    how: str
    number: int
    point: str
    phase: str


NOWHERE = Place("record", "before", 0, "", "")


class Nap:
    """One sleep at *place*.

    Attributes:
        passed: the places that the run came by. began_at, woke_at: None before. phase: in which the run is.
        covered: the switch was armed, or the instance was not up.
        meanwhile: what others do while it sleeps, every ten minutes.
    """

    def __init__(self, place: Place = NOWHERE) -> None:
        self.place = place
        self.how = place.how
        self.counts: Counter[str] = Counter()
        self.passed: list[Place] = []
        self.began_at: datetime | None = None
        self.woke_at: datetime | None = None
        self.phase = ""
        self.covered = False
        self.meanwhile: Callable[[], None] = lambda: None

    def due(self, kind: str, point: str, *, writes: bool = False) -> bool:
        """Whether it sleeps at this place."""
        self.counts[kind] += 1
        for how in HOWS[kind]:
            if kind != "cloud" or writes or how in {"lost", "late"}:
                self.passed.append(Place(kind, how, self.counts[kind], point, self.phase))
        return (kind, self.counts[kind]) == (self.place.kind, self.place.number)


class SleepyCloud(SimCloud):
    """The run's view of the cloud, with a sleep at a call."""

    def __init__(self, world: SleepyWorld) -> None:
        super().__init__(world.cloud_state, world.clock)
        self._world = world

    def _call(self, point: str, act: Callable[[str], T], *, writes: bool = False) -> T:
        world, nap = self._world, self._world.nap
        if not nap.due("cloud", point, writes=writes):
            return super()._call(point, act, writes=writes)
        dead = (CloudAmbiguous if writes else CloudTransient)(what=f"{point}: the connection is dead")
        if nap.how in {"before", "cut"}:
            world.sleep()
            if nap.how == "cut":
                raise dead
            return super()._call(point, act, writes=writes)
        result = super()._call(point, act, writes=writes)
        world.sleep()
        if nap.how == "lost":
            raise dead
        return result


class SleepyClock:
    """The driver's own clock, with a sleep of the machine in one of its own."""

    def __init__(self, world: SleepyWorld) -> None:
        self._world = world

    def now(self) -> datetime:
        return self._world.clock.now()

    def monotonic(self) -> float:
        return self._world.clock.monotonic()

    def sleep(self, seconds: float) -> None:
        if self._world.nap.due("clock", "sleep"):
            self._world.sleep()
        self._world.clock.sleep(seconds)


class SleepyRemote:
    """The run's hands on the instance, with a sleep at a call."""

    def __init__(self, remote: SimRemote, world: SleepyWorld) -> None:
        self._remote, self._world = remote, world

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._remote, name)
        if name == "first_boot":
            return self._first_boot
        if name in LOCAL:
            return inner

        def call(*words: Any, **more: Any) -> Any:
            done = self._slept(name, lambda: inner(*words, **more))
            if name == "beat":
                self._world.switches.beats[self._remote._connected or ""] = self._world.clock.now()
            return SleepyFollower(self, self._world) if name == "follow" else done

        return call

    def _slept(self, name: str, act: Callable[[], Any]) -> Any:
        nap = self._world.nap
        if not nap.due("remote", name):
            return act()
        if nap.how == "before":
            self._world.sleep()
            return act()
        act()
        self._world.sleep()
        raise RemoteUnreachable(what="the connection is dead")

    def _first_boot(self, switch: Any) -> str:
        self._world.switches.first_boot = switch
        return self._remote.first_boot(switch)

    def log_was_read(self, wait_s: float) -> bytes:
        """Nothing, after a while; it may be a long one. Afterwards nothing comes, and nothing tells of the dead connection."""
        self._world.clock.sleep(max(wait_s, 5.0))
        if self._world.nap.due("remote", "follower.read"):
            self._world.sleep()
            if self._world.nap.how == "lost":
                raise RemoteUnreachable(what="the connection is dead")
        return b""


class SleepyFollower(SimFollower):
    """The log of a script that prints nothing; as the real one, it asks nothing of the instance by itself."""

    def __init__(self, remote: SleepyRemote, world: SleepyWorld) -> None:
        super().__init__(remote._remote, world.clock)
        self._hands = remote

    def read(self, max_bytes: int, wait_s: float) -> bytes:
        del max_bytes
        return self._hands.log_was_read(wait_s)

    @property
    def ended(self) -> bool:
        return False


class ElsewhereClock:
    """The clock of a machine that is awake while the driver's sleeps."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.now().timestamp()

    def sleep(self, seconds: float) -> None:
        self._clock.suspend(seconds)


class SleepyWorld(World):
    """A world whose driver sleeps once.

    Attributes:
        late: starts that were asked for after the lease's deadline; none at the end of a good play.
    """

    def __init__(self, nap: Nap, *, lease_s: float, script_s: float = 60.0, **options: Any) -> None:
        self._folded: tuple[RunState, int] | None = None
        super().__init__(**options)
        self.nap = nap
        self.job = replace(self.job, max_lifetime_s=lease_s)
        self.remote_options["script_s"] = script_s
        self.cloud = SleepyCloud(self)
        self.switches = Switches(self)
        self.hands: SimRemote | None = None
        self.late: list[str] = []
        self._sleep_at_records()
        self._watch_starts()

    def context(self) -> RunContext:
        context = super().context()
        assert isinstance(context.remote, SimRemote)
        self.hands = context.remote
        context.remote = SleepyRemote(self.hands, self)  # type: ignore[assignment]
        context.clock = SleepyClock(self)
        return context

    def state(self) -> RunState:
        """As in any world; only what is new in the journal is folded."""
        state, number = self._folded or (replay(self.run, self.journal.records[:1]), 1)
        for record in self.journal.records[number:]:
            state = apply(state, record)
        self._folded = state, len(self.journal.records)
        return state

    def sleep(self) -> None:
        """The lid is closed, and opened in the morning."""
        nap, server = self.nap, self.instance()
        guest = self.guests.get(server.id) if server is not None else None
        nap.began_at = self.clock.now()
        coming_up = server is not None and server.task_state in COMING_UP
        up = server is not None and (server.really_on or coming_up)
        nap.covered = (
            not up or self.switches.first_boot is not None or (guest is not None and guest.switch_state in LIVE)
        )
        wakes_at = nap.began_at + timedelta(seconds=SLEEP_S)
        while self.clock.now() < wakes_at:
            nap.meanwhile()
            self.clock.suspend(min(600.0, (wakes_at - self.clock.now()).total_seconds()))
        self.cloud_state.nova.advance(self.clock.now())
        nap.woke_at = self.clock.now()
        if self.hands is not None:
            self.hands.close()

    def instance(self) -> Any:
        """The run's instance in the model, None before there is one."""
        mine = [one for one in self.cloud_state.nova.servers.values() if f"jetrun-run-{self.run}" in one.tags]
        return self.server or (mine[0] if mine else None)

    def _sleep_at_records(self) -> None:
        append, nap = self.journal.append, self.nap

        def sleepy(run: Any, kind: Kind, data: Any) -> Any:
            nap.phase = data["phase"] if kind is Kind.PHASE else nap.phase
            if not nap.due("record", kind.value):
                return append(run, kind, data)
            if nap.how == "before":
                self.sleep()
                return append(run, kind, data)
            record = append(run, kind, data)
            self.sleep()
            return record

        self.journal.append = sleepy  # type: ignore[method-assign]

    def _watch_starts(self) -> None:
        nova = self.cloud_state.nova
        act, create = nova.act, nova.create

        def is_late() -> bool:
            lease = self.state().lease
            return lease is not None and self.clock.now() > datetime.fromisoformat(lease["until_at"])

        def acting(caller: Any, key: str, action: str, *, request_id: str, now: datetime) -> None:
            if action in {"start", "unshelve", "resume", "unpause"} and is_late():
                self.late.append(action)
            act(caller, key, action, request_id=request_id, now=now)

        def creating(caller: Any, body: Any, *, request_id: str, now: datetime) -> Any:
            if is_late():
                self.late.append("create")
            return create(caller, body, request_id=request_id, now=now)

        nova.act, nova.create = acting, creating  # type: ignore[method-assign]
