"""``jetrun network create`` on a real Neutron: made once, nothing changed, gone on with where it stopped, and good for a launch."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import truth
from desk import Desk, tells_the_truth
from drop_front import front
from lab import place, seed

FROM = "172.31.0.0/16"


@pytest.fixture
def other(desk: Desk) -> Desk:
    """A researcher of the other project, which has no network of its own."""
    desk.cloud = "lab-other"
    desk.write_clouds()
    return desk


@pytest.fixture
def name() -> Iterator[str]:
    """A name of a test's own; what was made under it is removed."""
    word = f"net-{time.time():.0f}"
    yield word
    connection = seed.connect("lab-other")
    network = connection.network
    for router in network.routers(name=word):
        for port in network.ports(device_id=router.id):
            with contextlib.suppress(Exception):
                network.remove_interface_from_router(router, port_id=port.id)
        network.delete_router(router)
    for one in network.networks(name=word):
        network.delete_network(one)
    for group in network.security_groups(name=f"{word}-ssh"):
        network.delete_security_group(group)
    connection.compute.delete_keypair(word, ignore_missing=True)
    connection.close()


def create(desk: Desk, name: str, *more: str, **options: Any) -> Any:
    return desk.jetrun("network", "create", "--name", name, "--json", *more, **options)


def state(name: str) -> dict[str, Any]:
    """Every object of that name, with its revision."""
    connection = seed.connect("lab-other")
    network = connection.network
    found: dict[str, Any] = {}
    for kind, rows in (
        ("network", network.networks(name=name)),
        ("subnet", network.subnets(name=name)),
        ("router", network.routers(name=name)),
        ("group", network.security_groups(name=f"{name}-ssh")),
    ):
        found[kind] = [(row.id, row.revision_number) for row in rows]
    found["rules"] = [
        (row.id, row.remote_ip_prefix)
        for group in found["group"]
        for row in network.security_group_rules(security_group_id=group[0])
    ]
    connection.close()
    return found


def test_the_objects_are_made_once_and_a_launch_works_on_them(other: Desk, name: str) -> None:
    shown = create(other, name, "--own", "--ssh-from", FROM, "--dry-run")
    assert (shown.code, shown.err.count("will be made")) == (0, 7)
    assert not state(name)["network"]
    refused = create(other, name, "--own", "--ssh-from", FROM)
    assert refused.code == 2, "nobody is there to agree"
    assert not state(name)["network"]
    made = create(other, name, "--own", "--ssh-from", FROM, "--yes")
    assert made.code == 0, str(made)
    first = state(name)
    assert [len(first[kind]) for kind in ("network", "subnet", "router", "group")] == [1, 1, 1, 1]
    again = create(other, name, "--own", "--ssh-from", FROM)
    assert again.code == 0, str(again)
    assert state(name) == first, "no object was written to"
    job = other.folder / "launch.toml"
    job.write_text(
        'script = "job.sh"\n[instance]\nimage = "lab-debian"\nflavor = "m1.small"\n'
        f'network = "{name}"\nsecurity_groups = ["{name}-ssh"]\n'
    )
    other.script("true\n")
    ended = other.run(str(job), "--disposition", "delete")
    assert ended.code == 0, str(ended)
    (instance,) = truth.made_by(ended.document["run_id"])
    assert tells_the_truth(ended, instance).deleted
    reached = next(one for one in other.events() if one["event"] == "instance.reached")
    assert reached["host"].startswith(place.EXTERNAL_GATEWAY.rpartition(".")[0]), "through the router, by a floating IP"


def test_a_group_that_differs_is_refused_and_left_as_it_is(other: Desk, name: str) -> None:
    assert create(other, name, "--own", "--ssh-from", FROM, "--yes").code == 0
    before = state(name)
    ended = create(other, name, "--own", "--ssh-from", "198.51.100.0/24", "--yes")
    assert ended.code == 2
    assert FROM in ended.err
    assert "198.51.100.0/24" in ended.err
    assert state(name) == before


@pytest.mark.parametrize("path", ["/networks", "/subnets", "/routers", "/security-groups", "/security-group-rules"])
def test_a_lost_reply_makes_nothing_twice(other: Desk, name: str, path: str) -> None:
    armed = [True]

    def loses(method: str, asked: str, _: object) -> bool:
        if method == "POST" and asked.endswith(path) and armed:
            armed.clear()
            return True
        return False

    with front(place.NEUTRON, loses) as proxy:
        other.write_clouds(network_endpoint_override=proxy.url)
        ended = create(other, name, "--own", "--ssh-from", FROM, "--yes")
        assert proxy.lost == [201]
    assert ended.code == 0, str(ended)
    assert [len(state(name)[kind]) for kind in ("network", "subnet", "router", "group")] == [1, 1, 1, 1]


def test_the_automatic_network_is_asked_for_where_the_cloud_has_it(other: Desk, name: str) -> None:
    made = create(other, name, "--ssh-from", FROM, "--yes")
    assert made.code == 0, str(made)
    again = create(other, name, "--ssh-from", FROM)
    assert again.code == 0, str(again)
    topology, *_ = json.loads(again.out)
    assert (topology["name"], bool(topology["id"])) == ("auto_allocated_network", True)
    assert not state(name)["network"]
