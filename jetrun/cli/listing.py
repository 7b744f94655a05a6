"""Runs as people see them: a table, a story, a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetrun.errors import UsageError
from jetrun.guarantee.lifecycle import Kind, Record, next_phase
from jetrun.guarantee.power import RunId
from jetrun.journal.owner import Owner
from jetrun.journal.store import Journal
from jetrun.wiring import job_of

if TYPE_CHECKING:
    from jetrun.wiring import House


def rows_of(journal: Journal, *, everything: bool) -> list[dict[str, Any]]:
    """Runs, newest first: those that go on or are not proven down; all of them where *everything*."""
    unverified = {row.run for row in journal.unverified()}
    rows = []
    for row in journal.runs():
        if row.closed and not everything and row.run not in unverified:
            continue
        state = journal.state(row.run)
        alive = row.owner.is_alive() if row.owner is not None else False
        guardian = guardian_of(journal, row.run)
        carried = {True: f"process {row.owner.pid}" if row.owner else "", False: "nobody", None: "another host"}[alive]
        rows.append(
            {
                "run": row.run,
                "name": row.name,
                "opened_at": row.opened_at.isoformat(timespec="seconds"),
                "phase": next_phase(state).value,
                "carried_by": "" if row.closed else carried,
                "guardian": guardian,
                "instance": state.instance_name or row.instance,
                "exit_code": state.exit_code,
                "verified": state.receipt.verified if state.receipt is not None else None,
            }
        )
    return rows


def guardian_of(journal: Journal, run: RunId) -> int | None:
    """The pid of the run's guardian while it lives on this machine."""
    found = newest_guardian(journal, run)
    return found.pid if found is not None and found.is_alive() else None


def newest_guardian(journal: Journal, run: RunId) -> Owner | None:
    """The process that the journal knows as the run's guardian, wherever it is, and whether or not it lives."""
    kept = journal.newest(run, Kind.GUARDED)
    return Owner.from_text(kept["owner"]) if kept else None


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as aligned text."""
    if not rows:
        return "no run goes on, and no instance is unproven (jetrun ps --all lists ended runs)\n"
    lines = [
        f"{'RUN':<21} {'NAME':<18} {'PHASE':<9} {'CARRIED BY':<15} {'GUARDIAN':<9} {'INSTANCE':<20} {'EXIT':>4}  DOWN"
    ]
    for row in rows:
        down = {True: "verified", False: "NOT VERIFIED: jetrun verify " + row["run"], None: "-"}[row["verified"]]
        code = "-" if row["exit_code"] is None else str(row["exit_code"])
        lines.append(
            f"{row['run']:<21} {_cut(row['name'], 18):<18} {row['phase']:<9} {row['carried_by']:<15} "
            f"{row['guardian'] or '-':<9} {_cut(row['instance'], 20):<20} {code:>4}  {down}"
        )
    return "\n".join(lines) + "\n"


def story(records: Sequence[Record]) -> str:
    """The journal of a run, a line a record."""
    lines = []
    for record in records:
        if record.kind in {Kind.OPENED, Kind.REQUEST_INTENDED}:
            continue
        data = record.data
        shown = {key: data[key] for key in _SHOWN.get(record.kind, ()) if data.get(key) not in (None, "", [], {})}
        words = "  ".join(f"{key}={value}" for key, value in shown.items())
        lines.append(f"{record.at:%H:%M:%S}  {record.kind.value:<20} {words}".rstrip())
    return "\n".join(lines) + "\n"


_SHOWN = {
    Kind.GUARDED: ("owner", "scope"),
    Kind.PHASE: ("phase",),
    Kind.RESOLVED: ("name", "id", "status"),
    Kind.CREATED: ("name", "id"),
    Kind.LEASE_GRANTED: ("until_at", "port_id"),
    Kind.EXTENDED: ("until_at",),
    Kind.REQUEST_REPLIED: ("action", "outcome", "request_id"),
    Kind.REACHED: ("host", "user", "trust"),
    Kind.SWITCH_ARMED: ("armed", "deadline_at"),
    Kind.SCRIPT_ENDED: ("exit_code", "state", "stopped"),
    Kind.STAGED_OUT: ("complete", "count", "missing", "problems"),
    Kind.STOP_ASKED: ("cause",),
    Kind.TROUBLE: ("code", "what"),
    Kind.RECEIPT: ("verified", "status", "reason"),
    Kind.CLOSED: ("exit_code",),
}


def document_from_journal(house: House, run: RunId) -> dict[str, Any]:
    """The run's document, from the journal alone: nothing is asked of the cloud.

    For a run that has not ended: what is known so far, with the phase as its outcome.
    """
    records = house.journal.records(run)
    reported = [record.data for record in records if record.kind is Kind.REPORTED and "document" in record.data]
    state = house.journal.state(run)
    if reported and state.exit_code is not None:
        return {**reported[-1]["document"], "mail": {"state": house.telling.state(run)}}
    job = job_of(state)
    instance = None
    if state.instance is not None:
        instance = {"id": state.instance, "name": state.instance_name, "launched_by_run": state.launched}
    return {
        "schema": 1,
        "run_id": run,
        "name": job.name,
        "outcome": f"in phase {next_phase(state).value}",
        "exit_code": None,
        "script": None,
        "instance": instance,
        "receipt": state.receipt.to_dict() if state.receipt is not None else None,
        "outputs": (state.outputs or {}).get("files", []),
        "cost": {"unit": "SU", "run": None, "now_per_hour": None, "rate_source": ""},
        "mail": {"state": "none"},
        "phases": [{"name": phase.value, "started_at": at.isoformat(), "ended_at": None} for phase, at in state.phases],
        "output_dir": str(Path(str(state.job.get("folder", "."))) / job.output_folder(run)),
        "error": {key: str(state.trouble[key]) for key in ("code", "what", "state", "next")} if state.trouble else None,
        "outputs_missing": [],
        "log_path": str(house.folder(run) / "log"),
        "warnings": [],
        "cloud": str(state.job.get("cloud", "")),
    }


def stream_log(house: House, run: RunId, *, follow: bool) -> None:
    """Copy the run's log to stdout, and go on while its process lives."""
    path = house.folder(run) / "log"
    if not path.exists() and not follow:
        raise UsageError(
            code="no-log",
            what=f"run {run} has no log here: its script did not start, or printed nothing",
            next=f"jetrun show {run}",
        )
    offset = 0
    while True:
        if path.exists():
            with path.open("rb") as file:
                file.seek(offset)
                while data := file.read(1 << 16):
                    sys.stdout.buffer.write(data)
                    offset += len(data)
            sys.stdout.buffer.flush()
        row = next(one for one in house.journal.runs() if one.run == run)
        if not follow or row.closed or (row.owner is not None and row.owner.is_alive() is False):
            return
        time.sleep(0.3)


def _cut(text: str, width: int) -> str:
    """*text* in one line of at most *width* characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
