"""One machine's sweeps: what its journal knows goes in, what became of each instance is told, and that a sweep was made is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jetrun.cli.reaped_words import document_of
from jetrun.cli.screen import TerminalScreen
from jetrun.engine.reaper import Sweep, reap_once
from jetrun.engine.reaping import Fate, Reaped
from jetrun.guarantee.lifecycle import RunState
from jetrun.guarantee.power import RunId
from jetrun.journal import moments
from jetrun.wiring import job_of

if TYPE_CHECKING:
    from jetrun.wiring import House

MARK = "reaped.json"
"""In the home: when each cloud was last swept from here, for ``doctor``."""


class Sweeper:
    """Sweeps one cloud.

    Args:
        wanted: the cloud's name, None for the usual one. to: whom to tell; empty for the usual recipients.
    """

    def __init__(self, house: House, wanted: str | None, *, to: Sequence[str], all_owners: bool, dry_run: bool) -> None:
        self._house = house
        self._choice = house.choose_cloud(wanted)
        self._cloud = house.open_cloud(self._choice)
        self._screen = TerminalScreen(live=False)
        self._to = tuple(to) or house.config.usual_recipients
        self._all_owners = all_owners
        self._dry_run = dry_run

    def sweep(self) -> list[Reaped]:
        """One sweep.

        Raises:
            CloudError: the leases cannot be listed.
        """
        house = self._house
        known = house.journal.expected(self._choice.name)
        rows = reap_once(
            self._cloud,
            self._choice.profile,
            house.clock,
            self._screen,
            Sweep(
                known=known,
                expected={key: state for key, state in known.items() if self._is_abandoned(state)},
                all_owners=self._all_owners,
                dry_run=self._dry_run,
                tell=self._tell,
            ),
        )
        house.telling.send_due(self._screen)
        if not self._dry_run:
            moments.note(house.config.home / MARK, self._choice.name, house.clock.now())
        return rows

    def said(self, rows: Sequence[Reaped]) -> str:
        """The rows for a person."""
        if not rows:
            return f"no expired lease in cloud {self._choice.name}\n"
        return "".join(f"{row.instance}  {row.name:<24} {row.words}\n" for row in rows)

    def _is_abandoned(self, state: RunState) -> bool:
        """Whether a lease of that run must stand: it was granted, nothing is proven, and no process is about to change that."""
        if not state.lease_granted or state.lease_ended or (state.receipt is not None and state.receipt.verified):
            return False
        if state.untouched or (state.receipt is not None and state.receipt.reason == "somebody-elses"):
            return False
        row = next(one for one in self._house.journal.runs() if one.run == state.run)
        return row.owner is None or row.owner.is_alive() is False

    def _tell(self, row: Reaped) -> None:
        """Tell whoever asked to be told, and whom the run itself names where the journal knows it."""
        run = RunId(row.run)
        state = next((one for one in self._house.journal.expected(self._choice.name).values() if one.run == run), None)
        to = tuple(dict.fromkeys((*self._to, *(job_of(state).email.to if state is not None else ()))))
        telling = self._house.telling
        # Each lease is a matter of its own; of one that is not shown, the run.
        which = f"{row.lease.generation}" if row.lease is not None else "lease"
        since_at = telling.outbox.queued_at(run, f"reaper alarm {which}")
        kind = "report"
        if not row.good:
            kind = "alarm"
        elif row.fate is Fate.ENDED and since_at is not None:
            kind = "healed"
        document = document_of(
            row,
            self._choice,
            name=str(state.job.get("name")) if state is not None else "",
            now_at=self._house.clock.now(),
        )
        if kind == "healed" and since_at is not None and row.receipt is not None:
            until_at = row.receipt.verified_at or self._house.clock.now()
            rate = self._choice.profile.rate_per_hour(row.flavor, row.vcpus, "ACTIVE")
            cost = None if rate is None else round(rate * max(0.0, (until_at - since_at).total_seconds()) / 3600, 4)
            span = {"since_at": since_at.isoformat(), "until_at": until_at.isoformat()}
            document["unproven"] = {**span, "cost": cost, "unit": self._choice.profile.unit}
        telling.announce(run, kind, f"reaper {kind} {which}", document, to, self._screen)


def last_sweeps(home: Path) -> Mapping[str, datetime]:
    """When each cloud was last swept from this machine."""
    return moments.read(home / MARK)
