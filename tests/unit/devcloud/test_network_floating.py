"""Floating IPs lead to one port at a time; security groups say who gets in; queries find what they name and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from model_lab import ADA, BOB, EVE, STAFF, Lab

from jetrun.devcloud import network_floating, network_groups
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.network_filters import check_tags, selected


def named(lab: Lab, name: str) -> str:
    return next(row["id"] for row in lab.network.networks.values() if row["name"] == name)


@pytest.fixture
def port(lab: Lab) -> dict[str, Any]:
    return lab.network.create_port(ADA, {"network_id": named(lab, "auto_allocated_network")}, lab.now)


def floating(lab: Lab, **wish: Any) -> dict[str, Any]:
    return lab.network.create_floating(ADA, {"floating_network_id": named(lab, "public"), **wish}, lab.now)


def test_a_floating_ip_is_an_address_of_the_external_network(lab, port):
    free, used = floating(lab), floating(lab, port_id=port["id"])
    assert [row["floating_ip_address"] for row in (free, used)] == ["127.20.240.10", "127.20.240.11"]
    assert (free["status"], free["fixed_ip_address"], free["port_details"]) == ("DOWN", None, None)
    assert (used["status"], used["fixed_ip_address"]) == ("ACTIVE", port["fixed_ips"][0]["ip_address"])
    assert used["port_details"]["mac_address"] == port["mac_address"]


def test_it_moves_from_port_to_port_and_can_be_taken_off(lab, port):
    other = lab.network.create_port(ADA, {"network_id": port["network_id"]}, lab.now)
    row = floating(lab, port_id=port["id"])
    network_floating.update(lab.network, ADA, row, {"port_id": other["id"]}, lab.now)
    assert row["fixed_ip_address"] == other["fixed_ips"][0]["ip_address"]
    before = row["revision_number"]
    network_floating.update(lab.network, ADA, row, {"port_id": None}, lab.now)
    assert (row["port_id"], row["fixed_ip_address"], row["status"]) == (None, None, "DOWN")
    assert row["revision_number"] == before + 1


def test_a_port_has_one_floating_ip_at_most(lab, port):
    first, second = floating(lab, port_id=port["id"]), floating(lab)
    with pytest.raises(ApiError, match=r"Cannot associate floating IP 127\.20\.240\.11") as error:
        network_floating.update(lab.network, ADA, second, {"port_id": port["id"]}, lab.now)
    assert (error.value.status, error.value.kind) == (409, "FloatingIPPortAlreadyAssociated")
    assert (first["port_id"], second["port_id"]) == (port["id"], None)
    network_floating.update(lab.network, ADA, first, {"port_id": port["id"]}, lab.now)


def test_a_floating_ip_that_cannot_be_put_where_it_shall_is_not_made(lab, port):
    floating(lab, port_id=port["id"])
    with pytest.raises(ApiError):
        floating(lab, port_id=port["id"])
    with pytest.raises(ApiError, match="Port nowhere could not be found"):
        floating(lab, port_id="nowhere")
    assert len(lab.network.floating) == 1


@pytest.mark.parametrize(
    ("wish", "status", "words"),
    [
        ({"floating_network_id": ""}, 400, "Required attribute 'floating_network_id' not specified"),
        ({"floating_network_id": "nowhere"}, 404, "Network nowhere could not be found"),
        ({"floating_network_id": "INNER"}, 400, "is not a valid external network"),
    ],
)
def test_a_floating_ip_is_only_of_an_external_network(lab, wish, status, words):
    wish = {key: named(lab, "auto_allocated_network") if value == "INNER" else value for key, value in wish.items()}
    with pytest.raises(ApiError, match=words) as error:
        lab.network.create_floating(ADA, wish, lab.now)
    assert error.value.status == status


def test_a_project_has_no_more_floating_ips_than_its_quota(lab):
    lab.network.quota["floatingip"] = 2
    floating(lab)
    floating(lab)
    with pytest.raises(ApiError, match=r"Quota exceeded for resources: \['floatingip'\]"):
        floating(lab)


def test_three_hundred_floating_ips_one_after_the_other_are_all_addresses(lab):
    """The external network has room for 245 at a time: those that were given back must come round again."""
    for _ in range(300):
        row = floating(lab)
        assert 10 <= int(row["floating_ip_address"].removeprefix("127.20.240.")) <= 254
        del lab.network.floating[row["id"]]


def test_a_deleted_port_leaves_its_floating_ip_free(lab, port):
    row = floating(lab, port_id=port["id"])
    lab.network.delete_port(port)
    assert (row["port_id"], row["status"]) == (None, "DOWN")


def test_an_instances_floating_ip_survives_shelve_and_unshelve_and_its_delete(lab):
    server = lab.active()
    (port,) = lab.network.ports_of(server.id)
    row = floating(lab, port_id=port["id"])
    lab.done(server, "shelve", "unshelve")
    assert [kind for _, _, kind, _ in lab.network.addresses_of(server.id)] == ["fixed", "floating"]
    lab.delete(server)
    lab.settle()
    assert lab.network.floating[row["id"]]["port_id"] is None


@pytest.mark.parametrize("changes", [{"floating_ip_address": "127.20.240.99"}, {"colour": "red"}])
def test_what_cannot_be_written_on_a_floating_ip_is_refused(lab, changes):
    row = floating(lab)
    with pytest.raises(ApiError) as error:
        network_floating.update(lab.network, ADA, row, changes, lab.now)
    assert (error.value.status, row["floating_ip_address"]) == (400, "127.20.240.10")


# --- security groups ---


def test_the_default_group_lets_ssh_in_and_everything_out(lab):
    group = lab.network.ensure_default_group("lab")
    assert lab.network.ensure_default_group("lab") is group
    ingress = [rule for rule in group["security_group_rules"] if rule["direction"] == "ingress"]
    assert [rule["port_range_min"] for rule in ingress if rule["protocol"] == "tcp"] == [22, 2222]
    assert [rule["remote_group_id"] for rule in ingress if rule["protocol"] is None] == [group["id"]]
    assert {r["ethertype"] for r in group["security_group_rules"] if r["direction"] == "egress"} == {"IPv4", "IPv6"}


def test_a_new_group_lets_nobody_in(lab):
    group = network_groups.create(lab.network, ADA, {"name": "closed"})
    assert {rule["direction"] for rule in group["security_group_rules"]} == {"egress"}


def test_there_is_one_default_group(lab):
    with pytest.raises(ApiError, match="Default security group already exists"):
        network_groups.create(lab.network, ADA, {"name": "default"})


def rule(group: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp", **more}


def test_the_same_rule_twice_is_refused(lab):
    group = network_groups.create(lab.network, ADA, {"name": "web"})
    made = network_groups.add_rule(lab.network, ADA, rule(group, port_range_min=80, port_range_max=80))
    with pytest.raises(ApiError, match=f"already exists. Rule id is {made['id']}") as error:
        network_groups.add_rule(lab.network, ADA, rule(group, port_range_min=80, port_range_max=80))
    assert error.value.status == 409
    network_groups.delete_rule(lab.network, ADA, made["id"])
    network_groups.add_rule(lab.network, ADA, rule(group, port_range_min=80, port_range_max=80))


@pytest.mark.parametrize(
    "more",
    [
        {"direction": "sideways"},
        {"protocol": None, "port_range_min": 22, "port_range_max": 22},
        {"port_range_min": 80, "port_range_max": 22},
        {"port_range_min": 80},
    ],
)
def test_a_rule_that_cannot_be_is_not_made(lab, more):
    group = network_groups.create(lab.network, ADA, {"name": "web"})
    before = len(group["security_group_rules"])
    with pytest.raises(ApiError) as error:
        network_groups.add_rule(lab.network, ADA, rule(group, **more))
    assert (error.value.status, len(group["security_group_rules"])) == (400, before)


def test_every_change_of_a_group_raises_its_revision(lab):
    group = network_groups.create(lab.network, ADA, {"name": "web"})
    before = group["revision_number"]
    made = network_groups.add_rule(lab.network, ADA, rule(group, protocol="icmp", description="ping"))
    assert (made["description"], made["port_range_min"], group["revision_number"]) == ("ping", None, before + 1)
    network_groups.delete_rule(lab.network, ADA, made["id"])
    assert group["revision_number"] == before + 2


def test_a_group_in_use_stays_and_the_default_one_always(lab, port):
    with pytest.raises(ApiError, match="in use") as error:
        network_groups.delete(lab.network, ADA, port["security_groups"][0])
    assert error.value.status == 409
    lab.network.delete_port(port)
    with pytest.raises(ApiError, match="Insufficient rights for removing default security group"):
        network_groups.delete(lab.network, ADA, port["security_groups"][0])
    group = network_groups.create(lab.network, ADA, {"name": "mine"})
    with pytest.raises(ApiError, match="does not exist"):
        network_groups.delete(lab.network, EVE, group["id"])
    network_groups.delete(lab.network, BOB, group["id"])
    assert group["id"] not in lab.network.groups


def test_a_stranger_neither_sees_nor_deletes_a_rule(lab):
    group = network_groups.create(lab.network, ADA, {"name": "web"})
    made = network_groups.add_rule(lab.network, ADA, rule(group, port_range_min=80, port_range_max=80))
    assert made not in network_groups.rules(lab.network, EVE)
    assert made in network_groups.rules(lab.network, STAFF)
    with pytest.raises(ApiError, match=f"Security group rule {made['id']} does not exist"):
        network_groups.delete_rule(lab.network, EVE, made["id"])


# --- queries ---

ROWS = [
    {"id": "a", "name": "one", "tags": ["x", "y"], "shared": True, "device_id": "", "mtu": 1500,
     "fixed_ips": [{"subnet_id": "s", "ip_address": "127.20.0.10"}], "security_groups": ["g"]},
    {"id": "b", "name": "two", "tags": ["y"], "shared": False, "device_id": "vm", "mtu": 9000,
     "fixed_ips": [{"subnet_id": "s", "ip_address": "127.20.0.11"}], "security_groups": []},
    {"id": "c", "name": "two", "tags": [], "shared": False, "device_id": "vm", "mtu": 1500,
     "fixed_ips": [], "security_groups": []},
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, "abc"),
        ({"name": ["two"]}, "bc"),
        ({"name": ["two"], "id": ["c"]}, "c"),
        ({"id": ["a", "c"]}, "ac"),
        ({"name": ["tw"]}, ""),
        ({"device_id": [""]}, "a"),
        ({"shared": ["True"]}, "a"),
        ({"shared": ["false"]}, "bc"),
        ({"mtu": ["1500"]}, "ac"),
        ({"tags": ["x,y"]}, "a"),
        ({"tags": ["y"]}, "ab"),
        ({"tags-any": ["x,z"]}, "a"),
        ({"not-tags": ["x,y"]}, "bc"),
        ({"not-tags-any": ["x,y"]}, "c"),
        ({"fixed_ips": ["ip_address=127.20.0.11"]}, "b"),
        ({"fixed_ips": ["subnet_id=s"]}, "ab"),
        ({"security_groups": ["g"]}, "a"),
        ({"limit": ["2"]}, "ab"),
        ({"limit": ["1"], "marker": ["a"]}, "b"),
        ({"marker": ["c"]}, ""),
        ({"fields": ["id"], "sort_key": ["name"], "sort_dir": ["asc"]}, "abc"),
    ],
)
def test_a_query_finds_what_it_names(query, found):
    assert "".join(row["id"] for row in selected(ROWS, query)) == found


def test_a_filter_that_there_is_none_of_is_refused():
    """It must not be passed over: who asks for the ports of one instance would get those of all."""
    with pytest.raises(ApiError, match=r"\['device'\] is invalid attribute for filtering") as error:
        selected(ROWS, {"device": ["vm"]})
    assert error.value.status == 400


def test_tags_of_a_request_are_taken_as_they_are():
    assert check_tags(["b", "a", "x" * 255]) == ["b", "a", "x" * 255]
    assert check_tags([]) == []


@pytest.mark.parametrize("tags", [None, "x", [1], ["x", "x"], ["x" * 256]])
def test_what_cannot_be_tags_is_refused(tags):
    with pytest.raises(ApiError) as error:
        check_tags(tags)
    assert error.value.status == 400
