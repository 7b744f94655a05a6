"""The journal: what was written is what is read, one process owns a run, and a disk that is full says so."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jetrun.errors import InternalError, UsageError
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import RunId
from jetrun.journal.disk import filesystem_of
from jetrun.journal.outbox import CLAIM_S, Outbox
from jetrun.journal.owner import Owner
from jetrun.journal.store import Journal

JOB = {"instance": {"on": "vm"}, "cloud": "js2"}


class Now:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 20, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def journal(tmp_path: Path, now: Now) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite", now=now)
    yield opened
    opened.close()


def begun(journal: Journal, name: str = "run-1") -> RunId:
    run = RunId(name)
    journal.open_run(run, name="job", job=JOB)
    return run


def test_what_is_written_is_read_by_another_process(journal: Journal, tmp_path: Path, now: Now) -> None:
    """Crash-only: the next process knows what this one knew."""
    run = begun(journal)
    journal.append(run, Kind.RESOLVED, {"id": "i-1", "name": 'q"\n$é', "project_id": "lab"})
    other = Journal(tmp_path / "journal.sqlite", now=now)
    try:
        assert [record.kind for record in other.records(run)] == [Kind.OPENED, Kind.RESOLVED]
        assert other.state(run).instance_name == 'q"\n$é'
        assert other.runs()[0].instance == "i-1"
    finally:
        other.close()


def test_every_record_is_on_disk_when_it_returns(journal: Journal) -> None:
    """Invariant 1: fsynced; SQLite says so by synchronous=FULL with its log."""
    assert journal.database.execute("PRAGMA synchronous").fetchone()[0] >= 2
    assert journal.database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_runs_are_found_by_id_start_and_last(journal: Journal) -> None:
    """What a person types."""
    first, second = begun(journal, "20261120-aa"), begun(journal, "20261121-bb")
    assert journal.find("20261120-aa") == first
    assert journal.find("20261121") == second
    assert journal.find("last") == second
    for wrong in ("2026", "nope"):
        with pytest.raises(UsageError) as caught:
            journal.find(wrong)
        assert caught.value.next == "jetrun ps --all"


def test_last_of_the_unfinished_passes_over_what_has_ended(journal: Journal) -> None:
    """``jetrun continue last`` after a refused second try."""
    first, second = begun(journal, "a"), begun(journal, "b")
    journal.append(second, Kind.CLOSED, {"exit_code": 122})
    assert journal.find("last", unfinished=True) == first
    assert journal.find("last") == second


def test_a_run_has_one_living_owner(journal: Journal, tmp_path: Path, now: Now) -> None:
    """Two processes never carry the same run."""
    run = begun(journal)
    journal.take(run)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        living = replace(Owner.of_this_process(), pid=other.pid, start_time=_start_time(other.pid))
        journal.database.execute("UPDATE runs SET owner = ? WHERE run = ?", (living.to_text(), run))
        with pytest.raises(UsageError) as caught:
            journal.take(run)
        assert caught.value.code == "run-has-an-owner"
        other.kill()
    journal.take(run)
    assert journal.runs()[0].owner == Owner.of_this_process()


def test_a_reused_pid_is_not_the_owner() -> None:
    """The start time and the boot tell."""
    mine = Owner.of_this_process()
    assert mine.is_alive()
    assert replace(mine, start_time="1").is_alive() is False
    assert replace(mine, boot_id="another boot").is_alive() is False
    assert replace(mine, pid=2**22 + 1).is_alive() is False


@pytest.mark.invariant(10)
def test_another_hosts_run_is_not_adopted(journal: Journal) -> None:
    """It cannot be seen from here whether that process lives."""
    run = begun(journal)
    away = replace(Owner.of_this_process(), host="another-machine")
    assert away.is_alive() is None
    journal.database.execute("UPDATE runs SET owner = ? WHERE run = ?", (away.to_text(), run))
    with pytest.raises(UsageError, match="another-machine"):
        journal.take(run)


def test_a_journal_that_cannot_be_written_says_so(journal: Journal) -> None:
    """The run must know before it spends."""
    run = begun(journal)
    journal.database.execute("PRAGMA query_only=ON")
    with pytest.raises(InternalError) as caught:
        journal.append(run, Kind.UP, {})
    assert caught.value.code == "journal-not-written"


@pytest.mark.invariant(1)
def test_a_command_that_ends_a_run_goes_on_without_a_disk(journal: Journal) -> None:
    """Kept in memory; but what must be written before anything spends still refuses."""
    run = begun(journal)
    journal.database.execute("PRAGMA query_only=ON")
    journal.tolerate()
    journal.take(run)
    journal.append(run, Kind.SHUTDOWN_BEGAN, {"disposition": "shelve"})
    assert journal.state(run).shutdown == {"disposition": "shelve"}
    for kind in (Kind.LEASE_INTENDED, Kind.CREATE_INTENDED, Kind.SCRIPT_INTENDED):
        with pytest.raises(InternalError):
            journal.append(run, kind, {})


def test_a_folder_that_cannot_hold_a_journal_names_jetrun_home(tmp_path: Path, now: Now) -> None:
    """Not a traceback."""
    (tmp_path / "journal.sqlite").write_bytes(b"this is no database at all, and long enough to be seen as none")
    with pytest.raises(UsageError) as caught:
        Journal(tmp_path / "journal.sqlite", now=now)
    assert "JETRUN_HOME" in caught.value.next


def test_the_filesystem_of_a_folder_is_known() -> None:
    """Network filesystems get a rollback journal."""
    assert filesystem_of(Path("/proc")) == "proc"


def test_unproven_instances_stay_listed(journal: Journal) -> None:
    """Sticky until they are proven down."""
    run = begun(journal)
    journal.append(run, Kind.RECEIPT, {"verified": False})
    assert journal.unverified() == []
    journal.append(run, Kind.CLOSED, {"exit_code": 119})
    assert [row.run for row in journal.unverified()] == [run]
    journal.append(run, Kind.RECEIPT, {"verified": True})
    assert journal.unverified() == []


# --- the outbox ---


@pytest.fixture
def outbox(journal: Journal, now: Now) -> Outbox:
    return Outbox(journal, now=now)


def test_nobody_is_told_twice(journal: Journal, outbox: Outbox) -> None:
    """One mail of a kind for a run."""
    run = begun(journal)
    assert outbox.state(run) == "none"
    outbox.queue(run, "report", {"n": 1})
    outbox.queue(run, "report", {"n": 2})
    assert [one.message for one in outbox.due()] == [{"n": 1}]
    outbox.sent(outbox.due()[0])
    assert outbox.due() == []
    assert outbox.state(run) == "sent"
    outbox.queue(run, "report", {"n": 3})
    assert outbox.state(run) == "sent"


def fail(outbox: Outbox) -> None:
    """One attempt at the only message, in vain."""
    (waiting,) = outbox.due()
    assert outbox.claim(waiting)
    outbox.failed(waiting, "no answer", permanent=False)


def test_of_two_processes_one_sends_it(journal: Journal, now: Now) -> None:
    run = begun(journal)
    first, second = Outbox(journal, now=now), Outbox(journal, now=now)
    first.queue(run, "alarm", {})
    (seen,) = first.due(run)
    (also_seen,) = second.due(run)
    assert first.claim(seen)
    assert not second.claim(also_seen)
    assert second.due(run) == []
    assert second.due() == []
    now.at += timedelta(seconds=CLAIM_S + 1)
    (again,) = second.due()
    assert second.claim(again), "whoever claimed it died meanwhile"


def test_an_alarm_leaves_also_where_the_disk_takes_no_writes(journal: Journal, outbox: Outbox) -> None:
    run = begun(journal)
    journal.database.execute("PRAGMA query_only = ON")
    try:
        outbox.queue(run, "alarm", {"n": 1})
        outbox.queue(run, "alarm by ntfy-123456", {"n": 2})
        assert outbox.state(run, "alarm") == "queued"
        first, second = outbox.due(run)
        assert outbox.claim(first)
        outbox.failed(first, "no answer", permanent=False)
        assert not outbox.accepted(run, "alarm")
        assert outbox.claim(second)
        outbox.sent(second)
        assert outbox.accepted(run, "alarm"), "any channel will do"
        assert [one.message for one in outbox.due(run)] == [{"n": 1}]
    finally:
        journal.database.execute("PRAGMA query_only = OFF")


def test_a_message_by_a_channel_is_not_another_runs(journal: Journal, outbox: Outbox) -> None:
    run = begun(journal)
    outbox.queue(run, "alarm 2 by json-1", {})
    (waiting,) = outbox.due()
    assert outbox.claim(waiting)
    outbox.sent(waiting)
    assert not outbox.accepted(run, "alarm")
    assert outbox.accepted(run, "alarm 2")
    assert not outbox.accepted(RunId("another"), "alarm 2")


def test_a_mail_that_failed_waits_longer_each_time(journal: Journal, outbox: Outbox, now: Now) -> None:
    """Queued is not told: it is tried again."""
    run = begun(journal)
    outbox.queue(run, "alarm", {})
    fail(outbox)
    assert outbox.due() == []
    assert [one.error for one in outbox.due(run)] == ["no answer"], "for its own run it is tried at once"
    now.at += timedelta(seconds=61)
    (waiting,) = outbox.due()
    assert waiting.attempts == 1
    fail(outbox)
    now.at += timedelta(seconds=200)
    assert outbox.due() == []
    now.at += timedelta(seconds=200)
    assert len(outbox.due()) == 1


def test_a_mail_that_will_be_refused_again_is_not_tried(journal: Journal, outbox: Outbox) -> None:
    """No such mailbox."""
    run = begun(journal)
    outbox.queue(run, "report", {})
    outbox.failed(outbox.due()[0], "550", permanent=True)
    assert outbox.due(run) == []
    assert outbox.state(run) == "refused"


def _start_time(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def test_a_file_name_that_is_no_utf8_never_keeps_a_record_from_the_journal(tmp_path: Path) -> None:
    # Such an error escaped the handler that writes trouble down, and with it the shutdown.
    journal = Journal(tmp_path / "bytes.sqlite", now=lambda: datetime.now(UTC))
    try:
        journal.open_run(RunId("run-1"), name="n", job={})
        journal.append(RunId("run-1"), Kind.TROUBLE, {"what": "no file data-\udcff"})
        assert journal.newest(RunId("run-1"), Kind.TROUBLE) == {"what": "no file data-\udcff"}
    finally:
        journal.close()
