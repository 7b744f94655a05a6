"""``jetrun network create`` before a first launch on the embedded cloud, whose network is made by the cloud itself."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path

import pytest
from runs import Desk


def test_what_is_missing_is_shown_made_once_and_good_for_a_launch(desk: Desk) -> None:
    words = ("network", "create", "--name", "first", "--ssh-from", "198.51.100.0/24")
    shown = desk.jetrun(*words, "--dry-run")
    assert (shown.code, shown.err.count("will be made"), shown.out) == (0, 3, "")
    made = desk.jetrun(*words, "--yes")
    assert made.code == 0, made.err
    assert made.err.count("made: ") == 3
    again = desk.jetrun(*words)
    assert (again.code, again.err.count("is there"), again.err.count("made: ")) == (0, 4, 0), again.err
    assert 'security_groups = ["first-ssh"]' in again.out
    job = desk.folder / "job.toml"
    table = again.out[again.out.index("[instance]") :]
    job.write_text(f'script = "job.sh"\ndisposition = "delete"\n{table}image = "devcloud-linux"\nflavor = "m3.small"\n')
    desk.script("true\n")
    ended = desk.jetrun("run", str(job), "--json")
    assert ended.code == 0, ended.err


def test_who_may_come_in_is_never_guessed(desk: Desk) -> None:
    ended = desk.jetrun("network", "create", "--yes")
    assert ended.code == 2
    assert "--ssh-from" in ended.err
    wrong = desk.jetrun("network", "create", "--yes", "--ssh-from", "home")
    assert wrong.code == 2
    assert "'home' is no address" in wrong.err


def test_another_key_of_that_name_is_refused_and_kept(desk: Desk, tmp_path: Path) -> None:
    words = ("network", "create", "--name", "keyed", "--ssh-from", "any", "--yes", "--json")
    assert desk.jetrun(*words).code == 0
    stranger = Desk(cloud=desk.cloud, folder=tmp_path / "other")
    refused = stranger.jetrun(*words)
    assert refused.code == 2
    assert "holds another key" in refused.err
    mine = desk.jetrun(*words)
    assert all(piece["id"] for piece in json.loads(mine.out))


@pytest.mark.parametrize("point", ["neutron.security_group_create", "neutron.security_group_rule_create"])
def test_a_lost_reply_makes_nothing_twice(desk: Desk, point: str) -> None:
    name = point.replace(".", "-").replace("_", "-")
    desk.cloud.add_fault("lost-reply", on=point)
    words = ("network", "create", "--name", name, "--ssh-from", "any", "--yes", "--json")
    first = desk.jetrun(*words)
    assert first.code == 0, first.err
    again = desk.jetrun(*words)
    assert json.loads(first.out) == json.loads(again.out)


def test_a_refused_object_leaves_the_rest_for_the_next_call(desk: Desk) -> None:
    desk.cloud.add_fault("refuse-409", on="neutron.security_group_rule_create")
    words = ("network", "create", "--name", "half", "--ssh-from", "any", "--yes")
    first = desk.jetrun(*words)
    assert first.code != 0
    assert "rule" in first.err
    second = desk.jetrun(*words)
    assert second.code == 0, second.err
    assert second.err.count("made: ") == 2, second.err


@pytest.mark.parametrize(("typed", "code"), [(b"y\n", 0), (b"\n", 2), (b"no\n", 2)])
def test_a_person_is_asked_at_a_terminal(desk: Desk, typed: bytes, code: int) -> None:
    ours, theirs = pty.openpty()
    name = f"asked-{typed.decode().strip() or 'nothing'}"
    try:
        with desk.start("network", "create", "--name", name, "--ssh-from", "any", stdin=theirs) as process:
            os.write(ours, typed)
            process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == code
    there = desk.jetrun("network", "create", "--name", name, "--ssh-from", "any", "--dry-run").err
    assert ("will be made" in there) == (code != 0)
