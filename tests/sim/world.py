"""A run in virtual time on the pure models, and the invariants that hold of the models afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jetrun.cloud.profiles import BUILT_IN
from jetrun.devcloud.rules import Timings
from jetrun.devcloud.state import CloudState
from jetrun.engine.context import RunContext
from jetrun.engine.interrupts import Interrupts
from jetrun.engine.report import exit_code
from jetrun.engine.runner import carry
from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.lifecycle import Kind, Record, RunState, replay
from jetrun.guarantee.power import RunId
from jetrun.job import from_mapping, to_mapping
from jetrun.testing.clock import SimClock
from jetrun.testing.sim_cloud import SimCloud
from jetrun.testing.sim_remote import Guest, SimRemote

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

REAL = Timings(
    build=5, stop=3, start=1, snapshot=6, offload=1, unshelve=9, suspend=3, resume=2, reboot=3, delete=3, bounce=0.3
)
"""The lab's figures (openstack-lab notes, Timings)."""

SLOW = replace(REAL, unshelve=500, snapshot=850, stop=150, start=150)
"""As slow as the bounds allow: a run needs nearly all of its lease."""

DOWN = {"shelved_offloaded", "stopped", "deleted"}


class MemoryJournal:
    """The journal as a list; a crash can be placed at each record."""

    def __init__(self, clock: SimClock) -> None:
        self.records: list[Record] = []
        self._clock = clock

    def append(self, run: RunId, kind: Kind, data: Mapping[str, Any]) -> Record:
        record = Record(at=self._clock.now(), kind=kind, data=dict(data))
        self.records.append(record)
        return record

    def newest(self, run: RunId, kind: Kind) -> Mapping[str, Any] | None:
        return next((one.data for one in reversed(self.records) if one.kind is kind), None)


class QuietScreen:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def phase(self, phase: object) -> None: ...

    def event(self, name: str, **fields: object) -> None:
        self.events.append((name, fields))
        if name == "run.crashed":
            raise AssertionError(f"jetrun crashed: {fields['error']}") from fields.get("exc_info")  # type: ignore[misc]

    def output(self, data: bytes) -> None: ...

    def transfer(self, what: str, reading: object) -> None: ...


class World:
    """A cloud, a clock, the disks of its instances, and runs on them."""

    def __init__(
        self,
        *,
        status: str = "SHELVED_OFFLOADED",
        disposition: str = "shelve",
        launch: bool = False,
        bounds: Bounds | None = None,
        slow: bool = False,
    ) -> None:
        numbers = itertools.count(1)
        self.clock = SimClock(T0)
        self.cloud_state = CloudState(timings=SLOW if slow else REAL, net=20)
        for part in (
            self.cloud_state,
            self.cloud_state.identity,
            self.cloud_state.network,
            self.cloud_state.images,
            self.cloud_state.nova,
        ):
            name = "new_id" if hasattr(part, "new_id") else "_new_id"
            setattr(part, name, lambda: f"{next(numbers):08d}-0000-4000-8000-000000000000")
        self.cloud_state.seed(T0, public_key="ssh-ed25519 AAAA test")
        self.guests: dict[str, Guest] = {}
        self.cloud = SimCloud(self.cloud_state, self.clock)
        self.server = None if launch else self.cloud_state.add_shelved("vm", T0)
        if self.server is not None and status != "SHELVED_OFFLOADED":
            self._bring(status)
        where: dict[str, Any] = {"image": "devcloud-linux", "flavor": "m3.tiny"} if launch else {"on": "vm"}
        if status == "ACTIVE":
            where["take_over"] = "yes"
        job: dict[str, Any] = {"command": ["true"], "disposition": disposition, "instance": where}
        if slow:
            where["max_lifetime"] = "45m"
            job["budget"] = {"boot": "520s", "stage_out": "30s", "shutdown": "900s"}
        self.job = from_mapping(job, origin="simulation")
        self.profile = replace(BUILT_IN["jetstream2"], bounds=bounds or Bounds(), busy_load=10.0)
        self.run = RunId("run-1")
        self.journal = MemoryJournal(self.clock)
        self.journal.append(self.run, Kind.OPENED, {"job": to_mapping(self.job)})
        self.interrupts = Interrupts()
        self.screen = QuietScreen()
        self.told: list[dict[str, Any]] = []
        # Of a slow cloud, a script that never ends: every budget is needed.
        self.remote_options: dict[str, Any] = {"script_s": 1e7} if slow else {}

    def _bring(self, status: str) -> None:
        """Into a state, by its owner's own actions an hour ago."""
        nova, caller = self.cloud_state.nova, self.cloud.caller
        assert self.server is not None
        for number, action in enumerate(
            ["unshelve", {"SHUTOFF": "stop", "SUSPENDED": "suspend", "PAUSED": "pause"}.get(status, "")]
        ):
            if action:
                nova.act(caller, self.server.id, action, request_id=f"req-person-{number}", now=self.clock.now())
                self.clock.sleep(600)
                nova.advance(self.clock.now())
        nova.effects.clear()

    def context(self) -> RunContext:
        """A process that carries the run, from wherever its journal stands."""
        remote = SimRemote(self.cloud_state, self.clock, self.guests, **self.remote_options)
        return RunContext(
            run=self.run,
            job=self.job,
            state=self.state(),
            journal=self.journal,
            cloud=self.cloud,
            remote=remote,
            clock=self.clock,
            profile=self.profile,
            screen=self.screen,
            interrupts=self.interrupts,
            folder=Path("/nonexistent/jetrun"),
            output_dir=Path("/proc/self"),
            cloud_name="sim",
            owner="ada@lab",
            public_key="ssh-ed25519 AAAA test",
            tell=self.told.append,
        )

    def state(self) -> RunState:
        return replay(self.run, self.journal.records)

    def carry(self) -> int:
        """Carry the run to its end: the exit code."""
        return carry(self.context())

    # --- what must hold ---

    def check(self, code: int) -> None:
        """The invariants, on the model and not on calls."""
        nova = self.cloud_state.nova
        state = self.state()
        mine = [
            one
            for one in nova.servers.values()
            if one.metadata.get("jetrun_run") == self.run and (self.server is None or one.id != self.server.id)
        ]
        assert len(mine) <= 1, "one run never makes two instances"
        server = nova.servers.get(state.instance or "")
        where = self.describe(code)
        assert code == exit_code(state), where
        if state.receipt is not None and state.receipt.verified:
            assert server is not None, where
            assert not server.really_on, where
            assert server.vm_state in DOWN, where
            assert server.task_state is None, where
            assert code != 119, where
        if state.receipt is not None and not state.receipt.verified:
            assert code == 119, where
        if server is not None and server.really_on and state.spending_possible:
            assert code == 119, where
            assert self.told, where
        if state.instance is None:
            # Nothing is known to have been made: then nothing may turn up later either.
            self.clock.sleep(7200)
            nova.advance(self.clock.now())
            assert not [one for one in mine if one.really_on], where
        assert sum(guest.starts for guest in self.guests.values()) <= 1, where

    def describe(self, code: int) -> str:
        state = self.state()
        server = self.cloud_state.nova.servers.get(state.instance or "")
        truth = None if server is None else (server.vm_state, server.task_state, server.really_on)
        lines = [f"{record.at:%H:%M:%S} {record.kind.value} {dict(record.data)}" for record in self.journal.records[1:]]
        return "\n".join([f"code {code}, really {truth}", *lines])
