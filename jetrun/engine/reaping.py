"""What the reaper does to one instance whose lease has expired: mark, wait, read again, look whose it is, end it, say so.

The lease in the cloud is the only record. The order makes every crash between two steps safe: what is marked is found again, what
was ended is proven again, and who was told is not told again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from jetrun.cloud.interface import Cloud, LeasePort
from jetrun.engine import lease_changes
from jetrun.engine.clock import Clock
from jetrun.engine.context import CloudProfile, Screen
from jetrun.engine.requests import observed, outcome_of, refuse_if_stale
from jetrun.errors import CloudError
from jetrun.guarantee import ladder
from jetrun.guarantee.evidence import Evidence, replied
from jetrun.guarantee.lease import Lease, LeaseState, from_text, to_text
from jetrun.guarantee.lifecycle import RunState
from jetrun.guarantee.power import Action, Disposition, InstanceAction, InstanceId, Observation, RequestId
from jetrun.guarantee.receipt import Receipt
from jetrun.guarantee.requests import Outcome, Sent, known_without_journal


class Fate(StrEnum):
    """What became of an instance whose lease has expired."""

    ENDED = "ended"
    UNPROVEN = "unproven"
    THEIRS = "theirs"
    LEFT = "left"
    WOULD = "would"
    MISSING = "missing"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """One instance, and what the reaper did about it.

    Attributes:
        instance, name, run: whose lease it was. words: what became of it, for people.
        receipt: the proof, or why there is none; None where nothing was asked of the instance. lease: that stood there.
        flavor, vcpus: for the price.
    """

    fate: Fate
    instance: str
    run: str
    words: str
    name: str = ""
    receipt: Receipt | None = None
    lease: Lease | None = None
    flavor: str | None = None
    vcpus: int | None = None

    @property
    def good(self) -> bool:
        """Nothing is left to be done about it."""
        return self.fate in {Fate.ENDED, Fate.THEIRS, Fate.LEFT, Fate.WOULD}

    def to_dict(self) -> dict[str, Any]:
        """As ``jetrun reap --json`` prints it."""
        return {
            "instance": self.instance,
            "name": self.name,
            "run": self.run,
            "fate": self.fate.value,
            "verdict": self.words,
            "good": self.good,
            "receipt": self.receipt.to_dict() if self.receipt is not None else None,
        }


def mark(cloud: Cloud, port: LeasePort, lease: Lease) -> Reaped | None:
    """Mark the lease as ``reaping`` by a conditional write; None where it is, else why it is left alone.

    Raises:
        CloudError: it could not be written.
    """
    marked = lease_changes.change(
        cloud, port.port_id, lease.run, lambda one: to_text(replace(one, state=LeaseState.REAPING))
    )
    # Our own mark may have been written by a try whose answer was lost.
    if marked is None or replace(marked, state=lease.state) != lease:
        words = "left alone: its lease changed meanwhile"
        return Reaped(fate=Fate.LEFT, instance=port.device_id, run=lease.run, words=words, lease=lease)
    return None


class Expired:
    """An instance whose lease has expired at two looks.

    Args:
        state: what this machine's journal knows of the instance's newest run, None for nothing.
    """

    def __init__(
        self,
        cloud: Cloud,
        profile: CloudProfile,
        clock: Clock,
        screen: Screen,
        port: LeasePort,
        lease: Lease,
        state: RunState | None,
    ) -> None:
        self._cloud, self._profile, self._clock, self._screen = cloud, profile, clock, screen
        self._port, self._lease = port, lease
        self._instance = InstanceId(port.device_id)
        self._state = state if state is not None and state.run == lease.run else None
        self._row = Reaped(fate=Fate.LEFT, instance=port.device_id, run=lease.run, words="", lease=lease)

    def would(self) -> Reaped:
        """What would be done, without doing it.

        Raises:
            CloudError: the instance cannot be read.
        """
        status = self._cloud.read(self._instance).observation.status
        words = f"would end: {status}, lease of {self._lease.owner} until {self._lease.until_at:%Y-%m-%d %H:%MZ}"
        return replace(self._row, fate=Fate.WOULD, words=words)

    def end(self, tell: Callable[[Reaped], None]) -> Reaped:
        """Read again and act; *tell* is told before the lease is given back.

        Raises:
            CloudError: the lease or the instance cannot be read.
        """
        lease, cloud = self._lease, self._cloud
        if not self._is_still_marked():
            return replace(self._row, words="left alone: its lease was extended")
        read = cloud.read(self._instance)
        log = cloud.actions(self._instance)
        launched = f"jetrun-run-{lease.run}" in read.tags
        # Invariant 8: the reaper cannot know that the outputs are safe, whatever was said.
        shelves = lease.disposition is Disposition.DELETE
        evidence = Evidence(
            disposition=Disposition.SHELVE if shelves else lease.disposition,
            bounds=self._profile.bounds,
            began_at=self._clock.now(),
            project_id=read.project_id,
            shelved_is_down=self._profile.shelved_is_down,
            launched=launched,
            known=self._own_requests(log, launched=launched),
        )
        row = replace(self._row, name=read.name, flavor=read.flavor, vcpus=read.vcpus)
        evidence, step = self._climb(evidence)
        if step is None:
            return replace(row, words="left alone: its lease was extended meanwhile")
        row = self._judged(row, evidence, step)
        tell(row)
        if row.fate in {Fate.ENDED, Fate.THEIRS}:
            # Only what was marked: a newer lease of the same run is another matter.
            marked = replace(lease, state=LeaseState.REAPING)
            lease_changes.change(
                cloud, self._port.port_id, lease.run, lambda one: one.previous if one == marked else to_text(one)
            )
        return row

    def _is_still_marked(self) -> bool:
        """Whether the lease stands as this reaper, or one before it, has marked it.

        Raises:
            CloudError: the port cannot be read.
        """
        now = self._cloud.read_port(self._port.port_id)
        return now is not None and from_text(now.description) == replace(self._lease, state=LeaseState.REAPING)

    def _own_requests(self, log: list[InstanceAction], *, launched: bool) -> frozenset[RequestId]:
        """Request ids in *log* that are not a person's later start: from the run's journal, else judged by time."""
        if self._state is not None:
            return self._state.known
        granted_at = datetime.fromtimestamp(self._lease.generation, UTC)
        return known_without_journal(log, granted_at=granted_at, launched=launched, start=self._lease.start)

    def _judged(self, row: Reaped, evidence: Evidence, step: ladder.Verified | ladder.NotVerified) -> Reaped:
        """The row with the ladder's verdict."""
        asked = tuple(one.request_id for one in evidence.sent if one.request_id is not None)
        common: dict[str, Any] = {
            "disposition": evidence.disposition,
            "requested_at": evidence.sent[0].at if evidence.sent else evidence.began_at,
            "request_ids": asked,
            "gap_s": self._profile.bounds.verify_gap_s,
            "shelved_is_down": self._profile.shelved_is_down,
        }
        if isinstance(step, ladder.Verified):
            last = step.observations[-1]
            receipt = Receipt(
                verified=True, status=last.status, verified_at=last.at, observations=step.observations, **common
            )
            return replace(row, fate=Fate.ENDED, words=f"verified down: {last.status}", receipt=receipt)
        if step.reason is ladder.Reason.SOMEBODY_ELSES:
            return replace(row, fate=Fate.THEIRS, words="left alone: somebody started it after the run")
        seen = evidence.latest
        receipt = Receipt(
            verified=False,
            status=seen.status if seen is not None else None,
            verified_at=None,
            observations=(seen,) if seen is not None else (),
            reason=step.reason.value,
            blamed=step.request_id,
            notes=(f"name this request to the cloud's staff: {step.request_id}",) if step.request_id else (),
            **common,
        )
        return replace(row, fate=Fate.UNPROVEN, words=f"NOT VERIFIED DOWN: {step.reason.value}", receipt=receipt)

    def _climb(self, evidence: Evidence) -> tuple[Evidence, ladder.Verified | ladder.NotVerified | None]:
        """The ladder to its verdict, without a journal: the lease in the cloud is the record; no verdict where that was extended.

        Raises:
            CloudError: the lease cannot be read before a request.
        """
        while True:
            step = ladder.decide(evidence, self._clock.now())
            match step:
                case ladder.Look(after_s=after_s):
                    self._clock.sleep(after_s)
                    evidence, _ = observed(self._cloud, self._clock, self._screen, self._instance, evidence)
                case ladder.Send(action=action):
                    if not self._is_still_marked():
                        return evidence, None
                    evidence = replied(evidence, self._send(action, evidence.latest))
                case ladder.Verified() | ladder.NotVerified():
                    return evidence, step

    def _send(self, action: Action, read: Observation | None) -> Sent:
        """One request and its outcome."""
        at = self._clock.now()
        request_id = None
        try:
            refuse_if_stale(self._clock, read, self._profile.bounds)
            request_id = self._cloud.request(self._instance, action)
            outcome = Outcome.ACCEPTED
        except CloudError as error:
            outcome = outcome_of(error)
        self._screen.event(f"instance.{action.value}_requested", outcome=outcome.value, request_id=request_id)
        return Sent(action=action, at=at, replied_at=self._clock.now(), outcome=outcome, request_id=request_id)
