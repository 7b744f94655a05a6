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
        for row, what in (*_unproven(house), *_unfinished(house)):
            state = house.journal.state(row.run)
            tried = "" if dry else _retried(house, row, state)
            name = state.instance_name or row.instance
            next_ = f"jetrun {'verify' if row.closed else 'show'} {row.run}"
            sys.stderr.write(f"\njetrun: instance {name} ({row.instance}) {what}{tried}\n  next:  {next_}\n")


def _unproven(house: House) -> list[tuple[RunRow, str]]:
    """Runs that have ended without a proof."""
    return [(row, "is NOT VERIFIED DOWN") for row in house.journal.unverified()]


def _unfinished(house: House) -> list[tuple[RunRow, str]]:
    """Runs that are being tried again just now, and those that nobody carries and whose instance may be up."""
    found = []
    for row in house.journal.runs():
        state = None if row.closed else house.journal.state(row.run)
        if state is None or not state.spending_possible:
            continue
        carried = row.owner is not None and row.owner.is_alive() is not False
        if state.unproven_since_at is not None and not (state.receipt is not None and state.receipt.verified):
            found.append((row, "is NOT VERIFIED DOWN"))
        elif not carried and guardian_of(house.journal, row.run) is None:
            found.append((row, "may be up: the process of its run is gone"))
    return found


def _retried(house: House, row: RunRow, state: RunState) -> str:
    """Begin a new try, unless one is under way or the user wants none: what to say of it."""
    living = guardian_of(house.journal, row.run)
    if living is None and row.owner is not None and row.owner.is_alive():
        living = row.owner.pid
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
