"""``jetrun verify``: fresh reads of an instance, and for a run of ours the ladder once more."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from jetrun.cloud.interface import command
from jetrun.errors import ExitCode, UsageError
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import Disposition, RunId, is_down

if TYPE_CHECKING:
    from jetrun.wiring import House


def verify_run(house: House, run: RunId, *, as_json: bool) -> int:
    """Prove a run's instance down: by the ladder when the run has ended without proof, by two fresh reads otherwise."""
    from jetrun.api import continue_run  # noqa: PLC0415
    from jetrun.cli.screen import TerminalScreen  # noqa: PLC0415
    from jetrun.cli.work import show  # noqa: PLC0415

    house.journal.tolerate()
    state = house.journal.state(run)
    row = next(one for one in house.journal.runs() if one.run == run)
    if not row.closed and row.owner is not None and row.owner.is_alive() is not False:
        raise UsageError(
            code="run-goes-on",
            what=f"run {run} goes on in process {row.owner.pid}",
            state="see jetrun show",
            next=f"jetrun cancel {run}",
        )
    if state.instance is None and not state.create_intended:
        raise UsageError(code="no-instance", what=f"run {run} never had an instance", next=f"jetrun show {run}")
    if row.closed:
        house.journal.append(
            run, Kind.SHUTDOWN_BEGAN, dict(state.shutdown or {"disposition": "shelve", "needed": True})
        )
    screen = TerminalScreen(live=False)
    result = continue_run(house, run, screen=screen)
    show(result, screen, as_json=as_json)
    if result.receipt is None:
        return result.exit_code
    return ExitCode.OK if result.receipt.verified else ExitCode.NOT_VERIFIED


def verify_instance(house: House, name: str, cloud: str | None, *, as_json: bool) -> int:
    """Two fresh reads of an instance that is no run's; changes nothing. 0 where it costs nothing any more, else 119."""
    choice = house.choose_cloud(cloud)
    adapter = house.open_cloud(choice)
    found = adapter.find_instances(name)
    if len(found) != 1:
        what = f"{len(found)} instances, and no run, are named {name!r} in cloud {choice.name}"
        raise UsageError(code="unknown-instance", what=what, next=f"{command(choice.name)} server list")
    first = adapter.observe(found[0].id)
    house.clock.sleep(choice.profile.bounds.verify_gap_s)
    last = adapter.observe(found[0].id)
    reads = (first, last)
    shelved = choice.profile.shelved_is_down
    down = {
        one: all(is_down(read, one, shelved_is_down=shelved) for read in reads)
        for one in (Disposition.SHELVE, Disposition.STOP)
    }
    rate = choice.profile.rate_per_hour(found[0].flavor, found[0].vcpus, last.status)
    price = "its cost is unknown" if rate is None else f"it costs {rate:g} {choice.profile.unit}/h"
    if as_json:
        answer = {"instance": found[0].id, "status": last.status, "shelved": down[Disposition.SHELVE], "off": down[Disposition.STOP],
                  "cost_per_hour": rate}  # fmt: skip
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        word = "shelved" if down[Disposition.SHELVE] else "off, not shelved" if down[Disposition.STOP] else "NOT DOWN"
        sys.stdout.write(
            f"{found[0].name} ({found[0].id}): {word}: {first.status}, {last.status} by two fresh reads; {price}\n"
        )
    return ExitCode.OK if down[Disposition.SHELVE] else ExitCode.NOT_VERIFIED
