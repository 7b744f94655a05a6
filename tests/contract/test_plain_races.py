"""Two at once: creates on one port, starts of one instance, deletes; on the model, over HTTP and on a real Nova.

Virtual time has one thread: there, the calls come one after the other at one instant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from plain_cloud import Reply
from plain_subjects import PlainSubject
from story import Story


@pytest.fixture(scope="module")
def port(plain: PlainSubject) -> Iterator[str]:
    """A port of our own, for the instance and for those who want it too."""
    reply = plain.cloud.call("network", "POST", "/ports", {"port": {"network_id": plain.things["network"]}})
    assert reply.status == 201, reply
    yield reply.body["port"]["id"]
    assert plain.cloud.call("network", "DELETE", f"/ports/{reply.body['port']['id']}").status in {204, 404}


@pytest.fixture(scope="module")
def story(plain: PlainSubject, port: str) -> Iterator[Story]:
    """An instance on that port."""
    told = Story(plain, flavor=plain.things["flavor_small"], port=port)
    told.watch(told.passages["create"])
    yield told
    if told.written() != "404":
        told.delete()


def create_on(plain: PlainSubject, port: str) -> Reply:
    body = {
        "name": "contract-second",
        "imageRef": plain.things["image"],
        "flavorRef": plain.things["flavor_small"],
        "networks": [{"port": port}],
    }
    return plain.cloud.call("compute", "POST", "/servers", {"server": body})


def settled(plain: PlainSubject, key: str) -> dict[str, Any]:
    """An instance when it is built, or has failed to be."""
    for _ in range(2000):
        row = plain.cloud.get("compute", f"/servers/{key}")["server"]
        if row["status"] != "BUILD":
            return dict(row)
        plain.cloud.wait()
    raise AssertionError(f"{key} is not built")


def test_a_create_on_a_port_in_use_is_refused_and_leaves_nothing(plain: PlainSubject, story: Story, port: str) -> None:
    """A port first: a create whose reply was lost can be sent again, and never makes two."""
    before = len(plain.cloud.get("compute", "/servers")["servers"])
    reply = create_on(plain, port)
    assert (reply.told(P=port), reply.form) == ("409 Port P is still in use.", "conflictingRequest(code,message)")
    assert len(plain.cloud.get("compute", "/servers")["servers"]) == before
    assert plain.cloud.get("network", f"/ports/{port}")["port"]["device_id"] == story.key


def test_of_starts_at_once_each_accepted_one_is_in_the_log(plain: PlainSubject, story: Story) -> None:
    """One 202 as a rule. Nova tries a start again that lost the race for the row, so that a second can be accepted when the first
    is over; a refused one, 409 or 500, has no effect."""
    story.go("stop")
    replies = plain.cloud.together([lambda: plain.cloud.act(story.key, "os-start")] * 4)
    assert {reply.status for reply in replies} <= {202, 409, 500}
    accepted = {reply.request_id for reply in replies if reply.status == 202}
    assert accepted
    if plain.exact:
        assert [reply.status for reply in replies] == [202, 409, 409, 409]
    for reply in replies:
        if reply.status == 409:
            assert story.told(reply).startswith("409 Cannot 'start' instance I while it is in ")
    story.watch(story.passages["stop"])
    assert story.written() == "ACTIVE/active/-/1"
    assert {row["request_id"] for row in story.log() if row["action"] == "start"} == accepted


def test_a_second_delete_is_accepted_and_the_log_has_one(plain: PlainSubject, story: Story, port: str) -> None:
    """Until it is gone; then 404. What is on a host logs its delete."""
    first, second = (plain.cloud.call("compute", "DELETE", f"/servers/{story.key}") for _ in range(2))
    assert (first.status, second.status in {204, 404}) == (204, True)
    story.watch(story.passages["create"])
    (row,) = [row for row in story.log() if row["action"] == "delete"]
    assert (row["request_id"], row["message"]) == (first.request_id, None)
    assert story.entry(row["request_id"])["events"][0]["event"] == "compute_terminate_instance"
    assert (
        story.told(plain.cloud.call("compute", "DELETE", f"/servers/{story.key}"))
        == "404 Instance I could not be found."
    )
    assert plain.cloud.get("network", f"/ports/{port}")["port"]["device_id"] == ""


def test_of_two_creates_on_one_port_at_once_never_do_both_have_it(plain: PlainSubject, port: str, story: Story) -> None:
    """Both can be accepted, before either is on a host; then one ends in ERROR, and tells of it in its fault alone."""
    if story.written() != "404":
        story.delete()
    replies = plain.cloud.together([lambda: create_on(plain, port)] * 2)
    keys = [reply.body["server"]["id"] for reply in replies if reply.status == 202]
    try:
        rows = {key: settled(plain, key) for key in keys}
        assert sorted({reply.status for reply in replies}) in ([202], [202, 409])
        living = [key for key, row in rows.items() if row["status"] == "ACTIVE"]
        assert len(living) <= 1
        for key in set(rows) - set(living):
            assert rows[key]["status"] == "ERROR"
            assert rows[key]["fault"]["code"] == 500
            assert rows[key]["addresses"] == {}
        assert plain.cloud.get("network", f"/ports/{port}")["port"]["device_id"] in {"", *living}
    finally:
        for key in keys:
            assert plain.cloud.call("compute", "DELETE", f"/servers/{key}").status == 204
        for _ in range(2000):
            if not {row["id"] for row in plain.cloud.get("compute", "/servers")["servers"]} & set(keys):
                break
            plain.cloud.wait()
