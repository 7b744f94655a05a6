"""The dead-man's switch under a real systemd: over SSH and by cloud-init, through a reboot, and at its deadline with nobody left."""

from __future__ import annotations

import os
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import truth
from desk import Desk, Running, tells_the_truth
from lab import place
from machine import Machine

SHORT = """
script = "job.sh"
timeout = "20s"
grace = "1s"
[instance]
{where}
max_lifetime = "{lifetime}"
[budget]
boot = "90s"
stage_in = "10s"
stage_out = "10s"
shutdown = "30s"
"""


def short_job(desk: Desk, where: str, lifetime: str = "215s") -> str:
    path = desk.folder / "short.toml"
    path.write_text(SHORT.format(where=where, lifetime=lifetime))
    desk.script("sleep 600\n")
    return str(path)


def inside(host: str, command: str) -> str:
    """What a command prints, of somebody who logs in with the researcher's key; empty while nobody can, as during a reboot."""
    options = [
        "BatchMode=yes",
        "ConnectTimeout=5",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=2",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
    ]
    words = [word for option in options for word in ("-o", option)]
    try:
        return subprocess.run(
            ["ssh", "-i", str(place.STATE / "id_ed25519"), *words, f"debian@{host}", command],
            capture_output=True, text=True, check=False, timeout=30,
        ).stdout  # fmt: skip
    except subprocess.TimeoutExpired:
        return ""


def switch(host: str) -> dict[str, str]:
    """What the switch says of itself."""
    said = inside(host, "sudo sh /var/lib/jetrun/deadman.sh status")
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def host_of(desk: Desk) -> str:
    return str(next(one["host"] for one in desk.events() if one["event"] == "instance.reached"))


def kill(run: Running) -> None:
    """The driver's machine is gone, as far as the instance can tell."""
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()


def deadline(desk: Desk) -> datetime:
    return datetime.fromisoformat(next(one["until_at"] for one in desk.events() if one["event"] == "lease.granted"))


@pytest.fixture
def other_desk(desk: Desk, tmp_path: Path) -> Desk:
    return Desk(folder=tmp_path / "other", mailbox=desk.mailbox)


def test_the_switch_survives_a_reboot_and_fires_at_its_deadline_also_where_only_cloud_init_armed_it(
    desk: Desk, other_desk: Desk, machine: Machine, lab: Any
) -> None:
    """Two instances, because each lives for minutes: a launch that nobody ever logs in to, and a woken one."""
    machine.be_down()
    where = 'image = "lab-debian"\nflavor = "m1.small"\nnetwork = "lab-net"\nfloating_ip = "no"\nsecurity_groups = ["lab-ssh"]'
    launch = other_desk.start("run", short_job(other_desk, where), "--json")
    truth.eventually(lambda: other_desk.has_seen("instance.up"), 60, every_s=0.05)
    kill(launch)
    assert not other_desk.has_seen("instance.reached"), "only cloud-init can arm it now"
    (made,) = truth.made_by(next((other_desk.folder / "home/runs").iterdir()).name)
    try:
        # Two boots at once would take each other's processor.
        truth.eventually(lambda: "login:" in console(lab, made), 120)
        run = desk.start("run", short_job(desk, f'on = "{machine.name}"'), "--json")
        truth.eventually(lambda: desk.has_seen("script.started"), 120)
        kill(run)
        survives_a_reboot(host_of(desk), machine)
        for who, instance in ((other_desk, made), (desk, machine.id)):
            fires(who, instance)
            ended = who.jetrun("continue", "last", "--json")
            assert ended.is_verified, str(ended)
            assert tells_the_truth(ended, instance).is_down
    finally:
        lab.compute.delete_server(made, ignore_missing=True)


def console(lab: Any, instance: str) -> str:
    return str(lab.compute.get_server_console_output(instance)["output"])


def survives_a_reboot(host: str, machine: Machine) -> None:
    before = switch(host)
    assert before["state"] == "armed", before
    boot = inside(host, "cat /proc/sys/kernel/random/boot_id")
    assert boot
    inside(host, "sudo systemctl reboot")
    truth.eventually(lambda: inside(host, "cat /proc/sys/kernel/random/boot_id") not in {"", boot}, 150)
    after = switch(host)
    for key in ("state", "deadline", "run", "generation"):
        assert after[key] == before[key], (before, after)
    assert machine.id in truth.running()


def fires(desk: Desk, instance: str) -> None:
    """The guest goes off by itself around its deadline; Nova sees it at its next power sync, and nobody has asked it for anything."""
    truth.eventually(lambda: instance not in truth.running(), 240, every_s=1)
    late_s = (datetime.now(UTC) - deadline(desk)).total_seconds()
    assert late_s < 75, "the switch looks every minute"
    truth.eventually(lambda: truth.state(instance)[0] == "stopped", 40)
