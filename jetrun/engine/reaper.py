"""One sweep over the cloud's leases: what has expired, at two looks and with margin, is ended by the ladder.

Needs no local state. Where this machine's journal knows the run, its request ids say which start was the run's own;
elsewhere it is the first start after the lease was granted, and any later one is a person's. Each instance stands alone:
an error about one never keeps the others up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from jetrun.cloud.interface import Cloud, LeasePort
from jetrun.engine import lease_changes
from jetrun.engine.clock import Clock
from jetrun.engine.context import CloudProfile, Screen
from jetrun.engine.requests import observed, outcome_of
from jetrun.errors import CloudError
from jetrun.guarantee import ladder
from jetrun.guarantee.evidence import Evidence, replied
from jetrun.guarantee.lease import Lease, LeaseState, from_text, is_expired, to_text
from jetrun.guarantee.lifecycle import RunState
from jetrun.guarantee.power import Action, Disposition, InstanceAction, InstanceId, RequestId
from jetrun.guarantee.requests import Outcome, Sent, known_without_journal


def reap_once(
    cloud: Cloud,
    profile: CloudProfile,
    clock: Clock,
    screen: Screen,
    *,
    known: Mapping[str, RunState],
    dry_run: bool,
) -> list[dict[str, Any]]:
    """End every instance whose lease has expired and belongs to this user.

    Args:
        known: the newest run of each instance that this machine's journal knows, by instance id.

    Returns:
        One row an expired lease: instance, name, run, verdict (in words), good.
    """
    identity = cloud.identify()
    skew = timedelta(seconds=identity.clock_skew_s)
    first = _expired(cloud, clock.now() + skew, profile, identity.user_id)
    if not first:
        return []
    clock.sleep(profile.bounds.reap_gap_s)
    second = {port.port_id: lease for port, lease in _expired(cloud, clock.now() + skew, profile, identity.user_id)}
    rows = []
    for port, lease in first:
        if second.get(port.port_id) != lease:
            continue
        try:
            verdict, good = _end_one(
                cloud, profile, clock, screen, port, lease, known.get(port.device_id), dry_run=dry_run
            )
        except CloudError as error:
            verdict, good = f"not ended: {error.what}", False
        rows.append(
            {"instance": port.device_id, "name": _name(cloud, port), "run": lease.run, "verdict": verdict, "good": good}
        )
    return rows


def _expired(cloud: Cloud, now_at: datetime, profile: CloudProfile, user_id: str) -> list[tuple[LeasePort, Lease]]:
    """Ports whose lease has expired, with margin, and is this user's."""
    found = []
    for port in cloud.bound_ports():
        try:
            lease = from_text(port.description)
        except ValueError:
            continue
        if lease is None or lease.user_id != user_id:
            continue
        if is_expired(lease, now_at, margin_s=profile.bounds.lease_margin_s):
            found.append((port, lease))
    return found


def _end_one(
    cloud: Cloud,
    profile: CloudProfile,
    clock: Clock,
    screen: Screen,
    port: LeasePort,
    lease: Lease,
    state: RunState | None,
    *,
    dry_run: bool,
) -> tuple[str, bool]:
    """Mark, wait, read again, act: what became of one instance."""
    instance = InstanceId(port.device_id)
    read = cloud.read(instance)
    log = cloud.actions(instance)
    journaled = state if state is not None and state.run == lease.run else None
    mine = _own_requests(log, lease, journaled, launched=f"jetrun-run-{lease.run}" in read.tags)
    if dry_run:
        return (
            f"would end: {read.observation.status}, lease of {lease.owner} until {lease.until_at:%Y-%m-%d %H:%MZ}",
            True,
        )
    marked = lease_changes.change(
        cloud, port.port_id, lease.run, lambda one: to_text(replace(one, state=LeaseState.REAPING))
    )
    # Our own mark may have been written by a try whose answer was lost.
    if marked is None or replace(marked, state=lease.state) != lease:
        return "left alone: its lease changed meanwhile", True
    clock.sleep(profile.bounds.reap_gap_s)
    now = cloud.read_port(port.port_id)
    if now is None or from_text(now.description) != replace(lease, state=LeaseState.REAPING):
        return "left alone: its lease was extended", True
    disposition = lease.disposition
    if disposition is Disposition.DELETE:
        # Invariant 8: the reaper cannot know that the outputs are safe, whatever was said.
        disposition = Disposition.SHELVE
    evidence = Evidence(
        disposition=disposition,
        bounds=profile.bounds,
        began_at=clock.now(),
        project_id=read.project_id,
        shelved_is_down=profile.shelved_is_down,
        known=mine,
    )
    step = _climb(cloud, clock, screen, instance, evidence)
    if isinstance(step, ladder.Verified):
        lease_changes.change(cloud, port.port_id, lease.run, lambda one: one.previous)
        return f"verified down: {step.observations[-1].status}", True
    if step.reason is ladder.Reason.SOMEBODY_ELSES:
        lease_changes.change(cloud, port.port_id, lease.run, lambda one: one.previous)
        return "left alone: somebody started it after the run", True
    return f"NOT VERIFIED DOWN: {step.reason.value}", False


def _own_requests(
    log: list[InstanceAction], lease: Lease, state: RunState | None, *, launched: bool
) -> frozenset[RequestId]:
    """Request ids in *log* that are not a person's later start: from the run's journal, else judged by time."""
    if state is not None:
        return state.known
    return known_without_journal(
        log, granted_at=datetime.fromtimestamp(lease.generation, UTC), launched=launched, start=lease.start
    )


def _climb(
    cloud: Cloud, clock: Clock, screen: Screen, instance: InstanceId, evidence: Evidence
) -> ladder.Verified | ladder.NotVerified:
    """The ladder to its verdict, without a journal: the lease in the cloud is the record."""
    while True:
        step = ladder.decide(evidence, clock.now())
        match step:
            case ladder.Look(after_s=after_s):
                clock.sleep(after_s)
                evidence, _ = observed(cloud, clock, screen, instance, evidence)
            case ladder.Send(action=action):
                evidence = replied(evidence, _send(cloud, clock, screen, instance, action))
            case ladder.Verified() | ladder.NotVerified():
                return step


def _send(cloud: Cloud, clock: Clock, screen: Screen, instance: InstanceId, action: Action) -> Sent:
    """One request and its outcome."""
    at = clock.now()
    request_id = None
    try:
        request_id = cloud.request(instance, action)
        outcome = Outcome.ACCEPTED
    except CloudError as error:
        outcome = outcome_of(error)
    screen.event(f"instance.{action.value}_requested", outcome=outcome.value, request_id=request_id)
    return Sent(action=action, at=at, replied_at=clock.now(), outcome=outcome, request_id=request_id)


def _name(cloud: Cloud, port: LeasePort) -> str:
    """The instance's name, for people."""
    try:
        return cloud.read(InstanceId(port.device_id)).name
    except CloudError:
        return ""
