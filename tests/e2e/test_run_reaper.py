"""The reaper as a colleague's machine runs it: nothing but the credential, several instances, people among them, mails."""

from __future__ import annotations

import email
import email.policy
import json
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from devcloud_subject import connection, eventually
from runs import Desk
from test_run_guardian import bounds, events, guardians, has_seen

from jetrun.devcloud.client import Running

pytestmark = pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning")

SHORT = """
script = "job.sh"
timeout = "{timeout}"
grace = "1s"
{more}
[instance]
on = "{on}"
max_lifetime = "{lifetime}"
[budget]
boot = "1s"
stage_in = "1s"
stage_out = "1s"
shutdown = "1s"
"""


def elsewhere(desk: Desk, name: str = "elsewhere", *, to: str = "") -> Desk:
    """Another machine: a home of its own, no journal, the credential."""
    other = Desk(cloud=desk.cloud, folder=desk.folder / name)
    if to:
        with (other.folder / "config.toml").open("a") as file:
            file.write(f'email.to = ["{to}"]\n')
    return other


def mails(desk: Desk, to: str) -> list[str]:
    """Subjects of the mails that reached that address, oldest first."""
    found = []
    for path in sorted(desk.cloud.mail_folder.glob("*.eml"), key=lambda one: one.stat().st_mtime):
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        if to in str(message["To"]):
            found.append(str(message["Subject"]))
    return found


def job(desk: Desk, on: str, *, lifetime: str = "8s", timeout: str = "2s", more: str = "") -> str:
    desk.script("echo begun; sleep 60\n")
    (desk.folder / "job.toml").write_text(SHORT.format(on=on, lifetime=lifetime, timeout=timeout, more=more))
    return "job.toml"


def forsaken(desk: Desk, key: str, **more: str) -> None:
    """A run whose driver and guardian are killed while its script runs."""
    with desk.start("run", job(desk, key, **more)) as process:
        eventually(lambda: has_seen(desk, "script.started"), within_s=30)
        for pid in (*guardians(desk), process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def described(desk: Desk, port: str, text: str) -> None:
    """Somebody writes over a port's description."""
    with connection(desk.cloud) as opened:
        opened.network.update_port(port, description=text)


def lease_of(desk: Desk, key: str) -> str:
    """What the port of an instance says."""
    return str(next(row for row in desk.cloud.truth()["ports"] if row["device_id"] == key)["description"])


def swept(desk: Desk, *words: str, hours: float = 13, code: int = 0) -> list[dict[str, Any]]:
    """One sweep, so many hours later."""
    desk.cloud.do("skew", seconds=hours * 3600)
    try:
        ended = desk.jetrun("reap", "--json", *words)
    finally:
        desk.cloud.do("skew", seconds=0)
    assert ended.code == code, ended.err + ended.out
    return json.loads(ended.out)


def test_with_the_network_cut_and_everything_killed_the_switch_powers_off_and_a_reaper_elsewhere_shelves_and_mails(
    cloud: Running, tmp_path: Path
) -> None:
    """C4, with the switch looking every second instead of every minute."""
    desk = Desk(cloud=cloud, folder=tmp_path, guarded=True)
    bounds(desk, switch_tick_s=1)
    key = desk.instance("vm-forsaken")
    with desk.start("run", job(desk, key, lifetime="12s")) as process:
        eventually(lambda: has_seen(desk, "script.started"), within_s=30)
        (granted,) = [one for one in events(desk) if one["event"] == "lease.granted"]
        for service in ("nova.*", "neutron.*", "keystone.*"):
            cloud.add_fault("close", on=service, times=-1)
        time.sleep(0.5)
        for pid in (*guardians(desk), process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()
    until_at = datetime.fromisoformat(granted["until_at"])
    eventually(lambda: not desk.truth(key)["really_on"], within_s=60)
    late_s = (datetime.now(UTC) - until_at).total_seconds()
    assert abs(late_s) < 30
    cloud.clear_faults()
    eventually(lambda: desk.truth(key)["vm_state"] == "stopped", within_s=30)

    to = "c4@uni.edu"
    reaper = elsewhere(desk, to=to)
    eventually(lambda: json.loads(reaper.jetrun("reap", "--json").out), within_s=30)
    assert desk.truth(key)["vm_state"] == "shelved_offloaded"
    assert desk.is_down(key)
    (subject,) = mails(desk, to)
    assert "vm-forsaken is proven down" in subject
    assert json.loads(reaper.jetrun("reap", "--json").out) == []
    assert mails(desk, to) == [subject]


def test_what_a_person_started_is_never_touched_and_the_owner_is_told_once(desk: Desk) -> None:
    key = desk.instance("vm-theirs")
    forsaken(desk, key, lifetime="2h", timeout="1m")
    for action, status in (("stop", "SHUTOFF"), ("start", "ACTIVE")):
        desk.cloud.do("act", user="ada", instance=key, action=action)
        eventually(lambda wanted=status: desk.truth(key)["status"] == wanted)
    before = desk.truth(key)["actions"]
    to = "theirs@uni.edu"
    reaper = elsewhere(desk, to=to)
    (row,) = swept(reaper)
    assert row["fate"] == "theirs"
    assert row["receipt"] is None
    for _ in range(9):
        assert swept(reaper) == []
    assert swept(elsewhere(desk, "third", to=to)) == []
    assert desk.truth(key)["really_on"]
    assert desk.truth(key)["actions"] == before
    (subject,) = mails(desk, to)
    assert subject.startswith("vm-theirs was started by somebody after run ")
    desk.cloud.do("delete", user="ada", instance=key)


def test_one_that_cannot_be_ended_keeps_no_other_up_and_is_told_of_once_and_again_when_it_is_over(desk: Desk) -> None:
    desks = [Desk(cloud=desk.cloud, folder=desk.folder / name) for name in ("one", "two")]
    keys = [one.instance(f"vm-{number}") for number, one in enumerate(desks)]
    for one, key in zip(desks, keys, strict=True):
        forsaken(one, key, lifetime="2h", timeout="1m")
    desk.cloud.do("lock", instance=keys[0], user="admin")
    to = "locked@uni.edu"
    reaper = elsewhere(desk, to=to)
    bounds(reaper, foreign_task_s=2, unreachable_s=2)
    rows = {row["instance"]: row for row in swept(reaper, code=119)}
    assert rows[keys[0]]["fate"] == "unproven"
    assert rows[keys[0]]["receipt"]["reason"] == "locked"
    assert rows[keys[1]]["fate"] == "ended"
    assert desk.is_down(keys[1])
    assert len(swept(reaper, code=119)) == 1
    assert [one for one in mails(desk, to) if "ALARM" in one] == [
        f"ALARM: vm-0 NOT VERIFIED DOWN (run {rows[keys[0]]['run']})"
    ]
    desk.cloud.do("unlock", instance=keys[0])
    (row,) = swept(reaper)
    assert row["fate"] == "ended"
    assert desk.is_down(keys[0])
    assert mails(desk, to)[-1].startswith("all clear: vm-0")
    assert len(mails(desk, to)) == 3


def test_only_ones_own_leases_unless_all_owners_are_meant(desk: Desk) -> None:
    key = desk.instance("vm-colleagues")
    forsaken(desk, key, lifetime="2h", timeout="1m")
    port = next(row for row in desk.cloud.truth()["ports"] if row["device_id"] == key)
    user = port["description"].split("user=")[1].split()[0]
    described(desk, port["id"], port["description"].replace(f"user={user}", "user=somebody"))
    reaper = elsewhere(desk)
    assert swept(reaper) == []
    assert not desk.is_down(key)
    (row,) = swept(reaper, "--all-owners", "--dry-run")
    assert row["fate"] == "would"
    assert not desk.is_down(key)
    (row,) = swept(reaper, "--all-owners")
    assert row["fate"] == "ended"
    assert desk.is_down(key)


def test_an_empty_list_is_an_error_where_the_journal_knows_better(desk: Desk) -> None:
    """A lease that somebody wiped away: the machine that made the run says so instead of that all is well."""
    key = desk.instance("vm-wiped")
    forsaken(desk, key, lifetime="2h", timeout="1m")
    port = next(row for row in desk.cloud.truth()["ports"] if row["device_id"] == key)
    described(desk, port["id"], "")
    assert swept(elsewhere(desk)) == []
    (row,) = swept(desk, code=119)
    assert row["fate"] == "missing"
    assert "another project's credential, or deleted?" in row["verdict"]
    ended = desk.jetrun("continue", "last", "--json")
    assert desk.is_down(key), ended.err
    assert swept(desk) == []


def test_it_goes_on_as_a_service_over_a_cloud_that_is_away(desk: Desk) -> None:
    key = desk.instance("vm-service")
    forsaken(desk, key, lifetime="8s")
    for service in ("nova.*", "neutron.*"):
        desk.cloud.add_fault("refuse-503", on=service, times=6)
    with elsewhere(desk).start("reap", "--watch", "--every", "1s") as process:
        eventually(lambda: desk.is_down(key), within_s=60)
        eventually(lambda: lease_of(desk, key) == "", within_s=20)
        time.sleep(0.5)
        process.terminate()
        out, err = process.communicate(timeout=20)
    assert b"verified down: SHELVED_OFFLOADED" in out, err


def test_doctor_says_when_it_last_swept_and_install_shows_what_it_would_write(desk: Desk) -> None:
    assert "no reaper has swept from here" in desk.jetrun("doctor").out
    desk.jetrun("reap")
    assert "jetrun reap last swept cloud devcloud from here" in desk.jetrun("doctor").out
    shown = desk.jetrun("reap", "install", "--every", "30m", "--email", "ada@uni.edu", "--cron")
    assert shown.code == 0, shown.err
    line = next(one for one in shown.out.splitlines() if one.startswith("*/30 * * * *"))
    assert line.endswith("-m jetrun reap --os-cloud devcloud --email ada@uni.edu # jetrun reap devcloud")
    assert f"JETRUN_HOME={desk.folder}/home" in line
    assert "--yes" in shown.out
    assert desk.jetrun("reap", "install", "--every", "17m", "--cron").code == 2


@pytest.mark.parametrize(
    "had", ["", "*/5 * * * * old # jetrun reap devcloud\n7 * * * * other # jetrun reap js2\n5 4 * * * true"]
)
def test_install_writes_the_crontab_and_replaces_its_own_line_only(desk: Desk, had: str) -> None:
    tool = desk.folder / "bin/crontab"
    tool.parent.mkdir()
    kept = desk.folder / "crontab"
    if had:
        kept.write_text(had)
    tool.write_text(
        f'#!/bin/sh\n[ "$1" = -l ] && {{ cat {kept} 2>/dev/null || {{ echo no crontab for ada >&2; exit 1; }}; exit; }}\ncat > {kept}\n'
    )
    tool.chmod(0o755)
    desk.extra["PATH"] = f"{tool.parent}:{os.environ['PATH']}"
    ended = desk.jetrun("reap", "install", "--cron", "--yes")
    assert ended.code == 0, ended.err
    lines = kept.read_text().splitlines()
    assert lines[:-1] == [one for one in had.splitlines() if "devcloud" not in one]
    assert lines[-1].startswith("*/15 * * * * ")
    assert lines[-1].endswith("reap --os-cloud devcloud # jetrun reap devcloud")


def test_install_writes_a_user_timer_where_there_is_a_systemd(desk: Desk) -> None:
    private = desk.folder / "run/systemd/private"
    private.parent.mkdir(parents=True)
    private.touch()
    said = desk.folder / "said"
    tool = desk.folder / "bin/systemctl"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    tool.chmod(0o755)
    desk.extra |= {"PATH": f"{tool.parent}:{os.environ['PATH']}", "XDG_RUNTIME_DIR": str(desk.folder / "run")}
    shown = desk.jetrun("reap", "install", "--every", "20m")
    assert not said.exists()
    ended = desk.jetrun("reap", "install", "--every", "20m", "--yes")
    assert ended.code == 0, ended.err
    assert ended.out.startswith(shown.out.partition("\n# nothing is written yet")[0])
    units = desk.folder / ".config/systemd/user"
    assert "OnUnitActiveSec=1200s" in (units / "jetrun-reap-devcloud.timer").read_text()
    assert "-m jetrun reap --os-cloud devcloud" in (units / "jetrun-reap-devcloud.service").read_text()
    assert said.read_text().splitlines() == ["--user daemon-reload", "--user enable --now jetrun-reap-devcloud.timer"]
