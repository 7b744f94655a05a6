"""What every later command says of instances that are not proven down, and the new try that it begins (NOT VERIFIED is sticky).

The try is made by a guardian, in the background: whoever typed ``jetrun ps`` is not kept waiting for a cloud that does not answer.
"""

from __future__ import annotations

import sys

from jetrun.cli.listing import guardian_of
from jetrun.errors import JetrunError
from jetrun.guarantee.lifecycle import Kind, RunState
from jetrun.journal.store import RunRow
from jetrun.wiring import House, job_of


def remind(*, dry: bool) -> None:
    """Say it on stderr, and have it tried again; *dry*: only say it."""
    with House() as house:
        rows = [(row, "is NOT VERIFIED DOWN") for row in house.journal.unverified()]
        rows += [(row, "may be up: the process of its run is gone") for row in _abandoned(house)]
        for row, what in rows:
            state = house.journal.state(row.run)
            next_ = f"jetrun {'verify' if row.closed else 'continue'} {row.run}"
            tried = "" if dry else _retried(house, row, state)
            name = state.instance_name or row.instance
            sys.stderr.write(f"\njetrun: instance {name} ({row.instance}) {what}{tried}\n  next:  {next_}\n")


def _abandoned(house: House) -> list[RunRow]:
    """Runs that have not ended, whose instance may be up, and whose process is gone for certain, without a guardian that lives."""
    return [
        row
        for row in house.journal.runs()
        if not row.closed
        and (row.owner is None or row.owner.is_alive() is False)
        and guardian_of(house.journal, row.run) is None
        and house.journal.state(row.run).spending_possible
    ]


def _retried(house: House, row: RunRow, state: RunState) -> str:
    """Begin a new try, unless one is under way or the user wants none: what to say of it."""
    living = guardian_of(house.journal, row.run)
    if living is not None:
        return f"; process {living} goes on trying"
    job = job_of(state)
    if job.on_driver_loss == "nothing":
        return ""
    try:
        choice = house.choose_cloud(str(state.job.get("cloud")) or None)
        guardian = house.new_guardian(row.run, job, choice, retry=True)
        kept = guardian.stand()
        if kept is not None:
            house.journal.append(row.run, Kind.GUARDED, dict(kept))
    except JetrunError as error:
        return f"; it cannot be tried again from here ({error.what})"
    return f"; process {guardian.page.standing} tries again now, and until it is"
