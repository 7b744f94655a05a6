"""What every later command says of instances that are not proven down, and the new try that it begins (NOT VERIFIED is sticky).

The try is made by a guardian, in the background: whoever typed ``jetrun ps`` is not kept waiting for a cloud that does not answer.
"""

from __future__ import annotations

import os
import socket
import sys

from jetrun.cli.listing import guardian_of, newest_guardian
from jetrun.engine.guardian import DONE, UNTOLD
from jetrun.errors import JetrunError, UsageError
from jetrun.guarantee.lifecycle import Kind, RunState
from jetrun.journal.store import RunRow
from jetrun.wiring import House, job_of


def remind(*, dry: bool) -> None:
    """Say it on stderr, and have it tried again; *dry*: only say it."""
    with House() as house:
        for row, what in (*_unproven(house), *_unfinished(house)):
            state = house.journal.state(row.run)
            name = state.instance_name or row.instance
            sys.stderr.write(f"\njetrun: instance {name} ({row.instance}) {what}")
            try:
                tried = "" if dry else _retried(house, row, state)
            except Exception as error:  # noqa: BLE001 - the next instance is told of all the same
                tried = f"; it cannot be tried again from here ({error})"
            sys.stderr.write(f"{tried}\n  next:  jetrun {'verify' if row.closed else 'show'} {row.run}\n")


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
    for one in (newest_guardian(house.journal, row.run), row.owner):
        if one is not None and one.is_alive() is not False:
            # None: on another host of the same home, where it may well live.
            return f"; process {one.pid} on {one.host} goes on trying"
    job = job_of(state)
    if job.on_driver_loss == "nothing":
        return ""
    try:
        choice = house.choose_cloud(str(state.job.get("cloud")) or None, ask=_nobody)
        guardian = house.new_guardian(row.run, job, choice, retry=True)
        if not (os.isatty(2) or house.telling.told(row.run)):
            guardian.page.verdict = UNTOLD
        standing = guardian.stand()
    except JetrunError as error:
        return f"; it cannot be tried again from here ({error.what})"
    try:
        house.journal.append(row.run, Kind.GUARDED, dict(standing or {}))
    except JetrunError as error:
        # One that nobody can find would get a second one beside it at the next command.
        guardian.page.verdict = DONE
        return f"; it cannot be tried again from here ({error.what})"
    return f"; process {guardian.page.standing} on {socket.gethostname()} tries again now, and until it is"


def _nobody(question: str) -> str:
    """A command that only reminds asks for nothing.

    Raises:
        UsageError: always.
    """
    raise UsageError(code="credential-needs-a-person", what=f"its cloud asks: {question}", next="jetrun verify RUN")
