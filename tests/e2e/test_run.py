"""The main job from every state an instance can be in, with every end a script can have (acceptance A3)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from devcloud_subject import eventually
from runs import Desk, tells_the_truth

WORK = 'mkdir -p results && cp data/noise results/noise && printf "%s" "$WORD" > results/word && echo out && echo err >&2\n'


def brought_to(desk: Desk, status: str, name: str) -> str:
    """An instance in that state, by somebody's actions."""
    key = desk.instance(name)
    if status == "SHELVED_OFFLOADED":
        return key
    desk.cloud.do("act", user="ada", instance=key, action="unshelve")
    eventually(lambda: desk.truth(key)["status"] == "ACTIVE")
    action = {"SHUTOFF": "stop", "SUSPENDED": "suspend", "PAUSED": "pause"}.get(status)
    if action:
        desk.cloud.do("act", user="ada", instance=key, action=action)
        eventually(lambda: desk.truth(key)["status"] == status)
    return key


@pytest.mark.parametrize(
    ("status", "code"),
    [("SHELVED_OFFLOADED", 0), ("SHUTOFF", 3), ("SUSPENDED", 77), ("PAUSED", 137), ("ACTIVE", 0)],
)
def test_from_each_state_the_scripts_own_end_is_the_runs(desk: Desk, status: str, code: int) -> None:
    """A3: exit code, outputs byte for byte, and a receipt by two fresh reads."""
    key = brought_to(desk, status, f"vm-{status.lower()}")
    (desk.folder / "data").mkdir()
    noise = os.urandom(100_000)
    (desk.folder / "data" / "noise").write_bytes(noise)
    end = "kill -9 $$" if code == 137 else f"exit {code}"
    script = desk.script(WORK + end + "\n")
    extra = ("--take-over",) if status == "ACTIVE" else ()

    ended = desk.run(script, "-i", "data", "-o", "results", "--env", "WORD=a b$c", *extra, on=key)

    assert ended.code == code, ended.err
    document = ended.document
    assert document["script"]["exit_code"] == code
    folder = Path(document["output_dir"])
    assert (folder / "results" / "noise").read_bytes() == noise
    assert (folder / "results" / "word").read_text() == "a b$c"
    sums = {row["path"]: row["sha256"] for row in document["outputs"]}
    assert sums["results/noise"] == hashlib.sha256(noise).hexdigest()
    receipt = document["receipt"]
    assert receipt["verified"]
    assert [read["status"] for read in receipt["observations"]] == ["SHELVED_OFFLOADED"] * 2
    assert Path(document["log_path"]).read_text() == "out\nerr\n"
    assert desk.is_down(key)
    assert desk.cloud.truth()["ports"], "the ports are still there"
    port = next(row for row in desk.cloud.truth()["ports"] if row["device_id"] == key)
    assert port["description"] == "", "the lease was given back"


def test_an_instance_that_already_runs_is_refused_and_left_alone(desk: Desk) -> None:
    """122, untouched: it may be somebody's."""
    key = brought_to(desk, "ACTIVE", "vm-somebodys")
    before = desk.truth(key)["actions"]
    ended = desk.run(desk.script("true\n"), on=key)
    assert ended.code == 122
    assert desk.truth(key)["actions"] == before
    assert ended.document["error"]["code"] == "already-running"
    assert "--take-over" in ended.document["error"]["next"]


@pytest.mark.parametrize("disposition", ["shelve", "stop", "delete"])
def test_a_launched_instance_ends_as_the_job_says(desk: Desk, disposition: str) -> None:
    """A launch on a port of the run's own; with delete nothing is left."""
    (desk.folder / "job.toml").write_text(
        f'name = "made {disposition}"\ncommand = ["sh", "-c", "mkdir r; echo x > r/x"]\noutputs = ["r/"]\n'
        f'disposition = "{disposition}"\n[instance]\nimage = "devcloud-linux"\nflavor = "m3.tiny"\n'
    )
    before = len(desk.cloud.truth()["floating_ips"])
    ended = desk.jetrun("run", "job.toml", "--json")
    assert ended.code == 0, ended.err
    document = ended.document
    key = document["instance"]["id"]
    assert document["instance"]["launched_by_run"]
    assert document["receipt"]["verified"]
    assert document["receipt"]["disposition"] == disposition
    truth = desk.truth(key)
    assert truth["vm_state"] == {"shelve": "shelved_offloaded", "stop": "stopped", "delete": "deleted"}[disposition]
    assert not truth["really_on"]
    left = desk.cloud.truth()
    if disposition == "delete":
        assert not [row for row in left["ports"] if row["device_id"] == key or row["name"].endswith(document["run_id"])]
        assert len(left["floating_ips"]) == before
    else:
        assert desk.cloud.do("delete", user="ada", instance=key) == {}


def test_outputs_that_did_not_come_keep_a_launched_instance(desk: Desk) -> None:
    """Invariant 8: delete falls back to shelve, and says so."""
    (desk.folder / "job.toml").write_text(
        'command = ["true"]\noutputs = ["missing/"]\ndisposition = "delete"\n'
        '[instance]\nimage = "devcloud-linux"\nflavor = "m3.tiny"\nfloating_ip = "no"\n'
    )
    ended = desk.jetrun("run", "job.toml", "--json")
    assert ended.code == 121, ended.err
    document = ended.document
    assert document["outputs_missing"] == ["missing"]
    assert document["receipt"]["verified"]
    assert desk.truth(document["instance"]["id"])["vm_state"] == "shelved_offloaded"
    assert any("shelved, not deleted" in note for note in document["receipt"]["notes"])


def test_a_script_that_ends_with_a_reserved_code_says_123(desk: Desk) -> None:
    """Its true code is in the JSON."""
    key = desk.instance("vm-reserved")
    ended = desk.run(desk.script("exit 119\n"), on=key)
    assert ended.code == 123
    assert ended.document["script"]["exit_code"] == 119
    tells_the_truth(desk, ended, key)


def test_a_script_that_runs_too_long_is_stopped(desk: Desk) -> None:
    """124; TERM first, so that it can save what it has."""
    key = desk.instance("vm-slow")
    script = desk.script(
        "mkdir r\ntrap 'echo saved > r/state; exit 0' TERM\ni=0\nwhile [ $i -lt 600 ]; do sleep 0.1; done\n"
    )
    ended = desk.run(script, "--timeout", "2s", "-o", "r", on=key)
    assert ended.code == 124, ended.err
    assert (Path(ended.document["output_dir"]) / "r" / "state").read_text() == "saved\n"
    tells_the_truth(desk, ended, key)
    assert desk.is_down(key)


def test_a_second_run_on_a_held_instance_is_told_who_holds_it(desk: Desk, tmp_path: Path) -> None:
    """122 and no power action; the first is not disturbed."""
    key = desk.instance("vm-wanted")
    first = desk.start("run", str(desk.script("sleep 3\n")), "--on", key, "--json")
    try:
        eventually(lambda: desk.truth(key)["status"] == "ACTIVE")
        other = Desk(cloud=desk.cloud, folder=tmp_path / "other")
        second = other.run(other.script("true\n"), "--take-over", on=key)
        assert second.code == 122, second.err
        assert "holds instance" in second.document["error"]["what"]
    finally:
        first.communicate(timeout=60)
    assert first.returncode == 0
    starts = [row for row in desk.truth(key)["actions"] if row["action"] in {"start", "unshelve", "stop"}]
    assert len(starts) == 1
    assert desk.is_down(key)


def test_the_mail_says_what_the_receipt_says(desk: Desk) -> None:
    """One mail a run, after the shutdown."""
    key = desk.instance("vm-mail")
    before = set(desk.cloud.mail_folder.glob("*.eml"))
    ended = desk.run(desk.script("echo the last line\n"), "--email", "ada@uni.edu", on=key)
    assert ended.document["mail"]["state"] == "sent", ended.err
    new = set(desk.cloud.mail_folder.glob("*.eml")) - before
    assert len(new) == 1
    text = new.pop().read_text()
    assert "ada@uni.edu" in text
    assert "PROVEN DOWN" in text or "proven down" in text
    assert "the last line" in text


def test_an_instance_with_somebody_on_it_is_taken_over_only_by_force(desk: Desk) -> None:
    """They are warned first; the error's own words are what to type."""
    key = brought_to(desk, "ACTIVE", "vm-busy")
    folder = desk.cloud.folder / "instances" / key
    eventually((folder / "root" / "run").is_dir)
    (folder / "root" / "run" / "utmp.users").write_text("bob\n")
    refused = desk.run(desk.script("true\n"), "--take-over", on=key)
    assert refused.code == 122, refused.err
    assert refused.document["error"]["code"] == "somebody-is-on-it"
    assert "--take-over=force" in refused.document["error"]["next"]
    assert desk.truth(key)["really_on"], "left as it was"
    forced = desk.run(desk.script("true\n"), "--take-over=force", on=key)
    assert forced.code == 0, forced.err
    assert "takes this instance over" in (folder / "root" / "var" / "log" / "wall").read_text()
    assert desk.is_down(key)
