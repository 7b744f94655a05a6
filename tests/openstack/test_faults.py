"""Faults of the real thing, by the driver alone: no verified receipt for an instance that is up; what is said is what is so.

After the fault is lifted ``jetrun continue`` ends each run verified. One line of a table is kept for each (``faults.tsv``).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
import truth
from desk import Desk, Ended, tells_the_truth
from drop_front import front
from lab import place, plan
from machine import Machine

MAIL = ("--email", "me@uni.edu")
STOP = ("--disposition", "stop")
"""Where the fault is not about the shelve: a snapshot less to make and to wake from."""


@pytest.fixture(scope="module", autouse=True)
def table() -> None:
    (place.STATE / "faults.tsv").write_text(
        "fault\tjetrun said\tthe database said\ts to its end\ts until down, fault lifted\n"
    )


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Services killed as a crash would, and started again."""
    for name in names:
        plan.service(name).kill()
    try:
        yield
    finally:
        for name in reversed(names):
            plan.service(name).start()
        for name in reversed(names):
            plan.service(name).wait()


def reason(ended: Ended) -> str:
    receipt = ended.receipt
    return str(receipt["reason"]) if receipt else "untouched"


def is_told(ended: Ended, desk: Desk, *words: str) -> None:
    """Exit code 119; the last mail and the document say what to know and to do, the terminal that it is not verified."""
    assert ended.code == 119, str(ended)
    assert "NOT VERIFIED" in ended.err, str(ended)
    mail = message_from_bytes(desk.mailbox.messages[-1], policy=default)
    text = f"{mail['Subject']}\n{mail.get_body(('plain',)).get_content()}"
    said = " ".join(str(ended.document["error"][key]) for key in ("what", "state", "next"))
    for word in words:
        assert word.lower() in said.lower(), f"{word!r} is not in {said}"
        assert word.lower() in text.lower(), f"{word!r} is not in the mail\n{text}"
    assert ended.document["error"]["next"] in text, text


def note(fault: str, ended: Ended, found: truth.Row, down_s: float | None = None) -> None:
    where = f"{found.vm_state}, task {found.task_state}, {'running' if found.runs else 'not running'}"
    with (place.STATE / "faults.tsv").open("a") as file:
        down = "" if down_s is None else f"{down_s:.0f}"
        file.write(f"{fault}\t{ended.code} {reason(ended)}\t{where}\t{ended.took_s:.0f}\t{down}\n")


def continued(desk: Desk, machine: Machine, within_s: float = 200) -> float:
    """``jetrun continue`` ends it verified, typed again while Nova is still coming back: the seconds that it took."""
    begun = time.monotonic()
    ended = desk.jetrun("continue", "last", "--json", within_s=within_s)
    while not ended.is_verified:
        assert time.monotonic() - begun < within_s, str(ended)
        tells_the_truth(ended, machine.id)
        ended = desk.jetrun("continue", "last", "--json", within_s=within_s)
    assert tells_the_truth(ended, machine.id).is_down
    return time.monotonic() - begun


def when(claim: Callable[[], bool], within_s: float = 120) -> None:
    truth.eventually(claim, within_s, every_s=0.05)


def task(machine: Machine) -> str:
    return truth.state(machine.id)[1]


def begun(desk: Desk, machine: Machine, *words: str, script: str = "true\n") -> Any:
    """A job on its way, on an instance that is off or shelved."""
    machine.be_down()
    return desk.start("run", str(desk.script(script)), "--on", machine.name, "--json", *MAIL, *words)


def test_nova_compute_dies_during_a_stop(desk: Desk, machine: Machine) -> None:
    desk.write_clouds(jetrun=quick(desk, stop_s=25, foreign_task_s=20))
    run = begun(desk, machine, *STOP)
    when(lambda: task(machine) == "powering-off")
    with without("nova-compute"):
        ended = run.end()
        found = tells_the_truth(ended, machine.id)
        is_told(ended, desk, "powering-off", machine.name)
        assert not found.is_down
    note("nova-compute killed during a stop", ended, found, continued(desk, machine))


def test_nova_compute_dies_during_a_shelve_which_then_sticks(desk: Desk, machine: Machine, admin: Any) -> None:
    desk.write_clouds(jetrun=quick(desk, shelve_s=40, foreign_task_s=20))
    run = begun(desk, machine)
    when(lambda: task(machine) == "shelving_image_pending_upload")
    with without("nova-compute"):
        time.sleep(1)
    # It is back, and the task stays: only the staff can end it.
    ended = run.end()
    found = tells_the_truth(ended, machine.id)
    request = next(one.request_id for one in machine.lab.compute.server_actions(machine.id) if one.action == "shelve")
    is_told(ended, desk, request, "reset")
    assert found.task_state is not None
    admin.compute.reset_server_state(machine.id, "active")
    note("nova-compute killed during a shelve", ended, found, continued(desk, machine))


def test_glance_dies_during_a_shelve_which_then_fails_silently(desk: Desk, machine: Machine) -> None:
    """Nova takes the guest down, cannot send the snapshot, and calls the instance ACTIVE again; Glance is back by then."""
    run = begun(desk, machine)
    when(lambda: task(machine) == "shelving_image_pending_upload")
    # The driver stands still meanwhile: it would ask again before Glance is back, which is the next test's case.
    run.process.send_signal(signal.SIGSTOP)
    with without("glance-api"):
        when(lambda: task(machine) == "")
    run.process.send_signal(signal.SIGCONT)
    ended = run.end()
    found = tells_the_truth(ended, machine.id)
    assert ended.code == 0, str(ended)
    assert [one.action for one in machine.lab.compute.server_actions(machine.id)].count("shelve") >= 2
    note("glance killed during a shelve", ended, found)


def test_glance_is_down_when_the_shelve_is_asked_for_which_then_sticks(
    desk: Desk, machine: Machine, admin: Any
) -> None:
    """Nova answers 500, and yet keeps the task ``shelving`` for ever: only the staff can end it."""
    run = begun(desk, machine)
    when(lambda: desk.has_seen("script.started"))
    with without("glance-api"):
        ended = run.end()
        found = tells_the_truth(ended, machine.id)
        is_told(ended, desk, "reset")
        assert found.task_state == "shelving"
    admin.compute.reset_server_state(machine.id, "active")
    note("glance down before the shelve", ended, found, continued(desk, machine))


def test_the_message_queue_stops(desk: Desk, machine: Machine) -> None:
    run = begun(desk, machine, script="sleep 3\n")
    when(lambda: desk.has_seen("script.started"))
    with without("rabbitmq"):
        ended = run.end()
        found = tells_the_truth(ended, machine.id)
        is_told(ended, desk, machine.name)
        assert found.runs
    note("message queue down from the script on", ended, found, continued(desk, machine, 300))


def test_keystone_stops_in_the_middle_of_a_run(desk: Desk, machine: Machine) -> None:
    run = begun(desk, machine, *STOP, script="sleep 3\n")
    when(lambda: desk.has_seen("script.started"))
    with without("keystone"):
        ended = run.end()
        found = tells_the_truth(ended, machine.id)
        assert ended.is_verified or ended.code == 119, str(ended)
    note("keystone down from the script on", ended, found, None if ended.is_verified else continued(desk, machine))


def test_an_unshelve_bounces_because_no_host_takes_it(desk: Desk, machine: Machine, admin: Any) -> None:
    machine.be("SHELVED_OFFLOADED")
    host = next(one for one in admin.compute.services() if one.binary == "nova-compute")
    admin.compute.disable_service(host, host.host, "nova-compute", disabled_reason="full")
    try:
        ended = desk.run(desk.script("true\n"), *MAIL, on=machine.name)
    finally:
        admin.compute.enable_service(host, host.host, "nova-compute")
    found = tells_the_truth(ended, machine.id)
    assert ended.code == 120, str(ended)
    assert found.is_down
    assert "unshelve" in ended.err
    note("no host takes the unshelve", ended, found)


def test_the_quota_is_full(desk: Desk, machine: Machine, lab: Any, admin: Any) -> None:
    machine.be("SHELVED_OFFLOADED")
    project = lab.current_project_id
    admin.compute.update_quota_set(project, ram=256, force=True)
    try:
        ended = desk.run(desk.script("true\n"), *MAIL, on=machine.name)
    finally:
        admin.compute.revert_quota_set(project)
    found = tells_the_truth(ended, machine.id)
    assert found.is_down
    assert ended.code in {0, 120}, str(ended)
    if ended.code == 120:
        assert "quota" in ended.err.lower()
    note("quota full at the unshelve", ended, found)


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


def test_somebody_deletes_the_instance_in_the_middle(desk: Desk, lab: Any, admin: Any) -> None:
    victim = Machine(lab, admin, "box-victim")
    try:
        victim.wait("ACTIVE")
        run = desk.start(
            "run",
            str(desk.script("sleep 300\n")),
            "--on",
            victim.name,
            "--take-over-force",
            "--json",
            *MAIL,
            "--no-deadman",
        )
        when(lambda: desk.has_seen("script.started"), 150)
        lab.compute.delete_server(victim.id)
        ended = run.end(300)
        found = tells_the_truth(ended, victim.id)
        assert found.deleted
        assert ended.code != 0
        assert "404" in ended.err or "gone" in ended.err or "deleted" in ended.err
        note("instance deleted by somebody else", ended, found)
    finally:
        victim.delete()


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


def quick(desk: Desk, **bounds: float) -> dict[str, Any]:
    """The lab's entry for jetrun with other bounds."""
    from desk import QUICK

    return {
        "ssh_user": "debian",
        "ssh_key": str(place.STATE / "id_ed25519"),
        "rates": {"m1": 1.0},
        "bounds": {**QUICK, **desk.bounds, **bounds},
    }


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
    import subprocess

    subprocess.run(["ip", "link", "set", link, "down"], check=True)
