"""From JSON to values: what is not there is None, never guessed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jetrun.cloud import parse
from jetrun.guarantee.power import Disposition, is_down

AT = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ENTRY = {
    "request_id": "req-1",
    "action": "shelve",
    "user_id": "u",
    "project_id": "p",
    "start_time": "2026-11-20T11:59:00.000000",
}
DONE = {"event": "compute_shelve_instance", "finish_time": "2026-11-20T11:59:09.000000", "result": "Success"}
FAILED = {**DONE, "result": "Error"}
BEGUN = {"event": "compute_shelve_instance", "finish_time": None, "result": None}


@pytest.mark.parametrize(
    ("more", "finished", "failed"),
    [
        ({}, None, False),
        ({"events": None}, None, False),
        ({"message": "Error"}, None, True),
        ({"events": []}, False, False),
        ({"events": [BEGUN]}, False, False),
        ({"events": [DONE, BEGUN]}, False, False),
        ({"events": [DONE, DONE]}, True, False),
        ({"events": [FAILED]}, True, True),
        ({"events": [FAILED, BEGUN]}, True, True),
        ({"events": [], "message": "Error"}, True, True),
    ],
)
def test_an_action_has_finished_only_when_all_its_events_say_so(
    more: dict, *, finished: bool | None, failed: bool
) -> None:
    """The receipt waits for it: an entry without an event yet has just been accepted, and is not over."""
    entry = parse.action({**ENTRY, **more})
    assert (entry.finished, entry.failed) == (finished, failed)


def test_the_power_sync_has_no_user() -> None:
    """It is not a person who started something."""
    entry = parse.action({**ENTRY, "user_id": None, "project_id": None})
    assert (entry.user_id, entry.project_id) == (None, None)
    assert entry.started_at == datetime(2026, 11, 20, 11, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    "row", [{}, {"status": "SHELVED_OFFLOADED"}, {"status": "SHUTOFF", "OS-EXT-STS:vm_state": None}]
)
def test_a_state_that_is_not_shown_in_full_is_not_down(row: dict) -> None:
    """Without its vm_state, nobody knows whether a task is hidden as well."""
    read = parse.observation(row, AT)
    assert not any(is_down(read, one) for one in Disposition)


def test_a_host_that_is_not_shown_is_not_the_same_as_none() -> None:
    """The field is the administrator's on many clouds; then the digest tells."""
    assert parse.observation({}, AT).has_host is None
    assert parse.observation({"hostId": ""}, AT).has_host is False
    assert parse.observation({"hostId": "4f"}, AT).has_host is True
    assert parse.observation({"OS-EXT-SRV-ATTR:host": None, "hostId": "4f"}, AT).has_host is False


def test_an_instance_booted_from_a_volume_has_no_image() -> None:
    """Nova shows an empty text where an object stands otherwise."""
    one = parse.instance({"id": "x", "image": "", "flavor": {"id": "2"}}, AT)
    assert (one.image_id, one.flavor, one.vcpus) == (None, None, None)


@pytest.mark.parametrize("text", ["2026-11-20T12:00:00Z", "2026-11-20T12:00:00.000000", "2026-11-20T13:00:00+01:00"])
def test_instants_are_utc_however_they_are_written(text: str) -> None:
    """Nova and Keystone leave the zone out, each in its own way."""
    assert parse.moment(text) == AT


def test_no_instant_is_no_instant() -> None:
    assert parse.moment(None) is None
    assert parse.moment("") is None
