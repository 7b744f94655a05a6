"""Self-shelve on the embedded cloud: a real credential of its Keystone, the real program on the instance, real HTTP between them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcloud_subject import connection, eventually
from runs import Desk

from jetrun.devcloud.client import Running

pytestmark = pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning")

JOB = """
script = "job.sh"
inputs = ["in"]
timeout = "3s"
grace = "1s"
[instance]
on = "{on}"
max_lifetime = "{lifetime}"
self_shelve = {wish}
[budget]
boot = "1s"
stage_in = "1s"
stage_out = "1s"
shutdown = "1s"
"""


@pytest.fixture
def keystone(cloud: Running) -> Iterator[Any]:
    with connection(cloud) as opened:
        yield opened.identity


def clouds(desk: Desk, **more: Any) -> None:
    """A clouds.yaml of this desk's own: the switch looks every second; more entries beside it."""
    entry = yaml.safe_load(desk.cloud.clouds.read_text())["clouds"]["devcloud"]
    entry["jetrun"] = {"profile": "devcloud", **(entry.get("jetrun") or {})}
    entry["jetrun"]["bounds"] = {**entry["jetrun"].get("bounds", {}), "switch_tick_s": 1}
    path = desk.folder / "clouds.yaml"
    path.write_text(yaml.safe_dump({"clouds": {"devcloud": entry, **more}}))
    desk.extra["OS_CLIENT_CONFIG_FILE"] = str(path)


def job(desk: Desk, on: str, wish: str = "true", *, script: str = "sleep 60\n", lifetime: str = "9s") -> str:
    (desk.folder / "in").write_text("x")
    desk.script(script)
    (desk.folder / "job.toml").write_text(JOB.format(on=on, lifetime=lifetime, wish=wish))
    return "job.toml"


def mine(keystone: Any) -> tuple[list[str], list[str]]:
    """Names of the credentials of jetrun's making, and the paths of all access rules."""
    user = keystone.session.auth.get_user_id(keystone.session)
    made = [one.name for one in keystone.application_credentials(user) if one.name.startswith("jetrun-")]
    return made, [one.path for one in keystone.access_rules(user)]


def events(desk: Desk) -> list[dict[str, Any]]:
    (path,) = (desk.folder / "home/runs").glob("*/run.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def has_seen(desk: Desk, name: str) -> bool:
    return any((desk.folder / "home/runs").glob("*/run.jsonl")) and any(one["event"] == name for one in events(desk))


def killed_while_its_script_runs(desk: Desk, path: str) -> None:
    """The driver's machine is gone, as far as the instance can tell."""
    with desk.start("run", path, "--json") as process:
        eventually(lambda: has_seen(desk, "script.started"), within_s=30)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


def guest(desk: Desk, instance: str) -> Path:
    return desk.cloud.folder / "instances" / instance / "root" / "var/lib/jetrun"


def test_a_forgotten_instance_shelves_itself_and_continue_ends_verified(desk: Desk, keystone: Any) -> None:
    """With the driver gone for good the instance ends free of charge, not at half price."""
    clouds(desk)
    key = desk.instance("vm-forgotten")
    killed_while_its_script_runs(desk, job(desk, key))
    made, rules = mine(keystone)
    assert len(made) == 1
    assert {path.rpartition("/servers/")[2] for path in rules} == {key, f"{key}/action"}
    eventually(lambda: desk.truth(key)["vm_state"] == "shelved_offloaded", within_s=30)
    assert desk.is_down(key)
    assert desk.truth(key)["actions"][-1]["action"] == "shelve"
    ended = desk.jetrun("continue", "last", "--json")
    receipt = ended.document["receipt"]
    assert receipt["verified"], ended.err
    assert receipt["status"] == "SHELVED_OFFLOADED"
    assert mine(keystone) == ([], []), "the credential and its rules go with the run"


def test_a_run_that_ends_by_itself_takes_its_credential_with_it(desk: Desk, keystone: Any) -> None:
    clouds(desk)
    key = desk.instance("vm-tidy")
    ended = desk.jetrun("run", job(desk, key, script="exit 0\n", lifetime="60s"), "--json")
    assert ended.code == 0, ended.err
    armed = next(one for one in events(desk) if one["event"] == "self_shelve.armed")
    assert "deleting it included" in armed["risk"]
    assert mine(keystone) == ([], [])


def test_the_secret_is_nowhere_but_in_roots_file(desk: Desk) -> None:
    """Invariant 9, looked for in every file of this desk, in the cloud's metadata and in what was printed."""
    clouds(desk)
    key = desk.instance("vm-secret")
    path = job(desk, key, lifetime="60s")
    with desk.start("run", path, "--json") as process:
        eventually(lambda: has_seen(desk, "script.started"), within_s=30)
        file = guest(desk, key) / "shelve.json"
        secret = json.loads(file.read_text())["secret"]
        assert file.stat().st_mode & 0o777 == 0o600
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err.decode()
    assert secret.encode() not in out + err
    for one in (one for one in desk.folder.rglob("*") if one.is_file()):
        assert secret.encode() not in one.read_bytes(), one
    with sqlite3.connect(desk.folder / "home" / "journal.sqlite") as journal:
        assert secret not in "\n".join(journal.iterdump())
    journal.close()
    assert secret not in json.dumps(desk.cloud.truth())


def test_a_cloud_that_refuses_the_instance_leaves_the_power_off(desk: Desk, keystone: Any) -> None:
    """The credential is gone when the switch fires: the power goes all the same."""
    clouds(desk)
    key = desk.instance("vm-refused")
    killed_while_its_script_runs(desk, job(desk, key))
    user = keystone.session.auth.get_user_id(keystone.session)
    for one in list(keystone.application_credentials(user)):
        if one.name.startswith("jetrun-"):
            keystone.delete_application_credential(user, one)
    eventually(lambda: not desk.truth(key)["really_on"], within_s=40)
    assert "the login answered 404" in (guest(desk, key) / "switch").read_text()
    ended = desk.jetrun("continue", "last", "--json")
    assert ended.document["receipt"]["verified"], ended.err
    assert mine(keystone) == ([], [])


def restricted(keystone: Any, name: str, rules: list[dict[str, str]] | None) -> dict[str, Any]:
    """An entry of clouds.yaml with an application credential that cannot make others."""
    user = keystone.session.auth.get_user_id(keystone.session)
    more = {"access_rules": rules} if rules else {}
    made = keystone.create_application_credential(user, name, **more)
    auth = {
        "auth_url": keystone.session.auth.auth_url,
        "application_credential_id": made.id,
        "application_credential_secret": made.secret,
    }
    return {"auth_type": "v3applicationcredential", "auth": auth, "region_name": "RegionOne"}


def rules_at(root: str, instance: str) -> list[dict[str, str]]:
    server = f"{root}/servers/{instance}"
    return [
        {"service": "compute", "method": "POST", "path": f"{server}/action"},
        {"service": "compute", "method": "GET", "path": server},
    ]


def test_what_the_cloud_does_not_take_from_the_instance_is_told_when_the_run_begins(desk: Desk, keystone: Any) -> None:
    """The service sees less of the path than the URL has: only a try from the instance itself can tell."""
    key = desk.instance("vm-prefixed")
    clouds(desk, mine=restricted(keystone, "prefixed", rules_at("/compute/v2.1", key)))
    ended = desk.jetrun("run", job(desk, key, '"mine"', script="exit 0\n", lifetime="60s"), "--json")
    assert ended.code == 0, ended.err
    (told,) = [one for one in events(desk) if one["event"] == "self_shelve.unavailable"]
    assert told["what"] == "reading the instance answered 401"
    assert "powers the instance off instead" in told["instead"]
    assert not has_seen(desk, "self_shelve.armed")


def test_a_login_that_cannot_make_one_is_refused_before_anything_is_spent(desk: Desk, keystone: Any) -> None:
    clouds(desk, narrow=restricted(keystone, "narrow", None) | {"jetrun": {"profile": "devcloud"}})
    key = desk.instance("vm-narrow")
    before = desk.truth(key)["actions"]
    ended = desk.jetrun("run", job(desk, key), "--json", "--os-cloud", "narrow")
    assert ended.code == 2, ended.err
    assert ended.document["error"]["code"] == "self-shelve-cannot-be-made"
    assert "0007-self-shelve" in ended.document["error"]["next"]
    assert desk.truth(key)["actions"] == before


@pytest.mark.parametrize("rules", ["none", "of another instance", "of the image service too"])
def test_a_credential_that_does_not_fit_is_refused_before_anything_is_spent(
    desk: Desk, keystone: Any, rules: str
) -> None:
    """One without rules would hand the whole project to whoever gets into the instance."""
    key = desk.instance(f"vm-unfit-{rules.rsplit(maxsplit=1)[-1]}")
    path = {
        "none": None,
        "of another instance": "/v2.1/servers/0/action",
        "of the image service too": f"/v2.1/servers/{key}/action",
    }[rules]
    wanted = [{"service": "compute", "method": "POST", "path": path}] if path else None
    if wanted and rules.startswith("of the image"):
        wanted.append({"service": "image", "method": "GET", "path": "/v2/images"})
    clouds(desk, own=restricted(keystone, f"unfit {rules}", wanted))
    before = desk.truth(key)["actions"]
    ended = desk.jetrun("run", job(desk, key, '"own"'), "--json")
    assert ended.code == 2, ended.err
    assert ended.document["error"]["code"] == "self-shelve-unfit"
    assert desk.truth(key)["actions"] == before


def test_a_credential_of_ones_own_shelves_it_and_stays(desk: Desk, keystone: Any) -> None:
    key = desk.instance("vm-own")
    clouds(desk, mine=restricted(keystone, "for vm-own", rules_at("/v2.1", key)))
    killed_while_its_script_runs(desk, job(desk, key, '"mine"'))
    assert has_seen(desk, "self_shelve.armed"), events(desk)
    eventually(lambda: desk.truth(key)["vm_state"] == "shelved_offloaded", within_s=30)
    ended = desk.jetrun("continue", "last", "--json")
    assert ended.document["receipt"]["verified"], ended.err
    user = keystone.session.auth.get_user_id(keystone.session)
    assert "for vm-own" in [one.name for one in keystone.application_credentials(user)]
