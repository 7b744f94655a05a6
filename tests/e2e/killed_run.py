"""One run whose processes are killed: how it and its instance fare, and which layer brought the instance down."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import run_processes
from kill_plan import SECTIONS, Pace, Plan
from runs import Desk

from jetrun.guarantee.lease import Lease, from_text
from jetrun.guarantee.requests import ENDING_ACTIONS

JOB = """
script = "job.sh"
timeout = "{script_s}s"
grace = "1s"
[instance]
on = "{on}"
max_lifetime = "{lease_s}s"
[budget]
boot = "1s"
stage_in = "1s"
stage_out = "1s"
shutdown = "1s"
"""
EARLIER = "an earlier run's switch"
"""It was not marked as ending, and fired at the next start, which was not its run's."""
PHASE = re.compile(r'"phase": "(\w+)", "event": "phase.entered"')
WAKING = {"scheduling", "spawning", "unshelving", "powering-on", "networking"}
"""Tasks at whose end an instance is up."""


@dataclass(kw_only=True)
class KilledRun:
    """A run on an instance of its own, with what is done to it and what was seen. Instants are of the wall clock, in seconds.

    Attributes:
        pace: of an undisturbed run, None while that is measured. offset: how many actions of the instance are older than this run.
        missed: it had ended before its blow fell. section, entered: where its driver is, and since when.
        killed: (when, whom, in which phase) of each signal that was sent.
        up_since, off_since, free_since: the newest beginning of each state; free is SHELVED_OFFLOADED without a task.
        actions_at_off, switch_at_off: the instance's actions, and the file of its switch, when it was last seen to go off.
        switch_before: that file when this run began.
        written: what stands on the instance's port. lease: the newest lease of this run that stood there.
        ended_at: when the driver had ended. quiet_since: when no process of it was left.
        up_past_lease: it was seen up after its lease and margin, with nobody left.
        reaped: the reaper's verdict, empty before it came.
    """

    number: int
    plan: Plan | None
    desk: Desk
    instance: str
    pace: Pace | None
    lease_s: int
    margin_s: int
    offset: int
    killed: list[tuple[float, str, str]] = field(default_factory=list)
    missed: bool = False
    blows: int = 0
    section: int = 0
    entered: float = 0.0
    up_since: float = 0.0
    off_since: float = 0.0
    free_since: float = 0.0
    actions_at_off: list[dict[str, Any]] = field(default_factory=list)
    switch_at_off: str = ""
    switch_before: str = ""
    row: dict[str, Any] = field(default_factory=dict)
    lease: Lease | None = None
    written: str = ""
    continued_at: float = 0.0
    quiet_since: float = 0.0
    ended_at: float = 0.0
    up_past_lease: bool = False
    reaped: str = ""

    def begin(self) -> None:
        """Start the driver."""
        self.switch_before = self.switch()
        endless = self.plan is not None and self.plan.endless
        self.desk.script(f"echo begun; sleep {600 if endless else 0.5}; echo ended\n")
        job = JOB.format(on=self.instance, lease_s=self.lease_s, script_s=1 if endless else 4)
        (self.desk.folder / "job.toml").write_text(job)
        with (self.desk.folder / "driver.out").open("wb") as out:
            self.driver = self.desk.start("run", "job.toml", stdout=out, stderr=subprocess.STDOUT)
        self.began = self.entered = time.time()

    # --- its processes ---

    def living(self) -> dict[str, list[int]]:
        """Its processes by what they are."""
        return run_processes.living(self.desk.folder, self.driver.pid)

    def is_alive(self) -> bool:
        """Whether any process of it lives, looked at twice: one that is being made is in no list."""
        if self.driver.poll() is None or self.living():
            return True
        time.sleep(0.005)
        return bool(self.living())

    def strike(self) -> None:
        """Kill whom the plan has for now; a run that has ended before counts as missed."""
        now = time.time()
        if self.plan is None or self.pace is None or self.missed:
            return
        section = SECTIONS.index(self.phase())
        if section != self.section:
            self.section, self.entered = section, now
        if not self.killed:
            self.missed = self.driver.poll() is not None
            planned, after_s = self.pace.instant(*self.plan.at)
            if not self.missed and (section > planned or (section == planned and now >= self.entered + after_s)):
                self._blow(self.plan.first)
        elif self.plan.second and self.blows == 1:
            if not self.continued_at and self.living().get("continuer"):
                self.continued_at = now
            if self.continued_at and now >= self.continued_at + self.plan.again_at * self.pace.life_s:
                self._blow(self.plan.second)

    def _blow(self, targets: tuple[str, ...]) -> None:
        """Kill them in this order; a blow that meets nobody, because the guardian is not there yet, falls later."""
        living, phase = self.living(), self.phase()
        for target in targets:
            for pid in living.get(target, []):
                if run_processes.kill(pid):
                    self.killed.append((time.time(), target, phase))
        self.blows += bool(self.killed)

    def end(self) -> None:
        """No process of it is left."""
        run_processes.end_all(self.desk.folder, self.driver.pid)
        self.driver.wait()

    # --- its journal ---

    def records(self) -> list[tuple[float, str, dict[str, Any]]]:
        """(when, kind, data), oldest first; empty before there is a journal."""
        try:
            with closing(sqlite3.connect(f"file:{self.desk.folder}/home/journal.sqlite?mode=rw", uri=True)) as journal:
                rows = journal.execute("SELECT at, kind, data FROM records ORDER BY seq").fetchall()
        except sqlite3.Error:
            return []
        return [(datetime.fromisoformat(at).timestamp(), kind, json.loads(data)) for at, kind, data in rows]

    def phase(self) -> str:
        """Where the run is."""
        # From the log: reading the journal a hundred times a second would be in its writers' way.
        entered = PHASE.findall(self.log.read_text()) if self.log.exists() else []
        return entered[-1] if entered else SECTIONS[0]

    def claims_verified(self) -> bool:
        """Whether its newest receipt says that the instance is proven down."""
        receipts = [data for _, kind, data in self.records() if kind == "receipt.written"]
        return bool(receipts) and bool(receipts[-1]["verified"])

    @property
    def log(self) -> Path:
        """What it has logged, or a file that is not there."""
        return self.desk.folder / "home/runs" / (self.name() or "none yet") / "run.jsonl"

    def name(self) -> str:
        """The run's id, empty before it has one."""
        return next((one.name for one in (self.desk.folder / "home/runs").glob("*")), "")

    def was_armed(self) -> bool:
        """Whether the journal says that the switch was armed and read back."""
        return any(kind == "switch.armed" for _, kind, _ in self.records())

    def story(self) -> str:
        """All that is known of it, for a failure."""
        lines = [f"run {self.name()}, number {self.number}, {self.plan}", f"  {self.pace}"]
        lines += [f"  {_clock(at)} SIGKILL to {whom} in {phase}" for at, whom, phase in self.killed]
        lines += [f"  {_clock(at)} {kind} {json.dumps(data)[:300]}" for at, kind, data in self.records()]
        for action in self.row.get("actions", [])[self.offset :]:
            event = action["events"][0]
            lines.append(
                f"  {action['start_time']} {action['action']} {action['request_id']} {event['result']} by {action['user_id']}"
            )
        now = {key: value for key, value in self.row.items() if key not in {"actions", "metadata", "tags"}}
        seen = {what: getattr(self, what) for what in ("began", "up_since", "off_since", "free_since", "quiet_since")}
        lines += [
            f"  really: {now}", f"  port: {self.written!r}", f"  reaper: {self.reaped!r}", f"  switch: {self.switch()!r}",
            f"  when it went off: {self.switch_at_off!r} {self.actions_at_off}",
            "  seen: " + ", ".join(f"{what} {_clock(at)}" for what, at in seen.items() if at),
        ]  # fmt: skip
        for name in ("driver.out", *(str(one) for one in (self.desk.folder / "home/runs").glob("*/guardian.log"))):
            path = self.desk.folder / name
            lines.append(f"  {path.name}:\n{path.read_text(errors='replace')[-3000:]}")
        return "\n".join(lines)

    # --- its instance ---

    @property
    def is_up(self) -> bool:
        """Something runs there, or is about to."""
        row = self.row
        known = row["vm_state"] in {"active", "stopped", "shelved", "shelved_offloaded"}
        return bool(row["really_on"] or row["process"] or row["task_state"] in WAKING or not known)

    @property
    def is_free(self) -> bool:
        """Nothing is charged any more."""
        row = self.row
        return not self.is_up and row["vm_state"] == "shelved_offloaded" and row["task_state"] is None

    def see(self, row: dict[str, Any], written: str) -> None:
        """What is really so now, and what stands on the instance's port."""
        now, before = time.time(), self.row
        was = (self.is_up, self.is_free) if before else (False, True)
        self.row, self.written = row, written
        if self.is_up and not was[0]:
            self.up_since = now
        if was[0] and not self.is_up:
            self.off_since, self.actions_at_off, self.switch_at_off = now, row["actions"][self.offset :], self.switch()
        if self.is_free and not was[1]:
            self.free_since = now
        lease = from_text(written)
        if lease is not None and lease.run == self.name():
            self.lease = lease
        if self.lease is not None and self.is_up and now > self.due_at and self.quiet_since:
            self.up_past_lease = True

    @property
    def due_at(self) -> float:
        """When its lease has expired, with margin."""
        return self.lease.until_at.timestamp() + self.margin_s if self.lease is not None else 0.0

    def switch(self) -> str:
        """The file of the switch on the instance's disk."""
        path = self.desk.cloud.folder / "instances" / self.instance / "root/var/lib/jetrun/switch"
        return path.read_text() if path.exists() else ""

    # --- who did it ---

    def layer(self) -> str:
        """Which layer brought the instance down for the last time."""
        if not self.killed:
            return "not killed"
        if not self.up_since:
            return "never up"
        if self.off_since <= self.killed[0][0]:
            return "down before the kill"
        lines = self.switch_at_off.splitlines()
        if "state=spent" in lines and f"run={self.name()}" in lines:
            return "switch"
        if "state=spent" in lines and self.switch_at_off != self.switch_before:
            return EARLIER
        return self._asker(self.actions_at_off)

    def freed_by(self) -> str:
        """Whose request ended the charge, ``unknown`` where nobody's was needed."""
        return self._asker(self.row["actions"][self.offset :])

    def _asker(self, actions: list[dict[str, Any]]) -> str:
        """Whose the newest request to end it was: of whoever carried the run then, or of the reaper, which has no journal here."""
        asked = [one for one in actions if one["action"] in ENDING_ACTIONS and one["user_id"]]
        if not asked:
            return "unknown"
        action = asked[-1]
        began = datetime.fromisoformat(action["start_time"]).replace(tzinfo=UTC).timestamp()
        records = self.records()
        replied = {data.get("request_id") for _, kind, data in records if kind == "request.replied"}
        carrier, asker = 0, 0
        for at, kind, data in records:
            carrier = data["pid"] if kind == "run.owned" else carrier
            if kind == "request.replied" and data["request_id"] == action["request_id"]:
                asker = carrier
            elif kind == "request.intended" and action["request_id"] not in replied and -1 < began - at + 1 < 3:
                # Killed between the request and its answer: the journal has the intention alone, of about that second.
                asker = carrier
        if not asker:
            return "reaper" if self.quiet_since and began >= self.due_at - 1 else "unknown"
        return "driver" if asker == self.driver.pid else "guardian"

    def seconds(self, until: float) -> float:
        """From the last signal before *until*."""
        return until - max(at for at, _, _ in self.killed if at <= until)


def _clock(at: float) -> str:
    """An instant, for people."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]
