"""Faults of the cloud's own services, by the driver alone: no verified receipt for an instance that is up; what is said is what is so.

After the fault is lifted ``jetrun continue`` ends each run verified.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import truth
from desk import Desk, tells_the_truth
from faulty import MAIL, STOP, begun, continued, is_told, note, quick, when
from lab import plan
from machine import Machine


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


def task(machine: Machine) -> str:
    return truth.state(machine.id)[1]


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
