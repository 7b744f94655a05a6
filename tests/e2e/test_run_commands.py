"""The commands that an error's *next* names, each pasted as it stands: every one ends in the truth about the instance."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from subprocess import Popen

from devcloud_subject import eventually
from runs import Desk

SLOW = 'mkdir -p r; i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo "line $i"; echo $i > r/n; sleep 0.1; done\n'


def running(desk: Desk, key: str, *words: str) -> Popen[bytes]:
    """A run whose script is printing."""
    process = desk.start("run", str(desk.script(SLOW)), "--on", key, "-o", "r", "--json", *words)
    eventually(lambda: b"line 3" in log_of(desk), within_s=30)
    return process


def log_of(desk: Desk) -> bytes:
    found = sorted((desk.folder / "home" / "runs").glob("*/log"))
    return found[-1].read_bytes() if found else b""


def test_ps_show_and_logs_tell_of_a_run_that_goes_on_and_cancel_ends_it(desk: Desk) -> None:
    """What a researcher does who comes back to the desk."""
    key = desk.instance("vm-cancel")
    process = running(desk, key)
    row = json.loads(desk.jetrun("ps", "--json").out)[0]
    assert row["phase"] == "execute"
    assert row["carried_by"] == f"process {process.pid}"
    assert "in phase execute" in desk.jetrun("show", "last").out
    assert desk.jetrun("logs", "last").out.startswith("line 1\nline 2\n")
    refused = desk.jetrun("continue", "last")
    assert refused.code == 2
    assert "carried by process" in refused.err

    assert desk.jetrun("cancel", "last").code == 0
    out, err = process.communicate(timeout=60)

    assert process.returncode == 143, err.decode()
    document = json.loads(out)
    assert document["outcome"] == "interrupted"
    assert document["receipt"]["verified"]
    assert int((Path(document["output_dir"]) / "r" / "n").read_text()) >= 3, "what there was is collected"
    assert desk.is_down(key)
    assert desk.jetrun("cancel", "last").out.startswith("run ")
    assert json.loads(desk.jetrun("show", "last", "--json").out)["exit_code"] == 143


def test_continue_after_the_driver_was_killed_loses_no_line_of_the_log(desk: Desk) -> None:
    """kill -9 while the script prints; the script goes on, and the log is whole."""
    key = desk.instance("vm-killed")
    process = running(desk, key)
    process.kill()
    process.communicate()
    assert not desk.is_down(key)
    assert json.loads(desk.jetrun("ps", "--json").out)[0]["carried_by"] == "nobody"
    ended = desk.jetrun("continue", "last", "--json")
    assert ended.code == 0, ended.err
    assert log_of(desk).decode().split("\n") == [*(f"line {number}" for number in range(1, 301)), ""]
    assert desk.is_down(key)


def test_cancel_of_a_run_whose_process_is_gone_brings_it_down(desk: Desk) -> None:
    """Nobody is there to be told, so this command does it."""
    key = desk.instance("vm-orphan")
    process = running(desk, key)
    process.kill()
    process.communicate()
    ended = desk.jetrun("cancel", "last")
    assert ended.code == 143, ended.err
    assert desk.is_down(key)


def test_extend_moves_the_lease_and_the_switch(desk: Desk) -> None:
    """In the cloud first, then on the instance."""
    key = desk.instance("vm-longer")
    process = running(desk, key, "--max-lifetime", "3h")

    def until() -> str:
        port = next(row for row in desk.cloud.truth()["ports"] if row["device_id"] == key)
        return str(port["description"])

    before, shown = until(), desk.truth(key)["metadata"]
    assert shown["jetrun_requests"] == desk.truth(key)["actions"][-1]["request_id"]
    ended = desk.jetrun("extend", "last", "2h")
    assert ended.code == 0, ended.err
    assert until() != before
    longer = desk.truth(key)["metadata"]
    assert longer["jetrun_until"] > shown["jetrun_until"], "people see it in the web page"
    assert longer["jetrun_requests"] == shown["jetrun_requests"]
    switch = desk.cloud.folder / "instances" / key / "root" / "var" / "lib" / "jetrun" / "switch"
    deadline = int(
        next(line for line in switch.read_text().splitlines() if line.startswith("deadline=")).partition("=")[2]
    )
    eventually(lambda: f"deadline={deadline}" not in switch.read_text(), within_s=40)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert desk.is_down(key)
    late = desk.jetrun("extend", "last", "2h")
    assert late.code == 2
    assert "no lease" in late.err


def test_what_could_not_be_proven_is_sticky_until_verify_proves_it(desk: Desk) -> None:
    """119, then ps and every later run say so, then it heals."""
    key = desk.instance("vm-stuck")
    desk.cloud.add_fault("refuse-503", on="nova.shelve", times=-1)
    desk.cloud.add_fault("refuse-503", on="nova.stop", times=-1)
    ended = desk.run(desk.script("true\n"), on=key, within_s=200)
    assert ended.code == 119, ended.err
    assert not ended.document["receipt"]["verified"]
    assert "jetrun verify" in ended.document["error"]["next"]
    assert "SU/h" in ended.document["error"]["state"]
    assert "NOT VERIFIED" in desk.jetrun("ps").out
    desk.cloud.clear_faults()
    other = desk.run(desk.script("true\n"), on=desk.instance("vm-other"))
    assert other.code == 0, other.err
    assert "NOT VERIFIED DOWN" in other.err
    run = ended.document["run_id"]
    healed = desk.jetrun("verify", run, "--json")
    assert healed.code == 0, healed.err
    assert desk.is_down(key)
    assert "NOT VERIFIED" not in desk.jetrun("ps").out


def test_collect_fetches_what_did_not_come(desk: Desk) -> None:
    """The output folder could not be written; the disk keeps the results, and collect brings them."""
    key = desk.instance("vm-collect")
    (desk.folder / "taken").mkdir()
    script = desk.script("mkdir -p r; echo precious > r/x; sleep 2\n")
    process = desk.start("run", str(script), "--on", key, "-o", "r", "--output-dir", "taken/out", "--json")
    eventually(lambda: desk.truth(key)["status"] == "ACTIVE", within_s=30)
    (desk.folder / "taken" / "out").write_text("a file where the folder should be")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 121, err.decode()
    assert desk.is_down(key)
    assert "jetrun collect" in json.loads(out)["error"]["next"]
    (desk.folder / "taken" / "out").unlink()
    again = desk.jetrun("collect", "last")
    assert again.code == 0, again.err
    assert (desk.folder / "taken" / "out" / "r" / "x").read_text() == "precious\n"
    assert desk.is_down(key)


def test_collect_of_a_run_whose_scripts_end_nobody_saw_says_what_it_did(desk: Desk) -> None:
    """The driver was killed, the instance stopped meanwhile: its outputs are on its disk, and come; how it ended nobody knows."""
    key = desk.instance("vm-unseen")
    process = running(desk, key)
    process.kill()
    process.communicate()
    desk.cloud.do("act", user="ada", instance=key, action="stop")
    eventually(lambda: desk.truth(key)["status"] == "SHUTOFF")
    ended = desk.jetrun("continue", "last", "--json")
    assert ended.document["receipt"]["verified"], ended.err
    assert ended.document["outputs"] == []
    again = desk.jetrun("collect", "last")
    assert again.code == 0, again.err + again.out
    shown = desk.jetrun("show", "last", "--json").document
    assert shown["outcome"] == "collected"
    assert [one["path"] for one in shown["outputs"]] == ["r/n"]
    assert desk.is_down(key)


def test_reap_ends_an_expired_lease_from_another_machine(desk: Desk, tmp_path: Path) -> None:
    """A fresh home and only the credential; a person's instance is left alone."""
    key = desk.instance("vm-expired")
    process = running(desk, key)
    process.kill()
    process.communicate()
    elsewhere = Desk(cloud=desk.cloud, folder=tmp_path / "elsewhere")
    assert "no expired lease" in elsewhere.jetrun("reap").out
    assert not desk.is_down(key)
    desk.cloud.do("skew", seconds=13 * 3600)
    try:
        shown = elsewhere.jetrun("reap", "--dry-run")
        assert "would end" in shown.out, shown.err
        assert not desk.is_down(key)
        ended = elsewhere.jetrun("reap")
    finally:
        desk.cloud.do("skew", seconds=0)
    assert ended.code == 0, ended.err
    assert "verified down" in ended.out
    assert desk.is_down(key)
    port = next(row for row in desk.cloud.truth()["ports"] if row["device_id"] == key)
    assert port["description"] == ""


def test_reap_leaves_alone_what_a_person_started_after_the_run(desk: Desk, tmp_path: Path) -> None:
    """Invariant 5."""
    key = desk.instance("vm-persons")
    process = running(desk, key)
    process.kill()
    process.communicate()
    for action, status in (("stop", "SHUTOFF"), ("start", "ACTIVE")):
        desk.cloud.do("act", user="ada", instance=key, action=action)
        eventually(lambda wanted=status: desk.truth(key)["status"] == wanted)
    elsewhere = Desk(cloud=desk.cloud, folder=tmp_path / "elsewhere")
    desk.cloud.do("skew", seconds=13 * 3600)
    try:
        ended = elsewhere.jetrun("reap")
    finally:
        desk.cloud.do("skew", seconds=0)
    assert "left alone" in ended.out, ended.err
    assert desk.truth(key)["really_on"]
    desk.cloud.do("delete", user="ada", instance=key)


def test_verify_of_an_instance_reads_twice_and_changes_nothing(desk: Desk) -> None:
    """0 where it costs nothing, 119 where it does."""
    key = desk.instance("vm-looked-at")
    assert desk.jetrun("verify", key).code == 0
    desk.cloud.do("act", user="ada", instance=key, action="unshelve")
    eventually(lambda: desk.truth(key)["status"] == "ACTIVE")
    before = desk.truth(key)["actions"]
    ended = desk.jetrun("verify", "vm-looked-at")
    assert ended.code == 119
    assert "NOT DOWN" in ended.out
    assert "2 SU/h" in ended.out
    assert desk.truth(key)["actions"] == before
    desk.cloud.do("delete", user="ada", instance=key)


def test_a_mail_that_could_not_be_sent_goes_out_with_a_later_run(desk: Desk) -> None:
    """It waits in the outbox; the code of its own run is not changed by it."""
    desk.cloud.add_fault("mail-disconnects", times=-1)
    ended = desk.run(desk.script("true\n"), "--email", "ada@uni.edu", on=desk.instance("vm-unmailed"))
    assert ended.code == 0, ended.err
    assert ended.document["mail"]["state"] == "queued"
    desk.cloud.clear_faults()
    before = len(list(desk.cloud.mail_folder.glob("*.eml")))
    with closing(sqlite3.connect(desk.folder / "home" / "journal.sqlite")) as database:
        database.execute("UPDATE outbox SET next_at = '2026-01-01T00:00:00+00:00'")
        database.commit()
    assert desk.run(desk.script("true\n"), on=desk.instance("vm-later")).code == 0
    assert len(list(desk.cloud.mail_folder.glob("*.eml"))) == before + 1
    assert json.loads(desk.jetrun("show", ended.document["run_id"], "--json").out)["mail"]["state"] == "sent"


def test_init_doctor_and_the_first_run_are_enough_for_a_newcomer(desk: Desk) -> None:
    """From nothing to a receipt by what each command says to type next."""
    key = desk.instance("vm-first")
    said = desk.jetrun("init", "--on", key)
    assert said.code == 0
    assert f"jetrun doctor {key}" in said.out
    assert desk.jetrun("init", "--on", key).out.count("is there already") == 2
    found = json.loads(desk.jetrun("doctor", key, "--mail", "--json").out)
    assert {row["level"] for row in found} == {"green", "amber"}, found
    assert any("mail server" in row["what"] and row["level"] == "green" for row in found)
    assert desk.jetrun("run", "job.toml", "--json").code == 0
    assert desk.is_down(key)


def test_doctor_is_red_where_a_run_would_fail(desk: Desk) -> None:
    """A mail server that is not there, a locked instance, an unknown one."""
    key = desk.instance("vm-ill")
    desk.cloud.do("lock", user="ada", instance=key)
    config = desk.folder / "config.toml"
    config.write_text(config.read_text().replace(f"port = {desk.cloud.mail_port}", "port = 9"))
    ended = desk.jetrun("doctor", key, "--mail")
    assert ended.code == 1
    assert "locked" in ended.out
    assert ended.out.count("RED") >= 2
    assert desk.jetrun("doctor", "no-such").code == 1


def test_schedule_shows_units_that_systemd_understands(desk: Desk) -> None:
    """Shown first; nothing is written."""
    (desk.folder / "job.toml").write_text('command = ["true"]\n[instance]\non = "my-instance"\n')
    ended = desk.jetrun("schedule", "job.toml", "--on-calendar", "Mon 06:00")
    assert ended.code == 0
    assert "OnCalendar=Mon 06:00" in ended.out
    assert f'run "{desk.folder}/job.toml"' in ended.out
    assert 'Environment="OS_CLOUD=devcloud"' in ended.out
    assert "0 6 * * 1" in ended.out
    assert not (desk.folder / ".config").exists()


def test_a_closed_stdout_does_not_end_a_run(desk: Desk) -> None:
    """``jetrun run ... | head -1``: the instance still comes down."""
    key = desk.instance("vm-pipe")
    reading, writing = os.pipe()
    process = desk.start("run", str(desk.script("echo a; sleep 1; echo b\n")), "--on", key, stdout=writing)
    os.close(writing)
    os.close(reading)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert desk.is_down(key)
