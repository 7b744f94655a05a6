"""The run's log: one JSON line an event, secrets masked, and a disk that is full ends the log, not the run."""

from __future__ import annotations

import json
from pathlib import Path

from jetrun.api import SilentScreen
from jetrun.errors import Secret
from jetrun.guarantee.lifecycle import Phase
from jetrun.log import RunLog


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_event_is_one_line_with_what_is_bound(tmp_path: Path) -> None:
    """It can be read by a machine, years later."""
    log = RunLog(SilentScreen(), tmp_path / "run.jsonl", run_id="r1", cloud="js2")
    log.phase(Phase.ACQUIRE)
    log.event("instance.created", instance_id="i-1", request_id="req-1")
    log.event("instance.observed", status="ACTIVE")
    log.event("shutdown.unverified", reason="stuck")
    log.close()
    found = lines(tmp_path / "run.jsonl")
    assert [(one["event"], one["level"]) for one in found] == [
        ("phase.entered", "info"),
        ("instance.created", "info"),
        ("instance.observed", "debug"),
        ("shutdown.unverified", "error"),
    ]
    assert all(one["run_id"] == "r1" and one["cloud"] == "js2" and str(one["at"]).endswith("Z") for one in found)
    assert found[-1]["instance_id"] == "i-1"


def test_what_is_named_like_a_secret_is_masked(tmp_path: Path) -> None:
    """Invariant 9, the last line of defence."""
    log = RunLog(SilentScreen(), tmp_path / "run.jsonl")
    log.event("odd.event", smtp_password="hunter2", api_token="t", value=Secret("s3cret"))
    log.close()
    text = (tmp_path / "run.jsonl").read_text()
    assert "hunter2" not in text
    assert "s3cret" not in text
    assert text.count("****") == 3


def test_a_folder_that_cannot_be_written_ends_the_log_and_not_the_run(tmp_path: Path) -> None:
    """The screen goes on."""

    class Watching(SilentScreen):
        def __init__(self) -> None:
            self.names: list[str] = []

        def event(self, name: str, **fields: object) -> None:
            self.names.append(name)

    watching = Watching()
    log = RunLog(watching, tmp_path / "missing" / "run.jsonl")
    log.event("instance.up")
    log.close()
    assert watching.names == ["log.not_kept", "instance.up"]


def test_a_disk_that_fills_up_ends_the_log_and_not_the_run() -> None:
    """/dev/full answers every write with ENOSPC."""
    log = RunLog(SilentScreen(), Path("/dev/full"))
    log.event("instance.up")
    log.event("instance.up")
    log.close()
