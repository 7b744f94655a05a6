"""The outbox: mails that wait until a server has accepted them. Queued is not told."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A mail in the outbox.

    Attributes:
        kind: ``report``, ``alarm`` or ``healed``: one of each a run at most, so that no one is told twice.
        message: the outgoing mail as plain data.
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

    def queue(self, run: RunId, kind: str, message: Mapping[str, Any]) -> None:
        """Keep a mail until it is sent. A second one of the same kind for the same run changes nothing."""
        at = self._now().isoformat()
        self._db.execute(
            "INSERT OR IGNORE INTO outbox (run, kind, message, queued_at, next_at) VALUES (?, ?, ?, ?, ?)",
            (run, kind, json.dumps(message), at, at),
        )

    def due(self, run: RunId | None = None) -> list[Waiting]:
        """Mails to try now, oldest first; only those of *run* where given (then whatever their pause)."""
        rows = self._db.execute(
            "SELECT id, run, kind, message, attempts, error FROM outbox WHERE state = 'queued' "
            "AND ((? IS NULL AND next_at <= ?) OR run = ?) ORDER BY id",
            (run, self._now().isoformat(), run),
        )
        return [
            Waiting(id=key, run=RunId(of), kind=kind, message=json.loads(message), attempts=attempts, error=error)
            for key, of, kind, message, attempts, error in rows
        ]

    def sent(self, waiting: Waiting) -> None:
        """A server accepted it; that a disk takes no writes does not make it an error, nor has the same run send it again."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("UPDATE outbox SET state = 'sent', error = '' WHERE id = ?", (waiting.id,))

    def failed(self, waiting: Waiting, error: str, *, permanent: bool) -> None:
        """It was not accepted: try later, or never again where the server will refuse it again."""
        pause_s = _PAUSES_S[min(waiting.attempts, len(_PAUSES_S) - 1)]
        next_at = (self._now() + timedelta(seconds=pause_s)).isoformat()
        self._db.execute(
            "UPDATE outbox SET state = ?, attempts = attempts + 1, next_at = ?, error = ? WHERE id = ?",
            ("refused" if permanent else "queued", next_at, error, waiting.id),
        )

    def state(self, run: RunId, kind: str = "report") -> str:
        """``none``, ``queued``, ``sent`` or ``refused``."""
        row = self._db.execute("SELECT state FROM outbox WHERE run = ? AND kind = ?", (run, kind)).fetchone()
        return str(row[0]) if row else "none"
