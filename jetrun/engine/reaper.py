"""The reaper's sweep over the cloud's leases: what has expired, at two looks and with margin, is ended by the ladder.

Needs no local state. Where this machine's journal knows the run, its request ids say which start was the run's own;
elsewhere it is the first start after the lease was granted, and any later one is a person's. Each instance stands alone:
whatever goes wrong with one never keeps the others up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from jetrun.cloud.interface import Cloud, LeasePort
from jetrun.engine import reaping
from jetrun.engine.clock import Clock
from jetrun.engine.context import CloudProfile, Screen
from jetrun.engine.reaping import Fate, Reaped
from jetrun.errors import CloudError
from jetrun.guarantee.lease import Lease, from_text, is_expired
from jetrun.guarantee.lifecycle import RunState
from jetrun.guarantee.power import InstanceId

HOPELESS_S = 3600.0
"""An error that lasts this long past the deadline is told: the sweeps before may have met a hiccup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """How to sweep.

    Attributes:
        known: the newest run of each instance that this machine's journal knows, by instance id.
        expected: those of them whose lease should stand in this cloud now, since their process is gone and nothing is proven.
        all_owners: also end other people's; by default only what this credential's own user holds.
        dry_run: only say what would be done. tell: told of each instance that was ended or left to a person, before its lease is
            given back: whoever dies between the two tells nobody twice, and nobody never.
    """

    known: Mapping[str, RunState]
    expected: Mapping[str, RunState]
    all_owners: bool = False
    dry_run: bool = False
    tell: Callable[[Reaped], None] = lambda _: None


def reap_once(cloud: Cloud, profile: CloudProfile, clock: Clock, screen: Screen, sweep: Sweep) -> list[Reaped]:
    """End every instance whose lease has expired and is this user's.

    Returns:
        One row an expired lease, and one for each lease that the journal knows and the cloud does not show.

    Raises:
        CloudError: the leases cannot be listed.
    """
    identity = cloud.identify()
    skew = timedelta(seconds=identity.clock_skew_s)
    user_id = None if sweep.all_owners else identity.user_id
    ports = cloud.bound_ports()
    rows = _missing(ports, sweep.expected)
    for missing in rows:
        sweep.tell(missing)
    first, unread = _expired(ports, clock.now() + skew, profile, user_id)
    rows += unread
    if not first:
        return rows
    clock.sleep(profile.bounds.reap_gap_s)
    again, _ = _expired(cloud.bound_ports(), clock.now() + skew, profile, user_id)
    second = {port.port_id: lease for port, lease in again}
    due = [(port, lease) for port, lease in first if second.get(port.port_id) == lease]
    marked: list[tuple[LeasePort, Lease]] = []
    for port, lease in due:
        left = None if sweep.dry_run else _alone(port, lease, partial(reaping.mark, cloud, port, lease))
        if left is None:
            marked.append((port, lease))
        else:
            rows.append(_said(cloud, port, lease, left, sweep, clock.now() + skew))
    if marked and not sweep.dry_run:
        clock.sleep(profile.bounds.reap_gap_s)
    for port, lease in marked:
        one = reaping.Expired(cloud, profile, clock, screen, port, lease, sweep.known.get(port.device_id))
        row = _alone(port, lease, one.would if sweep.dry_run else partial(one.end, sweep.tell))
        if row is not None:
            rows.append(_said(cloud, port, lease, row, sweep, clock.now() + skew))
    return rows


def _said(cloud: Cloud, port: LeasePort, lease: Lease, row: Reaped, sweep: Sweep, now_at: datetime) -> Reaped:
    """The row with its name; an error that has lasted is told of."""
    named = row if row.name else replace(row, name=_name(cloud, port))
    if row.fate is Fate.ERROR and is_expired(lease, now_at, margin_s=HOPELESS_S):
        _alone(port, lease, partial(sweep.tell, named))
    return named


def _alone(port: LeasePort, lease: Lease, act: Callable[[], Reaped | None]) -> Reaped | None:
    """What *act* says of one instance; whatever it raises is a row, and the next one's turn comes."""
    try:
        return act()
    except CloudError as error:
        return _failed(port, lease, error.what)
    except Exception as error:  # noqa: BLE001 - an error about one must not keep the others up
        return _failed(port, lease, f"jetrun itself failed: {type(error).__name__}: {error}")


def _failed(port: LeasePort, lease: Lease, why: str) -> Reaped:
    return Reaped(fate=Fate.ERROR, instance=port.device_id, run=lease.run, words=f"not ended: {why}", lease=lease)


def _missing(ports: Sequence[LeasePort], expected: Mapping[str, RunState]) -> list[Reaped]:
    """A row for each lease that the journal knows and the cloud does not show: the list is short, and the journal knows better."""
    shown = {port.device_id for port in ports if _reads_as_lease(port)}
    return [
        Reaped(
            fate=Fate.MISSING,
            instance=instance,
            name=state.instance_name,
            run=state.run,
            words="its lease is not shown, though the journal knows it: another project's credential, or deleted? "
            f"jetrun verify {state.run}",
        )
        for instance, state in expected.items()
        if instance not in shown
    ]


def _reads_as_lease(port: LeasePort) -> bool:
    """Whether a lease stands there, be it one that this version cannot read."""
    try:
        return from_text(port.description) is not None
    except ValueError:
        return True


def _expired(
    ports: Sequence[LeasePort], now_at: datetime, profile: CloudProfile, user_id: str | None
) -> tuple[list[tuple[LeasePort, Lease]], list[Reaped]]:
    """Ports whose lease has expired, with margin, and is that user's (anybody's for None); and rows for what cannot be read."""
    found, unread = [], []
    for port in ports:
        try:
            lease = from_text(port.description)
        except ValueError:
            words = "left alone: its lease is of another version of jetrun"
            unread.append(Reaped(fate=Fate.LEFT, instance=port.device_id, run="", words=words))
            continue
        if lease is None or (user_id is not None and lease.user_id != user_id):
            continue
        if is_expired(lease, now_at, margin_s=profile.bounds.lease_margin_s):
            found.append((port, lease))
    return found, unread


def _name(cloud: Cloud, port: LeasePort) -> str:
    """The instance's name, for people."""
    try:
        return cloud.read(InstanceId(port.device_id)).name
    except CloudError:
        return ""
