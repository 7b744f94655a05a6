"""The user's own fire drill: what it says of who ended the instance is so, and it can fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import Desk

from jetrun.cli.drill_case import Row
from jetrun.cli.drilling import table


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """It brings its own cloud."""
    from types import SimpleNamespace

    return Desk(cloud=SimpleNamespace(mail_port=9, clouds=tmp_path / "none.yaml"), folder=tmp_path)


def test_each_layer_is_named_by_what_it_did(desk: Desk) -> None:
    kills = ("driver", "guardian", "both", "network", "mail")
    ended = desk.jetrun("drill", "--phase", "execute", "--dir", "d", "--json", within_s=280)
    assert ended.code == 0, ended.err + ended.out
    rows = {row["killed"]: row for row in json.loads(ended.out)}
    assert set(rows) == set(kills)
    assert all(row["down"] for row in rows.values())
    by = {killed: row["ended_by"] for killed, row in rows.items()}
    assert by == {
        "driver": "guardian",
        "guardian": "driver",
        "both": "switch, then reaper",
        "network": "driver",
        "mail": "driver",
    }
    assert rows["both"]["off_s"] < rows["both"]["seconds"], "off first, shelved later"
    assert (rows["driver"]["mail"], rows["mail"]["mail"]) == ("sent", "queued")
    assert rows["driver"]["cost"] > 0


def test_a_drill_that_does_not_know_the_phase_or_the_instance_says_so(desk: Desk) -> None:
    assert "--phase acquire" in desk.jetrun("drill", "--phase", "coffee").err
    assert desk.jetrun("drill", "--kill", "cat").code == 2
    assert desk.jetrun("drill", "--os-cloud", "js2").code == 2


def test_the_table_says_what_was_left_up() -> None:
    """A drill that cannot fail would be no drill."""
    bad = Row.failed("execute", "driver", "")
    text = table([bad, Row.failed("execute", "both", "no guardian stands")])
    assert "NOBODY: STILL UP" in text
    assert "NOT PLAYED" in text
    assert "2 instances left up" in text
