"""The whole job on virtual machines that boot: every way in, every way out, confirmed by Nova's database and libvirt."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from typing import Any

import pytest
import truth
from desk import Desk, tells_the_truth
from machine import Machine

SCRIPT = "cat input.txt > out.txt && uname -n >> out.txt && cat /etc/ssh/ssh_host_ed25519_key.pub > key.pub && sync\n"


@pytest.fixture
def network() -> str:
    """The instance of these tests has its floating IP from its first day, and is reached by it in every one of them."""
    return "lab-tenant"


def test_a_job_wakes_an_instance_that_is_suspended(desk: Desk, machine: Machine) -> None:
    works(desk, machine, "SUSPENDED", "shelve", "shelved_offloaded")


def test_a_guest_that_ignores_the_power_button_is_cut_off_by_nova(desk: Desk, machine: Machine) -> None:
    machine.be_down()
    deaf = "sudo systemctl mask --runtime --now systemd-logind.service dbus.service dbus.socket\n"
    ended = desk.run(desk.script(deaf), "--disposition", "stop", on=machine.name)
    assert ended.code == 0, str(ended)
    assert tells_the_truth(ended, machine.id).vm_state == "stopped"
    shut = next(one["at"] for one in desk.events() if one.get("phase") == "shutdown")
    # Nova waits a minute for the guest before it pulls the plug.
    assert (datetime.now(UTC) - datetime.fromisoformat(shut)).total_seconds() > 55


@pytest.mark.parametrize(
    ("begin", "disposition", "vm_state"),
    [("SHUTOFF", "stop", "stopped"), ("SHELVED_OFFLOADED", "shelve", "shelved_offloaded")],
)
def test_a_job_wakes_the_instance_and_brings_it_down(
    desk: Desk, machine: Machine, begin: str, disposition: str, vm_state: str
) -> None:
    works(desk, machine, begin, disposition, vm_state)


def works(desk: Desk, machine: Machine, begin: str, disposition: str, vm_state: str) -> None:
    """The whole job from there to there. The tests stand in an order in which the instance need not be woken between them."""
    machine.be(begin)
    (desk.folder / "input.txt").write_text("from here\n")
    ended = desk.run(
        desk.script(SCRIPT),
        "-i",
        "input.txt",
        "-o",
        "out.txt",
        "-o",
        "key.pub",
        "--disposition",
        disposition,
        "--email",
        "me@uni.edu",
        on=machine.name,
    )
    assert ended.code == 0, str(ended)
    assert ended.is_verified
    reached = next(one for one in desk.events() if one["event"] == "instance.reached")
    assert reached["host"] == machine.address.floating_ip_address, "kept over stop and shelve"
    # A guest that is resumed prints nothing: its console log begins anew, without the keys.
    assert reached["host_key"] == ("first-use" if begin == "SUSPENDED" else "console")
    (pin,) = [path for path in (desk.folder / "home/host_keys").iterdir() if machine.id in path.name]
    assert next(desk.folder.rglob("out/**/key.pub")).read_text().split()[1] in pin.read_text()
    found = tells_the_truth(ended, machine.id)
    assert (found.vm_state, found.power_state) == (vm_state, 4)
    assert (found.host is None) == (vm_state == "shelved_offloaded")
    assert next(desk.folder.rglob("out/**/out.txt")).read_text().startswith("from here\n")
    assert desk.mailbox.read()["Subject"]


def launching(desk: Desk, **instance: str) -> str:
    """A job file for an instance of the run's own."""
    keys = {"image": "lab-debian", "flavor": "m1.small", "network": "lab-net", "floating_ip": "no", **instance}
    table = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
    path = desk.folder / "launch.toml"
    path.write_text(
        'script = "job.sh"\ninputs = ["input.txt"]\noutputs = ["out.txt"]\n'
        f'[instance]\n{table}security_groups = ["lab-ssh"]\n[email]\nto = ["me@uni.edu"]\n'
    )
    desk.script(SCRIPT)
    (desk.folder / "input.txt").write_text("from here\n")
    return str(path)


def test_a_job_launches_an_instance_of_its_own(desk: Desk, lab: Any) -> None:
    """It ends shelved here; launched and deleted is in test_network_create.py and test_mishaps.py."""
    ended = desk.run(launching(desk), "--disposition", "shelve")
    assert ended.code == 0, str(ended)
    (made,) = truth.made_by(ended.document["run_id"])
    try:
        found = tells_the_truth(ended, made)
        assert ended.is_verified
        assert found.vm_state == "shelved_offloaded"
        assert not found.runs
        assert list(desk.folder.rglob("out/**/out.txt"))
        assert list(lab.network.ports(device_id=made)), (
            "the port that it made first goes with the instance, and only then"
        )
    finally:
        lab.compute.delete_server(made, ignore_missing=True)


def test_another_host_key_than_the_pinned_one_is_refused(desk: Desk, machine: Machine) -> None:
    """As if another machine answered at the address."""
    machine.be_down()
    other = desk.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    kind, blob, *_ = other.with_suffix(".pub").read_text().split()
    pin = desk.folder / "home/host_keys" / machine.id
    pin.parent.mkdir(parents=True)
    pin.write_text(f"{machine.id} {kind} {blob}\n")
    ended = desk.run(desk.script("true\n"), "--disposition", "stop", on=machine.name)
    assert ended.code != 0
    assert "host key" in ended.err.lower()
    assert ended.is_verified, str(ended)
    assert tells_the_truth(ended, machine.id).is_down


def test_a_guest_that_powers_itself_off_ends_verified_and_says_that_the_script_was_lost(
    desk: Desk, machine: Machine
) -> None:
    machine.be_down()
    desk.bounds["ssh_s"] = 30
    desk.write_clouds()
    ended = desk.run(desk.script("sudo systemctl poweroff\nsleep 300\n"), on=machine.name)
    assert ended.code not in {0, 119}, str(ended)
    assert ended.is_verified
    assert tells_the_truth(ended, machine.id).vm_state == "shelved_offloaded"
