"""Who sees what of a network: people share within a project, strangers see nothing, the staff see everything."""

from __future__ import annotations

from typing import Any

import pytest
from model_lab import ADA, BOB, EVE, STAFF, Lab

from jetrun.devcloud import network_groups
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.network_ports import shown_port


@pytest.fixture
def port(lab: Lab) -> dict[str, Any]:
    inner = next(row["id"] for row in lab.network.networks.values() if not row["router:external"])
    return lab.network.create_port(ADA, {"network_id": inner, "name": "run-1"}, lab.now)


def test_a_stranger_sees_no_port_and_a_colleague_all_of_the_projects(lab, port):
    network = lab.network
    assert network.visible(EVE, network.ports) == []
    with pytest.raises(ApiError) as error:
        network.get(EVE, network.ports, "Port", port["id"])
    assert (error.value.status, error.value.kind) == (404, "PortNotFound")
    assert error.value.message == f"Port {port['id']} could not be found."
    assert network.visible(BOB, network.ports) == [port]
    assert network.visible(STAFF, network.ports) == [port]


def test_networks_are_shared_and_the_external_subnet_is_not_told(lab):
    network = lab.network
    assert {row["name"] for row in network.visible(EVE, network.networks)} == {"auto_allocated_network", "public"}
    assert [row["name"] for row in network.visible(EVE, network.subnets)] == ["auto_allocated_network"]
    assert len(network.visible(STAFF, network.subnets)) == 2


def test_every_project_has_a_default_group_of_its_own(lab):
    ours, theirs = lab.network.ensure_default_group("lab"), lab.network.ensure_default_group("other")
    assert ours["id"] != theirs["id"]
    assert lab.network.visible(EVE, lab.network.groups) == [theirs]


def test_a_strangers_group_is_not_there_to_be_used(lab, port):
    theirs = lab.network.ensure_default_group("other")["id"]
    for attempt in (
        lambda: lab.network.update_port(port, {"security_groups": [theirs]}, lab.now, caller=ADA),
        lambda: lab.network.create_port(ADA, {"network_id": port["network_id"], "security_groups": [theirs]}, lab.now),
        lambda: lab.create(security_groups=[{"name": theirs}]),
    ):
        with pytest.raises(ApiError):
            attempt()
    assert list(lab.network.ports) == [port["id"]]
    assert theirs not in port["security_groups"]


def test_an_instance_has_the_groups_that_were_asked_for(lab):
    group = network_groups.create(lab.network, ADA, {"name": "web", "description": "pages"})
    assert group["description"] == "pages"
    server = lab.active(security_groups=[{"name": "web"}])
    assert [port["security_groups"] for port in lab.network.ports_of(server.id)] == [[group["id"]]]


def test_only_the_staff_see_on_which_host_a_port_is(lab, port):
    lab.network.update_port(port, {"binding:host_id": "node-1"}, lab.now, caller=STAFF)
    assert "binding:host_id" not in shown_port(ADA, port)
    assert shown_port(STAFF, port)["binding:host_id"] == "node-1"
    assert "made_by_nova" not in shown_port(STAFF, port)
    assert shown_port(ADA, port)["name"] == "run-1"
