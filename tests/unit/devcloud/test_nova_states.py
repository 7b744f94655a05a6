"""The model goes through the states that a real Nova 26.2 was seen to go through (lab notes, "State sequences")."""

from __future__ import annotations

import pytest
from model_lab import ADA, STAFF, Lab

from jetrun.devcloud.rules import ZERO

ACTIVE = "ACTIVE/active/-/RUNNING"
SHUTOFF = "SHUTOFF/stopped/-/SHUTDOWN"
OFFLOADED = "SHELVED_OFFLOADED/shelved_offloaded/-/SHUTDOWN"

SEQUENCES = [
    ("stop", [], [ACTIVE], ["ACTIVE/active/powering-off/RUNNING", SHUTOFF]),
    ("start", ["stop"], [SHUTOFF], ["SHUTOFF/stopped/powering-on/SHUTDOWN", ACTIVE]),
    (
        "shelve",
        [],
        [ACTIVE],
        [
            "ACTIVE/active/shelving/RUNNING",
            "ACTIVE/active/shelving_image_pending_upload/RUNNING",
            "ACTIVE/active/shelving_image_uploading/RUNNING",
            "SHELVED/shelved/shelving_offloading/SHUTDOWN",
            OFFLOADED,
        ],
    ),
    (
        "shelve",
        ["stop"],
        [SHUTOFF],
        [
            "SHUTOFF/stopped/shelving/SHUTDOWN",
            "SHUTOFF/stopped/shelving_image_pending_upload/SHUTDOWN",
            "SHUTOFF/stopped/shelving_image_uploading/SHUTDOWN",
            "SHELVED/shelved/shelving_offloading/SHUTDOWN",
            OFFLOADED,
        ],
    ),
    (
        "unshelve",
        ["shelve"],
        [OFFLOADED],
        [
            "SHELVED_OFFLOADED/shelved_offloaded/unshelving/SHUTDOWN",
            "SHELVED_OFFLOADED/shelved_offloaded/spawning/SHUTDOWN",
            ACTIVE,
        ],
    ),
    ("suspend", [], [ACTIVE], ["ACTIVE/active/suspending/RUNNING", "SUSPENDED/suspended/-/SHUTDOWN"]),
    ("resume", ["suspend"], [], ["SUSPENDED/suspended/resuming/SHUTDOWN", ACTIVE]),
    ("pause", [], [ACTIVE], ["ACTIVE/active/pausing/RUNNING", "PAUSED/paused/-/PAUSED"]),
    ("unpause", ["pause"], [], ["PAUSED/paused/unpausing/PAUSED", ACTIVE]),
    (
        "reboot",
        [],
        [ACTIVE],
        [
            "REBOOT/active/rebooting/RUNNING",
            "REBOOT/active/reboot_pending/RUNNING",
            "REBOOT/active/reboot_started/RUNNING",
            ACTIVE,
        ],
    ),
    (
        "hard reboot",
        [],
        [ACTIVE],
        [
            "HARD_REBOOT/active/rebooting_hard/RUNNING",
            "HARD_REBOOT/active/reboot_pending_hard/RUNNING",
            "HARD_REBOOT/active/reboot_started_hard/RUNNING",
            ACTIVE,
        ],
    ),
]


@pytest.mark.parametrize(("action", "before", "start", "expected"), SEQUENCES)
def test_an_action_takes_the_states_that_nova_takes(lab: Lab, action, before, start, expected):
    server = lab.done(lab.active(), *before)
    assert start in ([], [lab.watch(server)[0]])
    lab.act(server, action)
    assert lab.watch(server) == expected


def test_a_create_is_scheduled_and_spawned_and_then_active(lab: Lab):
    assert lab.watch(lab.create()) == [
        "BUILD/building/scheduling/NOSTATE",
        "BUILD/building/spawning/NOSTATE",
        ACTIVE,
    ]


def test_a_delete_ends_in_404(lab: Lab):
    server = lab.active()
    lab.delete(server)
    assert lab.watch(server) == ["ACTIVE/active/deleting/RUNNING", "DELETED/deleted/-/NOSTATE"]
    assert lab.nova.list(ADA) == []


@pytest.mark.parametrize("actions", [["stop"], ["shelve"], ["suspend"], ["pause"]])
def test_an_instance_can_be_deleted_in_any_state(lab: Lab, actions):
    server = lab.done(lab.active(), *actions)
    lab.delete(server)
    lab.settle()
    assert server.status == "DELETED"
    assert not server.really_on


def test_an_instance_can_be_deleted_while_it_is_built_and_never_comes_up(lab: Lab):
    server = lab.create()
    lab.delete(server)
    assert "ACTIVE" not in {seen.partition("/")[0] for seen in lab.watch(server)}
    assert not any(effect.kind == "power_on" for effect in lab.nova.effects)


def test_a_cloud_that_never_offloads_leaves_shelved_with_its_host():
    lab = Lab(offload_time=-1)
    server = lab.done(lab.active(), "shelve")
    assert (server.status, server.task_state, server.host is not None) == ("SHELVED", None, True)
    lab.act(server, "unshelve")
    assert lab.watch(server) == ["SHELVED/shelved/powering-on/SHUTDOWN", ACTIVE]


def test_only_an_administrator_offloads_by_hand():
    lab = Lab(offload_time=-1)
    server = lab.done(lab.active(), "shelve")
    lab.act(server, "shelveOffload", STAFF)
    assert lab.watch(server) == ["SHELVED/shelved/shelving_offloading/SHUTDOWN", OFFLOADED]


def test_a_late_offload_shows_shelved_until_its_time():
    lab = Lab(offload_time=60)
    server = lab.active()
    lab.act(server, "shelve")
    lab.passes(59)
    assert (server.status, server.task_state) == ("SHELVED", None)
    lab.settle()
    assert server.status == "SHELVED_OFFLOADED"


def test_unshelve_starts_also_what_was_off_when_it_was_shelved(lab: Lab):
    server = lab.done(lab.active(), "stop", "shelve", "unshelve")
    assert server.status == "ACTIVE"
    assert server.really_on


def test_unshelve_rewrites_launched_at(lab: Lab):
    server = lab.done(lab.active(), "shelve")
    before = server.launched_at
    lab.passes(100)
    lab.done(server, "unshelve")
    assert server.launched_at is not None
    assert before is not None
    assert server.launched_at > before


def test_a_shelved_image_is_there_until_the_unshelve(lab: Lab):
    def named() -> list[tuple[str, str]]:
        return [(row["name"], row["status"]) for row in lab.images.images.values() if row["name"] != "devcloud-linux"]

    server = lab.done(lab.active(name="train"), "shelve")
    assert named() == [("train-shelved", "active")]
    lab.done(server, "unshelve")
    assert named() == []


def test_the_port_goes_down_with_the_host_and_keeps_its_id_and_address(lab: Lab):
    server = lab.active()
    (port,) = lab.network.ports_of(server.id)
    address, revision = port["fixed_ips"], port["revision_number"]
    lab.done(server, "shelve")
    assert port["status"] == "DOWN"
    lab.done(server, "unshelve")
    (after,) = lab.network.ports_of(server.id)
    assert (after["id"], after["fixed_ips"], after["status"]) == (port["id"], address, "ACTIVE")
    assert after["revision_number"] > revision


def test_with_zero_timings_everything_is_over_at_the_same_instant():
    lab = Lab(timings=ZERO)
    server = lab.create()
    lab.passes(0)
    assert server.status == "ACTIVE"
    for action, status in (("shelve", "SHELVED_OFFLOADED"), ("unshelve", "ACTIVE"), ("stop", "SHUTOFF")):
        lab.act(server, action)
        lab.passes(0)
        assert (server.status, server.task_state) == (status, None)


def test_the_action_log_keeps_who_did_what_under_which_request(lab: Lab):
    server = lab.active()
    request = lab.act(server, "stop")
    entry = server.actions[-1]
    assert (entry["action"], entry["request_id"], entry["user_id"], entry["message"]) == ("stop", request, "ada", None)
    assert entry["events"][0]["finish_time"] is None
    started = entry["start_time"]
    lab.settle()
    assert entry["events"][0]["result"] == "Success"
    assert entry["updated_at"] >= started
    assert {at.rpartition(".")[2] for at in (started, entry["updated_at"])} == {"000000"}, "whole seconds only"
