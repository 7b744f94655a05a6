"""The journal: an append-only record of each run in one SQLite file, fsynced, with one owner a run.

Written *before* each request that can start or prolong spending (invariant 1). Holds no secret (invariant 9).
Who may import this: engine/ and cli/. It never talks to the cloud or the instance.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jetrun.errors import InternalError, UsageError
from jetrun.guarantee.ladder import Reason
from jetrun.guarantee.lifecycle import Kind, Record, RunState, replay
from jetrun.guarantee.power import RunId
from jetrun.journal.disk import NETWORK_FILESYSTEMS, filesystem_of
from jetrun.journal.owner import Owner

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  run TEXT PRIMARY KEY, opened_at TEXT NOT NULL, name TEXT NOT NULL,
  owner TEXT, instance TEXT, closed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS records (
  run TEXT NOT NULL, seq INTEGER NOT NULL, at TEXT NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL,
  PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
  id INTEGER PRIMARY KEY, run TEXT NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL, queued_at TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'queued', attempts INTEGER NOT NULL DEFAULT 0, next_at TEXT NOT NULL, error TEXT NOT NULL DEFAULT '',
  UNIQUE (run, kind)
);
"""

_BEFORE_SPENDING = frozenset(
    {
        Kind.LEASE_INTENDED,
        Kind.LEASE_GRANTED,
        Kind.PORT_INTENDED,
        Kind.CREATE_INTENDED,
        Kind.FLOATING_IP_INTENDED,
        Kind.SCRIPT_INTENDED,
        Kind.COLLECT_ASKED,
    }
)
"""Records without which nothing may be started: no start is sent before a lease stands in the journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run as listed."""

    run: RunId
    name: str
    opened_at: datetime
    owner: Owner | None
    instance: str
    closed: bool


class Journal:
    """All runs of this user on this machine.

    Args:
        path: the SQLite file; its folder exists.
        now: gives the wall time of records.
    """

    def __init__(self, path: Path, *, now: Callable[[], datetime]) -> None:
        self._path = path
        self._now = now
        self._tolerant = False
        self._unwritten: dict[RunId, list[Record]] = {}
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
            # On a network filesystem the write-ahead log's shared memory does not hold; a rollback journal does.
            mode = "DELETE" if filesystem_of(path.parent) in NETWORK_FILESYSTEMS else "WAL"
            self._db.execute(f"PRAGMA journal_mode={mode}")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise UsageError(
                code="journal-unusable",
                what=f"the journal {path} cannot be opened or locked: {error}",
                next="set JETRUN_HOME to a folder on a local disk with free space, then repeat the command",
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def open_run(self, run: RunId, *, name: str, job: Mapping[str, Any]) -> None:
        """Begin a run, owned by this process."""
        at = self._now().isoformat()
        with self._transaction():
            self._db.execute(
                "INSERT INTO runs (run, opened_at, name, owner, instance) VALUES (?, ?, ?, ?, '')",
                (run, at, name, Owner.of_this_process().to_text()),
            )
            self._insert(run, Kind.OPENED, {"job": dict(job)}, at)

    def append(self, run: RunId, kind: Kind, data: Mapping[str, Any]) -> Record:
        """Add one record; on disk when this returns.

        Raises:
            InternalError: it could not be written.
        """
        at = self._now()
        record = Record(at=at, kind=kind, data=data)
        try:
            with self._transaction():
                self._insert(run, kind, data, at.isoformat())
                if kind in {Kind.RESOLVED, Kind.CREATED}:
                    self._db.execute("UPDATE runs SET instance = ? WHERE run = ?", (data["id"], run))
                if kind in {Kind.CLOSED, Kind.SHUTDOWN_BEGAN}:
                    self._db.execute("UPDATE runs SET closed = ? WHERE run = ?", (int(kind is Kind.CLOSED), run))
        except InternalError:
            if not self._tolerant or kind in _BEFORE_SPENDING:
                raise
            self._unwritten.setdefault(run, []).append(record)
        return record

    def tolerate(self) -> None:
        """From now on keep in memory what cannot be written, but for what must be on disk before anything spends.

        For commands that end a run: a full disk must not keep an instance up (invariant 1).
        """
        self._tolerant = True

    def records(self, run: RunId) -> list[Record]:
        """The records of *run*, oldest first; empty for an unknown run."""
        rows = self._db.execute("SELECT at, kind, data FROM records WHERE run = ? ORDER BY seq", (run,))
        written = [
            Record(at=datetime.fromisoformat(at), kind=Kind(kind), data=json.loads(data)) for at, kind, data in rows
        ]
        return written + self._unwritten.get(run, [])

    def newest(self, run: RunId, kind: Kind) -> Mapping[str, Any] | None:
        """The data of the newest record of that kind, None without one."""
        query = "SELECT data FROM records WHERE run = ? AND kind = ? ORDER BY seq DESC LIMIT 1"
        try:
            row = self._db.execute(query, (run, kind.value)).fetchone()
        except sqlite3.Error:
            # Asked while a script runs: a file that is locked for a moment must not end it.
            return None
        return dict(json.loads(row[0])) if row else None

    def expected(self, cloud: str) -> dict[str, RunState]:
        """Instances of *cloud* that may be up as far as this journal knows, each with its newest run's state."""
        found: dict[str, RunState] = {}
        for row in self.runs():
            state = self.state(row.run)
            if state.instance is None or str(state.job.get("cloud")) != cloud or state.instance in found:
                continue
            found[state.instance] = state
        return found

    def state(self, run: RunId) -> RunState:
        """The run's state, folded from its records."""
        return replay(run, self.records(run))

    def runs(self) -> list[RunRow]:
        """All runs, newest first."""
        rows = self._db.execute(
            "SELECT run, name, opened_at, owner, instance, closed FROM runs ORDER BY opened_at DESC, rowid DESC"
        )
        return [
            RunRow(
                run=RunId(run),
                name=name,
                opened_at=datetime.fromisoformat(opened_at),
                owner=Owner.from_text(owner) if owner else None,
                instance=instance,
                closed=bool(closed),
            )
            for run, name, opened_at, owner, instance, closed in rows
        ]

    def unverified(self) -> list[RunRow]:
        """Closed runs whose last receipt does not prove that the instance is down, newest first; not those a person has now."""
        found = []
        for row in self.runs():
            last = self.newest(row.run, Kind.RECEIPT) or {"verified": True}
            if row.closed and not last["verified"] and last.get("reason") != Reason.SOMEBODY_ELSES:
                found.append(row)
        return found

    def find(self, word: str, *, unfinished: bool = False) -> RunId:
        """The run that *word* names: an id, the start of one that fits only one run, or ``last``.

        Args:
            unfinished: ``last`` is the newest run that has not ended, where there is one.

        Raises:
            UsageError: none or several fit.
        """
        runs = self.runs()
        found = [row for row in runs if row.run == word] or [row for row in runs if row.run.startswith(word)]
        if word == "last":
            found = ([row for row in runs if unfinished and not row.closed] or runs)[:1]
        if len(found) == 1:
            return found[0].run
        names = ", ".join(row.run for row in (found or runs)[:5]) or "none yet"
        what = f"{len(found)} runs begin with {word!r}: {names}" if found else f"no run {word!r}; the newest: {names}"
        raise UsageError(code="unknown-run", what=what, next="jetrun ps --all")

    def take(self, run: RunId) -> None:
        """Make this process the owner of *run*.

        Raises:
            UsageError: its owner still lives, or is on another host and cannot be asked.
        """
        try:
            self._take(run)
        except InternalError:
            if not self._tolerant:
                raise

    def leave(self, run: RunId) -> None:
        """This process has ended *run*, and is not its owner any more. Never raises: a process that is gone owns nothing either."""
        mine = Owner.of_this_process().to_text()
        with contextlib.suppress(InternalError), self._transaction():
            self._db.execute("UPDATE runs SET owner = NULL WHERE run = ? AND owner = ?", (run, mine))

    def _take(self, run: RunId) -> None:
        """Become the owner, in one transaction."""
        with self._transaction():
            row = self._db.execute("SELECT owner FROM runs WHERE run = ?", (run,)).fetchone()
            owner = Owner.from_text(row[0]) if row and row[0] else None
            mine = Owner.of_this_process()
            if owner is not None and owner != mine and owner.is_alive() is not False:
                where = f"process {owner.pid} on {owner.host}"
                raise UsageError(
                    code="run-has-an-owner",
                    what=f"run {run} is carried by {where}"
                    + ("" if owner.is_alive() else ", which cannot be seen from here"),
                    state="not touched by this command",
                    next=f"jetrun show {run}",
                )
            self._db.execute("UPDATE runs SET owner = ? WHERE run = ?", (mine.to_text(), run))
            self._insert(run, Kind.OWNED, {"host": mine.host, "pid": mine.pid}, self._now().isoformat())

    def _insert(self, run: RunId, kind: Kind, data: Mapping[str, Any], at: str) -> None:
        """Add a row with the next number."""
        self._db.execute(
            "INSERT INTO records (run, seq, at, kind, data) "
            "SELECT ?, COALESCE(MAX(seq), 0) + 1, ?, ?, ? FROM records WHERE run = ?",
            (run, at, kind.value, json.dumps(data), run),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One durable transaction.

        Raises:
            InternalError: the disk is full, the file is locked or damaged.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise InternalError(
                code="journal-not-written",
                what=f"the journal {self._path} cannot be written: {error}",
                state="not changed by this record",
                next=f"df -h {self._path.parent}",
            ) from error

    @property
    def database(self) -> sqlite3.Connection:
        """The connection, for the outbox beside the records."""
        return self._db
