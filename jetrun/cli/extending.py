"""``jetrun extend``: a later deadline, in the cloud first, then in the journal; the switch is told by the driver."""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from jetrun.engine import lease_changes
from jetrun.engine.context import lease_dict
from jetrun.errors import CloudError, UsageError
from jetrun.guarantee.lease import Lease, extended, mirrored, to_text
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import RunId
from jetrun.job import seconds

if TYPE_CHECKING:
    from jetrun.wiring import House


def extend_lease(house: House, run: RunId, by: str) -> int:
    """Move the lease's deadline; the driver arms the switch anew when it sees the journal's record."""
    try:
        more = timedelta(seconds=seconds(by))
    except ValueError as error:
        raise UsageError(
            code="time-wrong", what=f"{by!r} is no time such as 2h or 90m", next=f"jetrun extend {run} 2h"
        ) from error
    state = house.journal.state(run)
    if state.lease is None or not state.lease_granted or state.shutdown is not None:
        raise UsageError(
            code="no-lease",
            what=f"run {run} holds no lease that could be extended: it has ended, or is ending",
            next=f"jetrun show {run}",
        )
    choice = house.choose_cloud(str(state.job.get("cloud")) or None)
    cloud = house.open_cloud(choice)
    targets: list[datetime] = []

    def longer(lease: Lease) -> str:
        # The target is fixed at the first look: a write whose answer was lost must not be added to once more.
        targets.append(targets[0] if targets else lease.until_at + more)
        return to_text(extended(lease, targets[0]))

    try:
        lease = lease_changes.change_for_good(
            cloud, house.clock, str(state.lease["port_id"]), run, longer, settle_s=choice.profile.bounds.lease_settle_s
        )
    except ValueError as error:
        raise UsageError(
            code="run-is-ending", what=f"run {run} is ending and cannot be extended", next=f"jetrun show {run}"
        ) from error
    if lease is None:
        raise UsageError(
            code="lease-gone", what=f"the cloud shows no lease of run {run} any more", next=f"jetrun show {run}"
        )
    house.journal.append(run, Kind.EXTENDED, {**lease_dict(lease), "port_id": state.lease["port_id"]})
    if state.instance is not None:
        with contextlib.suppress(CloudError):
            # For people who look; the port is what counts.
            cloud.write_metadata(state.instance, mirrored(lease))
    sys.stdout.write(f"run {run}: the lease now ends at {lease.until_at:%Y-%m-%d %H:%M:%SZ}; the switch follows\n")
    return 0
