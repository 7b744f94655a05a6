"""In every state of an instance, on the model, over HTTP and on a real Nova: what is refused, in which words; what it passes through.

A state that lasts less than a poll may be missed over HTTP and on a real cloud: there what was seen must be a part of what is
written here, in its order, and end as it ends. In virtual time nothing is missed, but for what is marked ``?``: a real Nova goes
through it and the model does not.
"""

from __future__ import annotations

import re

import pytest
from plain_subjects import PlainSubject
from story import BATTERY, Story

from jetrun.devcloud.rules import ALLOWED, LABELS

POLICY = "403 Policy doesn't allow os_compute_api:{} to be performed."
ALWAYS = {
    "shelveOffload": POLICY.format("os-shelve:shelve_offload"),
    "resetState": POLICY.format("os-admin-actions:reset_state"),
    "nonsense": "400 There is no such action: nonsense",
}
"""What a member is told in every state in which there is an instance."""

NOT_READY = "409 Instance I is not ready"
GONE = "404 Instance I could not be found."
LOCKED = "409 Instance I is locked"
NO_CONSOLE = "404 Guest does not have a console available."

VM_STATES = {
    "BUILD": "building", "ACTIVE": "active", "PAUSED": "paused", "SUSPENDED": "suspended", "SHUTOFF": "stopped",
    "SHELVED_OFFLOADED": "shelved_offloaded", "ERROR": "error",
}  # fmt: skip

CONSOLES = {
    "BUILD": {NOT_READY, GONE}, "ACTIVE": {"200"}, "LOCKED": {"200"}, "PAUSED": {"200"}, "SUSPENDED": {NO_CONSOLE},
    "SHUTOFF": {NO_CONSOLE}, "SHELVED_OFFLOADED": {NOT_READY}, "ERROR": {"200"}, "DELETED": {GONE},
}  # fmt: skip
"""What the console log says. In BUILD it depends on whether the scheduler was through."""

WRITTEN = {
    "write metadata": "200", "write one": "200", "remove one": "204",
    "remove what is not there": "404 Metadata item was not found", "add a tag": "201", "add it again": "204",
    "remove it": "204", "remove it again": "404 Instance I has no tag 'new'", "replace all tags": "200", "remove all tags": "204",
}  # fmt: skip

WORDS = {
    "write metadata": "update metadata", "write one": "update metadata", "remove one": "delete metadata",
    "add a tag": "update tag", "add it again": "update tag", "remove it": "delete tag", "remove it again": "delete tag",
    "replace all tags": "update tags", "remove all tags": "delete tags",
}  # fmt: skip
"""What Nova calls each write when it refuses it."""


def cannot(action: str, state: str) -> str:
    word = "reboot" if action == "hard reboot" else action
    return f"409 Cannot '{word}' instance I while it is in vm_state {VM_STATES[state]}"


def expected_refusals(state: str, asked: dict[str, str]) -> dict[str, str]:
    """By Nova's rule: the vm_state is named, but where there is no host."""
    words = {action: cannot(action, state) for action in asked} | {a: w for a, w in ALWAYS.items() if a in asked}
    if state == "SHELVED_OFFLOADED":
        words |= {"start": NOT_READY, "stop": NOT_READY}
    return words


@pytest.mark.parametrize("state", ["ACTIVE", "PAUSED", "SUSPENDED", "SHUTOFF", "SHELVED_OFFLOADED", "ERROR"])
def test_what_a_state_does_not_allow_is_refused_by_its_name(life: Story, state: str) -> None:
    told = life.states[state].refused
    assert told == expected_refusals(state, told)


def test_while_it_is_built_nothing_is_accepted(life: Story) -> None:
    """Start and stop are told what Nova knows at that moment: no cell yet, no host yet, or its vm_state."""
    told = dict(life.states["BUILD"].refused)
    for action in ("start", "stop"):
        assert told.pop(action) in {GONE, NOT_READY, cannot(action, "BUILD")}
    assert told == expected_refusals("BUILD", told)


def test_an_instance_that_never_had_a_host_is_not_ready(hostless: Story) -> None:
    told = hostless.states["ERROR"].refused
    unready = {
        "start": NOT_READY,
        "stop": NOT_READY,
        "hard reboot": "409 Instance I is in an invalid state for 'reboot'",
    }
    assert told == expected_refusals("ERROR", told) | unready
    assert hostless.states["ERROR"].console == NOT_READY


def test_a_lock_refuses_every_action_but_an_image_and_the_console(life: Story) -> None:
    told = life.states["LOCKED"].refused
    assert told == dict.fromkeys(told, LOCKED) | ALWAYS
    assert set(told) == {*BATTERY, "delete"} - {"createImage"}


def test_what_is_deleted_is_not_there_for_anybody(life: Story) -> None:
    state = life.states["DELETED"]
    assert state.refused == dict.fromkeys(state.refused, GONE) | {"nonsense": ALWAYS["nonsense"]}
    assert state.labels == dict.fromkeys(state.labels, GONE)


@pytest.mark.parametrize("state", CONSOLES)
def test_the_console_is_told_only_where_a_guest_runs(life: Story, state: str) -> None:
    assert life.states[state].console in CONSOLES[state]


# --- labels ---


@pytest.mark.parametrize("state", ["ACTIVE", "PAUSED", "SUSPENDED", "SHUTOFF"])
def test_metadata_and_tags_are_written(life: Story, state: str) -> None:
    assert life.states[state].labels == WRITTEN


@pytest.mark.parametrize("state", ["BUILD", "SHELVED_OFFLOADED", "ERROR"])
def test_metadata_and_tags_cannot_be_written(life: Story, state: str) -> None:
    """Why the lease is on the port. What is not there is told first."""
    refused = {label: cannot(word, state) for label, word in WORDS.items()}
    assert set(WORDS.values()) == set(LABELS)
    missing = {"remove what is not there": WRITTEN["remove what is not there"]}
    assert life.states[state].labels == refused | missing


def test_a_lock_is_in_the_way_of_metadata_and_not_of_tags(life: Story) -> None:
    locked = dict.fromkeys(("write metadata", "write one", "remove one"), LOCKED)
    assert life.states["LOCKED"].labels == WRITTEN | locked


# --- the port ---


@pytest.mark.parametrize("state", [*VM_STATES, "LOCKED", "DELETED"])
def test_the_port_can_be_written_on_condition_in_every_state(life: Story, state: str) -> None:
    """What the lease stands on. A description counts twice, the second time after the answer."""
    before, status, stale, after = life.states[state].port
    assert status == 200
    assert stale == "412 Constrained to N, but current revision is M"
    assert after >= before + 2


@pytest.mark.parametrize("state", [*VM_STATES, "LOCKED"])
def test_a_floating_ip_stays_on_its_port(life: Story, state: str) -> None:
    if state != "BUILD":  # before it had one
        assert life.states[state].floating["port_id"] == life.port


def test_only_an_instance_on_a_host_shows_its_floating_ip_and_its_fixed_one(life: Story) -> None:
    """Shelved too: the port is still its own."""
    for state in ("SHUTOFF", "SUSPENDED", "SHELVED_OFFLOADED"):
        (addresses,) = life.states[state].row["addresses"].values()
        assert sorted(row["OS-EXT-IPS:type"] for row in addresses) == ["fixed", "floating"], state


def test_a_port_of_ones_own_survives_its_instance(life: Story) -> None:
    port = life.cloud.get("network", f"/ports/{life.port}")["port"]
    assert (port["device_id"], port["device_owner"], port["status"]) == ("", "", "DOWN")


# --- passages ---

ACTIVE, SHUTOFF = "ACTIVE/active/-/1", "SHUTOFF/stopped/-/4"
SUSPENDED, PAUSED = "SUSPENDED/suspended/-/4", "PAUSED/paused/-/3"
OFFLOADED = "SHELVED_OFFLOADED/shelved_offloaded/-/4"


def shelving(prefix: str, power: int) -> list[str]:
    """Where the image is copied off a local disk, Nova tries a snapshot of the storage first, and goes back."""
    uploads = [f"{prefix}/shelving_image_{word}/{power}" for word in ("pending_upload", "uploading")]
    return [
        f"{prefix}/shelving/{power}",
        *uploads,
        *(f"{state}?" for state in uploads),
        "SHELVED/shelved/shelving_offloading/4",
        OFFLOADED,
    ]


def rebooting(prefix: str, power: int, hard: str = "") -> list[str]:
    return [f"{prefix}/{task}{hard}/{power}" for task in ("rebooting", "reboot_pending", "reboot_started")] + [ACTIVE]


SEEN = {
    "create": [
        "BUILD/building/scheduling/0", "BUILD/building/-/0?", "BUILD/building/networking/0?",
        "BUILD/building/block_device_mapping/0?", "BUILD/building/spawning/0", ACTIVE,
    ],
    "pause": ["ACTIVE/active/pausing/1", PAUSED],
    "unpause": ["PAUSED/paused/unpausing/3", ACTIVE],
    "suspend": ["ACTIVE/active/suspending/1", SUSPENDED],
    "suspend of ACTIVE": ["ACTIVE/active/suspending/1", SUSPENDED],
    "resume": ["SUSPENDED/suspended/resuming/4", ACTIVE],
    "createImage": [
        "ACTIVE/active/image_snapshot_pending/1", "ACTIVE/active/image_snapshot/1?", "ACTIVE/active/image_pending_upload/1",
        "ACTIVE/active/image_uploading/1", "ACTIVE/active/image_pending_upload/1?", "ACTIVE/active/image_uploading/1?", ACTIVE,
    ],
    "reboot": rebooting("REBOOT/active", 1),
    "hard reboot": rebooting("HARD_REBOOT/active", 1, "_hard"),
    "hard reboot of SHUTOFF": rebooting("SHUTOFF/stopped", 4, "_hard"),
    "stop": ["ACTIVE/active/powering-off/1", SHUTOFF],
    "stop of ERROR": ["ERROR/error/powering-off/1", SHUTOFF],
    "start": ["SHUTOFF/stopped/powering-on/4", ACTIVE],
    "shelve": shelving("ACTIVE/active", 1),
    "shelve of SUSPENDED": shelving("SUSPENDED/suspended", 4),
    "unshelve": [
        "SHELVED_OFFLOADED/shelved_offloaded/unshelving/4", "SHELVED_OFFLOADED/shelved_offloaded/spawning/4", ACTIVE,
    ],
    "lock": [ACTIVE],
    "unlock": [ACTIVE],
    "delete": ["404"],
}  # fmt: skip


def is_part(seen: list[str], whole: list[str]) -> bool:
    """Whether *seen* is *whole* with some left out."""
    rest = iter(whole)
    return all(state in rest for state in seen)


@pytest.mark.parametrize("passage", SEEN)
def test_it_passes_through_these_states_in_this_order(plain: PlainSubject, life: Story, passage: str) -> None:
    seen = life.passages[passage].seen
    if plain.exact:
        assert seen == [state for state in SEEN[passage] if not state.endswith("?")]
    else:
        assert is_part(seen, [state.rstrip("?") for state in SEEN[passage]]), seen
        assert seen[-1] == SEEN[passage][-1]


def test_every_passage_is_written_down(life: Story) -> None:
    assert set(life.passages) == set(SEEN)


def test_without_a_host_it_ends_in_error_with_a_fault(plain: PlainSubject, hostless: Story) -> None:
    assert is_part(hostless.passages["create"].seen, ["BUILD/building/scheduling/0", "ERROR/error/-/0"])
    row = hostless.states["ERROR"].row
    assert (row["fault"]["code"], row["fault"]["message"].strip()) == (500, "No valid host was found.")
    assert row["addresses"] == {}
    assert row["OS-SRV-USG:launched_at"] is None


DURING = {
    "suspend": ("active", {"suspending"}),
    "resume": ("suspended", {"resuming"}),
    "createImage": (
        "active",
        {f"image_{word}" for word in ("snapshot_pending", "snapshot", "pending_upload", "uploading")},
    ),
    "reboot": ("active", {"rebooting", "reboot_pending", "reboot_started"}),
    "hard reboot": ("active", {"rebooting_hard", "reboot_pending_hard", "reboot_started_hard"}),
    "stop": ("active", {"powering-off"}),
    "start": ("stopped", {"powering-on"}),
    "shelve": ("active", {"shelving", "shelving_image_pending_upload", "shelving_image_uploading"}),
    "unshelve": ("shelved_offloaded", {"unshelving", "spawning"}),
}
"""vm_state and tasks while it goes on."""


@pytest.mark.parametrize("passage", DURING)
def test_while_it_goes_on_nothing_else_is_accepted(life: Story, passage: str) -> None:
    """The vm_state is looked at first: what it does not allow is refused by it, the rest by the task."""
    vm_state, tasks = DURING[passage]
    told = life.passages[passage].during
    assert len(told) >= 2
    for action, words in told.items():
        if passage == "unshelve" and action in {"start", "stop"}:
            assert words == NOT_READY
        elif vm_state not in ALLOWED[action]:
            assert words == f"409 Cannot '{action}' instance I while it is in vm_state {vm_state}"
        else:
            found = re.fullmatch(rf"409 Cannot '{action}' instance I while it is in task_state (\S+)", words)
            assert found is not None, words
            assert found[1] in tasks


# --- the action log ---

EVENTS = {
    "create": "compute__do_build_and_run_instance", "createImage": "compute_snapshot_instance", "lock": "api_lock",
    "unlock": "api_unlock", "hard reboot": "compute_reboot_instance",
}  # fmt: skip


@pytest.mark.parametrize("passage", [name for name in SEEN if name != "delete"])
def test_what_was_accepted_is_in_the_log_under_the_answers_request_id(life: Story, passage: str) -> None:
    found, entry = life.passages[passage], life.passages[passage].entry
    name = passage.partition(" of ")[0]
    me = life.cloud.me()
    assert entry["request_id"] == found.reply.request_id
    assert entry["action"] == ("reboot" if name == "hard reboot" else name)
    assert (entry["instance_uuid"], entry["message"]) == (life.key, None)
    assert (entry["user_id"], entry["project_id"]) == (me["user"]["id"], me["project"]["id"])
    for at in (entry["start_time"], entry["updated_at"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000000", at)
    assert entry["start_time"] <= entry["updated_at"]
    (event,) = [one for one in entry["events"] if one["event"] == EVENTS.get(name, f"compute_{name}_instance")]
    assert event["result"] == "Success"
    assert event["finish_time"] >= event["start_time"]
    assert set(event) == {"event", "start_time", "finish_time", "result", "hostId"}


def test_the_log_is_read_after_the_end_too_newest_first(life: Story) -> None:
    log = life.log()
    assert log[-1]["action"] == "create"
    starts = [row["start_time"] for row in log]
    assert starts == sorted(starts, reverse=True)
    assert {row["message"] for row in log} == {None}
    assert "events" not in log[0]


def test_a_delete_of_what_is_on_no_host_is_at_once_and_in_no_log(life: Story, hostless: Story) -> None:
    """Nova's API does it alone then. So that a 404 is our own doing, only the answer to our delete can say."""
    for story in (life, hostless):
        assert story.passages["delete"].seen == ["404"]
        assert "delete" not in [row["action"] for row in story.log()]


def test_what_the_staff_did_is_in_the_log_under_their_name(life: Story) -> None:
    (row,) = [row for row in life.log() if row["action"] == "resetState"]
    assert row["user_id"] == life.cloud.me("staff")["user"]["id"]


def test_a_create_without_a_host_is_an_error_in_the_log(hostless: Story) -> None:
    entry = hostless.passages["create"].entry
    assert entry["message"] == "Error"
    assert [(one["event"], one["result"]) for one in entry["events"]] == [
        ("conductor_schedule_and_build_instances", "Error")
    ]


def test_a_refusal_leaves_no_trace_in_the_log(life: Story) -> None:
    accepted = [passage.reply.request_id for passage in life.passages.values()]
    others = [row["action"] for row in life.log() if row["request_id"] not in accepted]
    assert others == ["resetState"]


def test_an_action_that_never_was_is_not_in_the_log(life: Story) -> None:
    request = "req-00000000-0000-4000-8000-000000000000"
    reply = life.cloud.call("compute", "GET", f"/servers/{life.key}/os-instance-actions/{request}")
    assert reply.told(R=request) == "404 Action R not found"
