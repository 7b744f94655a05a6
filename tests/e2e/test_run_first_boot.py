"""A launched instance that nobody ever logs in to: cloud-init has armed the dead-man's switch, and it fires at the lease's deadline."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from devcloud_subject import embedded_cloud, eventually
from runs import Desk

JOB = """
script = "job.sh"
timeout = "3s"
grace = "1s"
[instance]
deadman = {deadman}
image = "devcloud-linux"
flavor = "m3.tiny"
max_lifetime = "9s"
[budget]
boot = "1s"
stage_in = "1s"
stage_out = "1s"
shutdown = "1s"
"""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with embedded_cloud() as running:
        hers = Desk(cloud=running, folder=tmp_path)
        entry = yaml.safe_load(running.clouds.read_text())["clouds"]["devcloud"]
        entry["jetrun"] = {"profile": "devcloud", **(entry.get("jetrun") or {})}
        entry["jetrun"]["bounds"] = {**entry["jetrun"].get("bounds", {}), "switch_tick_s": 1}
        path = tmp_path / "clouds.yaml"
        path.write_text(yaml.safe_dump({"clouds": {"devcloud": entry}}))
        hers.extra["OS_CLIENT_CONFIG_FILE"] = str(path)
        yield hers


def launched_and_killed(desk: Desk, deadman: str) -> str:
    """The driver dies while the new instance is still silent to it: the instance's id."""
    desk.cloud.add_fault("ssh-silent", times=-1)
    desk.script("sleep 60\n")
    (desk.folder / "job.toml").write_text(JOB.format(deadman=deadman))
    before = {one["id"] for one in desk.cloud.truth()["instances"]}
    with desk.start("run", "job.toml", "--json") as process:
        eventually(lambda: "instance.up" in log(desk), within_s=30)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert "instance.reached" not in log(desk)
    assert "lease.granted" in log(desk), "until when, said for a launch too"
    (made,) = {one["id"] for one in desk.cloud.truth()["instances"]} - before
    return str(made)


def log(desk: Desk) -> str:
    return "".join(path.read_text() for path in (desk.folder / "home/runs").glob("*/run.jsonl"))


@pytest.mark.invariant(1)
def test_an_instance_that_nobody_logged_in_to_goes_off_at_its_deadline(desk: Desk) -> None:
    made = launched_and_killed(desk, "true")
    eventually(lambda: not desk.truth(made)["really_on"], within_s=30)
    desk.cloud.clear_faults()
    ended = desk.jetrun("continue", "last", "--json")
    assert ended.document["receipt"]["verified"], ended.err
    assert desk.is_down(made)


def test_without_the_switch_cloud_init_is_given_nothing(desk: Desk) -> None:
    made = launched_and_killed(desk, "false")
    assert not (desk.cloud.folder / "instances" / made / "root" / "var/lib/jetrun").exists()
