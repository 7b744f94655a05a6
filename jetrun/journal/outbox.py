"""The outbox: messages that wait until a mail server or a channel has accepted them. Queued is not told.

Several processes may look into it at once: each message is claimed before it is sent, so that nobody gets it twice.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jetrun.guarantee.power import RunId
from jetrun.journal.store import Journal

_PAUSES_S = (60, 300, 900, 3600, 14400)
"""Between attempts: from a passing fault to a mail server that is away for a weekend."""


CLAIM_S = 180
"""How long a claim stands: longer than any attempt, short enough that one whose process died is taken up again."""
_CLAIMED = "being sent"
BY = " by "
"""Between a message's kind and the channel that it goes through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message in the outbox.

    Attributes:
        id: its row; below zero where the disk takes no writes, and it is in memory alone.
        kind: such as ``report``, ``alarm``, ``healed``, ``alarm by ntfy-1a2b3c``: one of each a run at most, so that no one is
            told twice.
        message: it as plain data: a mail, or what a channel is to be given.
    """

    id: int
    run: RunId
    kind: str
    message: Mapping[str, Any]
    attempts: int
    error: str


class Outbox:
    """Mails of all runs, in the journal's file."""

    def __init__(self, journal: Journal, *, now: Callable[[], datetime]) -> None:
        self._db = journal.database
        self._now = now
        self._unwritten: list[Waiting] = []
        self._accepted: set[tuple[RunId, str]] = set()

    def queue(self, run: RunId, kind: str, message: Mapping[str, Any]) -> None:
        """Keep a message until it is sent. A second one of the same kind for the same run changes nothing."""
        at = self._now().isoformat()
        try:
            self._db.execute(
                "INSERT OR IGNORE INTO outbox (run, kind, message, queued_at, next_at) VALUES (?, ?, ?, ?, ?)",
                (run, kind, json.dumps(message), at, at),
            )
        except sqlite3.OperationalError:
            # A full disk must not keep an alarm in: this process can still send it.
            key = -1 - len(self._unwritten)
            self._unwritten.append(Waiting(id=key, run=run, kind=kind, message=message, attempts=0, error=""))

    def due(self, run: RunId | None = None) -> list[Waiting]:
        """What to try now, oldest first; only those of *run* where given (then whatever their pause)."""
        now = self._now().isoformat()
        # No pause is that long: the clock was set back since.
        never = (self._now() + timedelta(seconds=2 * _PAUSES_S[-1])).isoformat()
        rows = self._db.execute(
            "SELECT id, run, kind, message, attempts, error FROM outbox WHERE state = 'queued' "
            "AND (next_at <= ? OR next_at > ? OR (run = ? AND error <> ?)) AND (? IS NULL OR run = ?) ORDER BY id",
            (now, never, run, _CLAIMED, run, run),
        )
        found = [
            Waiting(id=key, run=RunId(of), kind=kind, message=json.loads(message), attempts=attempts, error=error)
            for key, of, kind, message, attempts, error in rows
        ]
        return found + [one for one in self._unwritten if run in {None, one.run}]

    def claim(self, waiting: Waiting) -> bool:
        """Whether this process is to send it; no other one does for ``CLAIM_S``."""
        until = (self._now() + timedelta(seconds=CLAIM_S)).isoformat()
        try:
            claimed = self._db.execute(
                "UPDATE outbox SET attempts = attempts + 1, next_at = ?, error = ? "
                "WHERE id = ? AND attempts = ? AND state = 'queued'",
                (until, _CLAIMED, waiting.id, waiting.attempts),
            )
        except sqlite3.OperationalError:
            return True
        return claimed.rowcount == 1 or waiting.id < 0

    def sent(self, waiting: Waiting) -> None:
        """It was accepted; that a disk takes no writes does not make it an error, nor has the same run send it again."""
        self._accepted.add((waiting.run, waiting.kind))
        self._unwritten = [one for one in self._unwritten if one.id != waiting.id]
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("UPDATE outbox SET state = 'sent', error = '' WHERE id = ?", (waiting.id,))

    def failed(self, waiting: Waiting, error: str, *, permanent: bool) -> None:
        """It was not accepted: try later, or never again where the server will refuse it again."""
        pause_s = _PAUSES_S[min(waiting.attempts, len(_PAUSES_S) - 1)]
        next_at = (self._now() + timedelta(seconds=pause_s)).isoformat()
        with contextlib.suppress(sqlite3.OperationalError):
            self._db.execute(
                "UPDATE outbox SET state = ?, next_at = ?, error = ? WHERE id = ?",
                ("refused" if permanent else "queued", next_at, error, waiting.id),
            )

    def withdraw(self, run: RunId, *kinds: str) -> None:
        """What waits of those kinds is not sent any more: it is not true any more."""
        self._unwritten = [one for one in self._unwritten if one.run != run or not one.kind.startswith(kinds)]
        for kind in kinds:
            with contextlib.suppress(sqlite3.OperationalError):
                self._db.execute(
                    "UPDATE outbox SET state = 'withdrawn' WHERE run = ? AND state = 'queued' AND kind LIKE ?",
                    (run, f"{kind}%"),
                )

    def accepted(self, run: RunId, kind: str) -> bool:
        """Whether a mail server or any channel has accepted that message."""
        mine = {of for at, of in self._accepted if at == run}
        rows = self._db.execute("SELECT kind FROM outbox WHERE run = ? AND state = 'sent'", (run,))
        return any(of == kind or of.startswith(kind + BY) for of in (mine | {row[0] for row in rows}))

    def queued_at(self, run: RunId, kind: str) -> datetime | None:
        """When that message was written; None where it never was."""
        row = self._db.execute(
            "SELECT MIN(queued_at) FROM outbox WHERE run = ? AND (kind = ? OR kind LIKE ?)", (run, kind, f"{kind}{BY}%")
        ).fetchone()
        return datetime.fromisoformat(row[0]) if row and row[0] else None

    def state(self, run: RunId, kind: str = "report") -> str:
        """``none``, ``queued``, ``sent``, ``refused`` or ``withdrawn``."""
        if (run, kind) in self._accepted:
            return "sent"
        row = self._db.execute("SELECT state FROM outbox WHERE run = ? AND kind = ?", (run, kind)).fetchone()
        waits = any((one.run, one.kind) == (run, kind) for one in self._unwritten)
        return str(row[0]) if row else "queued" if waits else "none"
