"""A whole run with an openrc file as the cloud's web page writes it, and what comes after it: ps, verify, continue."""

from __future__ import annotations

import json
import os
import pty
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from devcloud_subject import connection, eventually
from runs import Desk

from jetrun.devcloud.client import Running

PASSWORD_RC = """#!/usr/bin/env bash
export OS_AUTH_URL={auth_url}
export OS_PROJECT_NAME="lab"
export OS_USER_DOMAIN_NAME="Default"
if [ -z "$OS_USER_DOMAIN_NAME" ]; then unset OS_USER_DOMAIN_NAME; fi
export OS_PROJECT_DOMAIN_NAME="Default"
unset OS_TENANT_ID
unset OS_TENANT_NAME
export OS_USERNAME="ada"
echo "Please enter your OpenStack Password for project $OS_PROJECT_NAME as user $OS_USERNAME: "
read -sr OS_PASSWORD_INPUT
export OS_PASSWORD=$OS_PASSWORD_INPUT
export OS_REGION_NAME="RegionOne"
if [ -z "$OS_REGION_NAME" ]; then unset OS_REGION_NAME; fi
export OS_INTERFACE=public
export OS_IDENTITY_API_VERSION=3
"""

CREDENTIAL_RC = """#!/usr/bin/env bash
export OS_AUTH_TYPE=v3applicationcredential
export OS_AUTH_URL={auth_url}
export OS_IDENTITY_API_VERSION=3
export OS_REGION_NAME="RegionOne"
export OS_INTERFACE=public
export OS_APPLICATION_CREDENTIAL_ID={id}
export OS_APPLICATION_CREDENTIAL_SECRET={secret}
"""

JOB = """
script = "job.sh"
[instance]
on = "{on}"
[ssh]
user = "researcher"
port = 2222
keys = ["{key}"]
"""


@pytest.fixture
def desk(cloud: Running, tmp_path: Path) -> Desk:
    """No clouds.yaml at all; the variables of another cloud's openrc lie about."""
    none = tmp_path / "none.yaml"
    none.write_text("clouds: {}\n")
    stray = {"OS_CLOUD": "", "OS_PROJECT_NAME": "elsewhere", "OS_USERNAME": "eve"}
    return Desk(cloud=cloud, folder=tmp_path, extra={"OS_CLIENT_CONFIG_FILE": str(none), **stray})


def entry(cloud: Running) -> dict[str, dict[str, str]]:
    return dict(yaml.safe_load(cloud.clouds.read_text())["clouds"]["devcloud"])


def job(desk: Desk, on: str, script: str) -> str:
    desk.script(script)
    (desk.folder / "job.toml").write_text(JOB.format(on=on, key=entry(desk.cloud)["jetrun"]["ssh_key"]))
    return "job.toml"


def credential_rc(desk: Desk) -> Path:
    auth_url = entry(desk.cloud)["auth"]["auth_url"]
    with connection(desk.cloud) as opened:
        made = opened.identity.create_application_credential(opened.current_user_id, name=f"rc-{desk.folder.name}")
    path = desk.folder / "my openrc.sh"
    path.write_text(CREDENTIAL_RC.format(auth_url=auth_url, id=made.id, secret=made.secret))
    return path


def typed(desk: Desk, words: list[str], password: str) -> tuple[int, str]:
    """A command at a terminal, where *password* is typed once it is asked for: its exit code, and all that was shown."""
    ours, theirs = pty.openpty()
    with desk.start(*words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        shown, answered = b"", False
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
            if not answered and b"password of ada for lab" in shown:
                answered = True
                os.write(ours, f"{password}\n".encode())
        process.wait(60)
    os.close(ours)
    return int(process.returncode), shown.decode(errors="replace")


def everything_kept(desk: Desk) -> bytes:
    """All that a run leaves on the disk of its user."""
    return b"".join(path.read_bytes() for path in (desk.folder / "home").rglob("*") if path.is_file())


@pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning")
def test_a_run_with_an_application_credentials_openrc_ends_verified_and_so_does_what_comes_later(desk: Desk) -> None:
    """The file's name has a space; what is to be pasted is right all the same, and nothing of its secret is kept."""
    key = desk.instance("vm-credential-rc")
    path = credential_rc(desk)
    secret = path.read_text().rpartition("=")[2].strip()
    ended = desk.jetrun("run", job(desk, key, "true\n"), "--openrc", str(path), "--json")
    assert ended.code == 0, ended.err
    assert ended.document["receipt"]["verified"]
    assert "OS_PROJECT_NAME, OS_USERNAME count for nothing" in ended.err.replace("OS_CLOUD, ", "")
    assert desk.is_down(key)
    looked = desk.jetrun("verify", "last")
    assert looked.code == 0, looked.err
    assert "vm-credential-rc" in desk.jetrun("ps", "--all").out + desk.jetrun("ps").out
    assert secret.encode() not in everything_kept(desk)


@pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning")
def test_a_killed_run_with_an_openrc_is_continued_with_the_same_file(desk: Desk) -> None:
    """Its path is in the journal, its secret is not."""
    key = desk.instance("vm-killed-rc")
    with desk.start("run", job(desk, key, "sleep 60\n"), "--openrc", str(credential_rc(desk)), "--json") as process:
        logs = desk.folder / "home/runs"
        eventually(lambda: any("script.started" in one.read_text() for one in logs.glob("*/run.jsonl")), within_s=30)
        process.kill()
        process.communicate()
    desk.cloud.do("act", user="ada", instance=key, action="stop")
    ended = desk.jetrun("continue", "last", "--json")
    assert ended.document["receipt"]["verified"], ended.err
    assert desk.is_down(key)


def test_a_password_is_asked_once_at_the_terminal_and_kept_nowhere(desk: Desk) -> None:
    key = desk.instance("vm-password-rc")
    path = desk.folder / "openrc.sh"
    path.write_text(PASSWORD_RC.format(auth_url=entry(desk.cloud)["auth"]["auth_url"]))
    password = entry(desk.cloud)["auth"]["password"]
    code, shown = typed(desk, ["run", job(desk, key, "true\n"), "--openrc", str(path)], password)
    assert code == 0, shown
    assert shown.count("password of ada for lab") == 1
    assert password not in shown
    assert "PROVEN DOWN" in shown
    assert password.encode() not in everything_kept(desk)
    assert desk.is_down(key)


def test_a_wrong_password_is_told_before_anything_is_touched(desk: Desk) -> None:
    key = desk.instance("vm-wrong-rc")
    path = desk.folder / "openrc.sh"
    path.write_text(PASSWORD_RC.format(auth_url=entry(desk.cloud)["auth"]["auth_url"]))
    code, shown = typed(desk, ["run", job(desk, key, "true\n"), "--openrc", str(path)], "no such word")
    assert code == 2, shown
    assert "no instance was touched" in shown
    assert len(desk.truth(key)["actions"]) == 2, "made and shelved"


def test_without_a_terminal_nobody_is_asked_and_it_is_said_what_to_use(desk: Desk) -> None:
    path = desk.folder / "openrc.sh"
    path.write_text(PASSWORD_RC.format(auth_url=entry(desk.cloud)["auth"]["auth_url"]))
    ended = desk.jetrun("run", job(desk, "vm", "true\n"), "--openrc", str(path), "--json")
    assert ended.code == 2
    assert ended.document["error"]["code"] == "nobody-to-ask"
    assert "application credential" in ended.document["error"]["next"]


def test_a_password_that_was_typed_goes_to_the_guardian_and_nowhere_else(desk: Desk) -> None:
    """The driver is killed; whoever continues the run asks nobody."""
    guarded = Desk(cloud=desk.cloud, folder=desk.folder / "guarded", guarded=True, extra=desk.extra)
    key = guarded.instance("vm-typed-guarded")
    path = guarded.folder / "openrc.sh"
    path.write_text(PASSWORD_RC.format(auth_url=entry(desk.cloud)["auth"]["auth_url"]))
    password = entry(desk.cloud)["auth"]["password"]
    logs = guarded.folder / "home/runs"

    def has_seen(event: str) -> bool:
        return any(f'"{event}"' in one.read_text() for one in logs.glob("*/run.jsonl"))

    def kill_the_driver() -> None:
        eventually(lambda: has_seen("script.started"), within_s=40)
        (row,) = json.loads(guarded.jetrun("ps", "--json").out)
        assert password.encode() not in Path(f"/proc/{row['guardian']}/cmdline").read_bytes()
        assert password.encode() not in Path(f"/proc/{row['guardian']}/environ").read_bytes()
        os.kill(int(row["carried_by"].removeprefix("process ")), signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_the_driver)
        code, shown = typed(guarded, ["run", job(guarded, key, "sleep 2\n"), "--openrc", str(path)], password)
        killing.result()
    assert code == -signal.SIGKILL, shown
    eventually(lambda: has_seen("run.finished"), within_s=40)
    assert guarded.jetrun("show", "last", "--json").document["exit_code"] == 0
    assert guarded.is_down(key)
    assert password.encode() not in everything_kept(guarded)
