"""``jetrun collect``: outputs that did not come are fetched later, in a run of its own with its own lease and receipt."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from jetrun.errors import UsageError
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import RunId

if TYPE_CHECKING:
    from jetrun.wiring import House


def collect_again(house: House, run: RunId) -> int:
    """Open the run again at ``stage_out``: its instance is started, the outputs fetched, and it is brought down."""
    from jetrun.api import continue_run  # noqa: PLC0415
    from jetrun.cli.screen import TerminalScreen  # noqa: PLC0415
    from jetrun.cli.work import show  # noqa: PLC0415

    state = house.journal.state(run)
    row = next(one for one in house.journal.runs() if one.run == run)
    if not row.closed and row.owner is not None and row.owner.is_alive() is not False:
        raise UsageError(
            code="run-goes-on", what=f"run {run} goes on and collects by itself", next=f"jetrun show {run}"
        )
    if not state.script_intended or state.instance is None:
        raise UsageError(
            code="nothing-to-collect", what=f"the script of run {run} never started", next=f"jetrun show {run}"
        )
    if state.outputs_collected and state.outputs is not None:
        sys.stdout.write(f"the outputs of run {run} are here already: jetrun show {run}\n")
        return 0
    house.journal.append(run, Kind.COLLECT_ASKED, {})
    screen = TerminalScreen(live=False)
    return show(continue_run(house, run, screen=screen), screen, as_json=False)
