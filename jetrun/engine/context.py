"""What every phase of a run works with: the interfaces, the journal and the state that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from jetrun.cloud.interface import Cloud, ShelveKeys
from jetrun.engine.clock import Clock
from jetrun.engine.guarding import Guard, Unguarded
from jetrun.engine.interrupts import Interrupts
from jetrun.errors import CloudError, ExitCode, InternalError, JetrunError, RemoteError, Secret
from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.lease import Lease
from jetrun.guarantee.lifecycle import Kind, Phase, Record, RunState, apply
from jetrun.guarantee.power import Disposition, InstanceId, Observation, RunId
from jetrun.job import Job
from jetrun.remote.interface import Remote, TransferReading


class Screen(Protocol):
    """Whoever watches the run: a terminal, a log, nobody. No method ever raises."""

    def phase(self, phase: Phase) -> None:
        """A phase began."""

    def event(self, name: str, **fields: object) -> None:
        """Something happened; *name* is listed in docs/events.md."""

    def output(self, data: bytes) -> None:
        """New output of the script."""

    def transfer(self, what: str, reading: TransferReading) -> None:
        """How a transfer stands."""


class RunJournal(Protocol):
    """The journal as the engine needs it."""

    def append(self, run: RunId, kind: Kind, data: Mapping[str, Any]) -> Record:
        """Add one record; durable when this returns."""

    def newest(self, run: RunId, kind: Kind) -> Mapping[str, Any] | None:
        """The data of the newest record of that kind, which another process may have written; None without one."""


class CloudProfile(Protocol):
    """What is known of the cloud's policy; data in cloud/profiles.py."""

    @property
    def name(self) -> str:
        """Of the profile."""

    @property
    def bounds(self) -> Bounds:
        """Time bounds for this cloud."""

    @property
    def shelved_is_down(self) -> bool:
        """SHELVED without offloading costs nothing here."""

    @property
    def unit(self) -> str:
        """Of the cost, such as SU."""

    def rate_per_hour(self, flavor: str | None, vcpus: int | None, status: str) -> float | None:
        """Cost per hour in that status, None where the rate is unknown."""

    @property
    def rate_source(self) -> str:
        """Where the rates come from, and of what date."""

    @property
    def ssh_port(self) -> int:
        """Where instances of this cloud listen, unless the job says otherwise."""

    @property
    def ssh_user(self) -> str:
        """Whom to log in as, unless the job says otherwise."""

    @property
    def busy_load(self) -> float:
        """Load average per CPU above which a running instance counts as in use."""


class Interrupted(Exception):  # noqa: N818 - not an error: somebody asked
    """The run was asked to end."""


@dataclass(kw_only=True)
class RunContext:
    """One run in this process.

    Attributes:
        state: folded from the journal; changed only by ``record``.
        folder: the run's local folder (log, manifest). output_dir: where outputs go.
        cloud_name: of the clouds.yaml entry, for commands to paste.
        owner: user@host, for the lease. identities: private keys to try.
        public_key: of jetrun's own key pair, for instances that it launches. secrets: environment of the script.
        tell: takes the run's document: queues and sends the mail, and adds its state to the document.
        last_seen: the newest observation, for messages. ours_at: when this process last saw that the instance is the run's.
        lease_written_at: when this process wrote its lease (monotonic).
        reached_at, reconnect_pause_s: when SSH last stood anew (monotonic), and how long to wait before the next time.
        guard: the run's guardian. is_guarded: it stands, as far as this process knows.
        shelve_keys: where the instance's credential for self-shelve comes from; None where the job does without.
        journal_lost: the journal could not be written; the run goes on to its shutdown without it.
    """

    run: RunId
    job: Job
    state: RunState
    journal: RunJournal
    cloud: Cloud
    remote: Remote
    clock: Clock
    profile: CloudProfile
    screen: Screen
    interrupts: Interrupts
    folder: Path
    output_dir: Path
    cloud_name: str
    owner: str
    identities: Sequence[Path] = ()
    public_key: str | None = None
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    tell: Callable[[dict[str, Any]], None]
    shelve_keys: ShelveKeys | None = None
    guard: Guard = field(default_factory=Unguarded)
    is_guarded: bool = False
    last_seen: Observation | None = None
    ours_at: datetime | None = None
    journal_lost: str = ""
    clock_skew_s: float = 0.0
    reached_at: float = float("-inf")
    lease_written_at: float = float("inf")
    reconnect_pause_s: float = 0.0

    @property
    def has_written_lease(self) -> bool:
        """This process has written the run's lease itself, a moment ago."""
        return self.lease_written_at != float("inf")

    @property
    def bounds(self) -> Bounds:
        """This cloud's time bounds."""
        return self.profile.bounds

    @property
    def instance(self) -> InstanceId:
        """The instance's id.

        Raises:
            InternalError: there is none yet.
        """
        if self.state.instance is None:
            raise InternalError(what="there is no instance yet", next=f"jetrun show {self.run}")
        return self.state.instance

    def record(self, kind: Kind, **data: Any) -> None:
        """Write a record, durably, then let the state follow. Before anything that spends it must succeed.

        Raises:
            InternalError: the journal cannot be written and the run is not ending yet.
        """
        try:
            entry = self.journal.append(self.run, kind, data)
        except Exception as error:
            # Invariant 1: a journal that cannot be written, for whatever reason, never delays a shutdown.
            if kind not in _ENDING and self.state.shutdown is None:
                raise
            if not self.journal_lost:
                self.journal_lost = error.what if isinstance(error, JetrunError) else repr(error)
                self.screen.event("journal.lost", what=self.journal_lost)
            entry = Record(at=self.clock.now(), kind=kind, data=data)
        self.state = apply(self.state, entry)

    def enter(self, phase: Phase) -> None:
        """Begin *phase*, once."""
        if self.state.phase is not phase or not self.state.phases:
            self.record(Kind.PHASE, phase=phase.value)
            if phase is not Phase.SHUTDOWN or self.state.spending_possible:
                self.screen.phase(phase)

    def check(self) -> None:
        """Raise Interrupted when somebody asked the run to end; note it first.

        Raises:
            Interrupted: once, and at every later check.
        """
        self.note_interrupt()
        if self.state.stop_cause:
            raise Interrupted(self.state.stop_cause)

    def note_interrupt(self) -> None:
        """Write down that somebody asked the run to end."""
        if self.interrupts.cause and not self.state.stop_cause:
            self.record(Kind.STOP_ASKED, cause=self.interrupts.cause)

    def pause(self, seconds: float, *, interruptible: bool = True) -> None:
        """Wait in pieces, so that a signal is seen within 0.2 s.

        Args:
            interruptible: otherwise a signal is only noted, because what goes on is a part of the end.

        Raises:
            Interrupted: somebody asked the run to end.
        """
        seen = self.check if interruptible else self.note_interrupt
        left = seconds
        while left > 0:
            seen()
            piece = min(left, 0.2)
            self.clock.sleep(piece)
            left -= piece
        seen()

    def trouble(self, error: JetrunError) -> None:
        """Write down the first error of the run, with the exit code that it leads to."""
        code = int(error.exit_code)
        if isinstance(error, (CloudError, RemoteError)) and not self.state.script_intended:
            code = int(ExitCode.NOT_STARTED)
        self.screen.event("run.trouble_met", **error.as_dict())
        self.record(Kind.TROUBLE, **error.as_dict(), exit_code=code)

    def cloud_now(self) -> datetime:
        """Now, in cloud time."""
        return self.clock.now() + timedelta(seconds=self.clock_skew_s)

    def deadline_at(self) -> datetime:
        """The lease's deadline in local time; without a lease, counted from the opening of the run."""
        lease = self.state.lease
        if lease is None:
            return self.state.opened_at + timedelta(seconds=self.job.max_lifetime_s)
        return datetime.fromisoformat(lease["until_at"]) - timedelta(seconds=self.clock_skew_s)

    def wanted_disposition(self) -> Disposition:
        """What the job asks for, unless outputs would be lost by it (invariant 8)."""
        wanted = self.job.disposition
        if wanted is Disposition.DELETE and not (self.state.launched and self.state.outputs_collected):
            return Disposition.SHELVE
        return wanted

    def describe_state(self) -> str:
        """The instance's last known state with its age, for messages."""
        if self.last_seen is None:
            return "not known: no reading yet"
        age_s = (self.clock.now() - self.last_seen.at).total_seconds()
        task = f" ({self.last_seen.task_state})" if self.last_seen.task_state else ""
        return f"{self.last_seen.status}{task}, read {max(0.0, age_s):.0f} s ago"


_ENDING = frozenset(
    {
        Kind.STOP_ASKED,
        Kind.TROUBLE,
        Kind.SCRIPT_ENDED,
        Kind.STAGED_OUT,
        Kind.SHUTDOWN_BEGAN,
        Kind.RECEIPT,
        Kind.LEASE_ENDED,
        Kind.CREDENTIAL_REMOVED,
        Kind.REPORTED,
        Kind.CLOSED,
        Kind.PHASE,
    }
)


def lease_dict(lease: Lease) -> dict[str, Any]:
    """A lease as the journal keeps it."""
    return {
        "state": lease.state.value,
        "generation": lease.generation,
        "until_at": lease.until_at.isoformat(),
        "disposition": lease.disposition.value,
        "owner": lease.owner,
        "user_id": lease.user_id,
        "start": lease.start,
        "outputs_collected": lease.outputs_collected,
        "previous": lease.previous,
    }
