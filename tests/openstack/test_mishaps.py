"""What befalls one instance while the cloud is well: lost replies, a cut cable, a reboot, somebody's delete, the staff's lock.

By the driver alone: no verified receipt for an instance that is up; what is said is what is so.
"""

from __future__ import annotations

import subprocess
import time
from typing import Any

import truth
from desk import Desk, tells_the_truth
from drop_front import front
from faulty import MAIL, STOP, begun, continued, is_told, note, quick, when
from lab import place
from machine import Machine


def test_the_replies_of_the_start_and_of_the_shelve_are_lost_after_the_effect(desk: Desk, machine: Machine) -> None:
    machine.be("SHUTOFF")
    before = len(list(machine.lab.compute.server_actions(machine.id)))
    armed = {"os-start", "shelve"}

    def loses(method: str, path: str, body: object) -> bool:
        if method != "POST" or not path.endswith("/action") or not isinstance(body, dict):
            return False
        hit = armed.intersection(body)
        armed.difference_update(hit)
        return bool(hit)

    with front(place.NOVA, loses) as proxy:
        desk.write_clouds(compute_endpoint_override=proxy.url)
        ended = desk.run(desk.script("true\n"), *MAIL, on=machine.name)
        assert proxy.lost == [202, 202]
    found = tells_the_truth(ended, machine.id)
    assert ended.code == 0, str(ended)
    log = list(machine.lab.compute.server_actions(machine.id))
    sent = [one.action for one in log[: len(log) - before]]
    assert sent == ["shelve", "start"], "each was sent once, newest first"
    note("replies of os-start and shelve lost after the effect", ended, found)


def test_the_reply_of_a_create_is_lost_and_one_instance_is_made(desk: Desk) -> None:
    armed = [True]

    def loses(method: str, path: str, body: object) -> bool:
        if method == "POST" and path.endswith("/servers") and armed:
            armed.clear()
            return True
        return False

    with front(place.NOVA, loses) as proxy:
        desk.write_clouds(compute_endpoint_override=proxy.url)
        words = ("--image", "lab-debian", "--flavor", "m1.small", "--disposition", "delete")
        ended = desk.run(launching(desk, "true\n"), *words, *MAIL)
        assert proxy.lost == [202]
    assert ended.code == 0, str(ended)
    (made,) = truth.made_by(ended.document["run_id"])
    found = tells_the_truth(ended, made)
    assert found.deleted
    note("reply of the create lost after the effect", ended, found)


def test_the_network_of_the_instance_is_cut_in_the_middle(desk: Desk, machine: Machine, lab: Any) -> None:
    desk.write_clouds(jetrun=quick(desk, ssh_s=60))
    run = begun(desk, machine, *STOP, "--timeout", "30s", script="sleep 300\n")
    when(lambda: desk.has_seen("script.started"))
    port = next(lab.network.ports(device_id=machine.id))
    cut(f"tap{port.id[:11]}")
    ended = run.end(400)
    found = tells_the_truth(ended, machine.id)
    assert ended.code == 124, str(ended)
    assert ended.is_verified
    assert found.is_down
    note("network of the instance cut", ended, found)


def test_the_guest_reboots_itself_in_the_middle(desk: Desk, machine: Machine) -> None:
    run = begun(desk, machine, *STOP, script="sudo systemctl reboot\nsleep 300\n")
    ended = run.end(400)
    found = tells_the_truth(ended, machine.id)
    assert ended.code not in {0, 119}, str(ended)
    assert found.is_down
    note("guest rebooted from inside", ended, found)


def test_the_staff_locks_the_instance_in_the_middle(desk: Desk, machine: Machine, admin: Any) -> None:
    run = begun(desk, machine, *STOP, script="sleep 3\n")
    when(lambda: desk.has_seen("script.started"))
    admin.compute.lock_server(machine.id)
    try:
        ended = run.end()
        found = tells_the_truth(ended, machine.id)
        is_told(ended, desk, "locked", machine.name)
        assert found.runs
    finally:
        admin.compute.unlock_server(machine.id)
    note("locked by the staff", ended, found, continued(desk, machine))


def test_the_driver_is_killed_in_the_middle_and_its_guardian_ends_the_run(desk: Desk, machine: Machine) -> None:
    """Nobody types anything; the script is not lost."""
    run = begun(desk, machine, *STOP, "--on-driver-loss", "continue", "-o", "done", script="sleep 5\ndate > done\n")
    when(lambda: desk.has_seen("script.started"), 150)
    run.process.kill()
    killed_at = time.monotonic()
    run.process.wait()
    truth.eventually(lambda: desk.has_seen("run.finished"), 200)
    down_s = time.monotonic() - killed_at
    ended = desk.jetrun("show", "last", "--json")
    assert ended.document["exit_code"] == 0, str(ended)
    assert ended.is_verified
    found = truth.row(machine.id)
    assert found.is_down, found
    assert next(desk.folder.rglob("out/**/done")).read_text()
    note(f"driver killed in the middle (its guardian, {down_s:.0f} s)", ended, found)


def test_somebody_deletes_the_instance_in_the_middle(desk: Desk, machine: Machine) -> None:
    run = begun(desk, machine, "--no-deadman", script="sleep 300\n")
    when(lambda: desk.has_seen("script.started"), 150)
    machine.lab.compute.delete_server(machine.id)
    ended = run.end(300)
    found = tells_the_truth(ended, machine.id)
    assert found.deleted
    assert ended.code != 0
    assert "404" in ended.err or "gone" in ended.err or "deleted" in ended.err
    note("instance deleted by somebody else", ended, found)


def launching(desk: Desk, script: str) -> str:
    """A job file for a launch: what the command line has no words for."""
    desk.script(script)
    path = desk.folder / "launch.toml"
    path.write_text(
        'script = "job.sh"\n[instance]\nnetwork = "lab-net"\nsecurity_groups = ["lab-ssh"]\nfloating_ip = "no"\n'
    )
    return str(path)


def cut(link: str) -> None:
    """The instance's cable is pulled."""
    subprocess.run(["ip", "link", "set", link, "down"], check=True)
