"""Neutron's ports: one address each, a revision that every change raises, and a write that only the first of two can make."""

from __future__ import annotations

import copy
import ipaddress
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_lab import ADA, BOB, EVE, STAFF, START, Counter, Lab

from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.network import NetworkModel


def network_of(lab: Lab, *, external: bool) -> str:
    return next(row["id"] for row in lab.network.networks.values() if row["router:external"] is external)


@pytest.fixture
def inner(lab: Lab) -> str:
    return network_of(lab, external=False)


@pytest.fixture
def port(lab: Lab, inner: str) -> dict[str, Any]:
    return lab.network.create_port(ADA, {"network_id": inner, "name": "run-1"}, lab.now)


def revision(number: int) -> str:
    return f"revision_number={number}"


def test_a_port_has_an_address_of_its_network_and_the_default_group(lab, port, inner):
    (fixed,) = port["fixed_ips"]
    subnet = lab.network.subnets[fixed["subnet_id"]]
    assert subnet["network_id"] == inner
    assert ipaddress.ip_address(fixed["ip_address"]) in ipaddress.ip_network(subnet["cidr"])
    assert port["security_groups"] == [lab.network.ensure_default_group("lab")["id"]]
    assert (port["status"], port["device_id"], port["revision_number"]) == ("DOWN", "", 1)


def test_addresses_lie_where_instances_can_listen(lab):
    cidrs = [row["cidr"] for row in lab.network.subnets.values()]
    assert cidrs == ["127.20.0.0/17", "127.20.240.0/24"]


def test_of_two_conditional_writes_the_second_fails(lab, port):
    read = port["revision_number"]
    lab.network.update_port(port, {"description": "ada's run"}, lab.now, if_match=revision(read))
    with pytest.raises(ApiError) as error:
        lab.network.update_port(port, {"description": "bob's run"}, lab.now, if_match=revision(read))
    assert (error.value.status, error.value.kind) == (412, "RevisionNumberConstraintFailed")
    assert error.value.message == f"Constrained to {read}, but current revision is {read + 2}"
    assert port["description"] == "ada's run"


def test_a_write_of_what_is_already_there_counts_as_one(lab, port):
    """Neutron bumps the revision then too: so a retried conditional write is refused, and must be resolved by reading."""
    lab.network.update_port(port, {"name": "run-1"}, lab.now, if_match=revision(1))
    assert port["revision_number"] == 2


def test_the_answer_to_a_write_of_a_description_has_a_revision_that_is_already_old(lab, port):
    """Neutron keeps the description beside the port, and counts that too, after it has answered: read before the next write."""
    answered = lab.network.update_port(port, {"description": "lease"}, lab.now, if_match=revision(1))
    assert (answered["revision_number"], port["revision_number"]) == (2, 3)
    with pytest.raises(ApiError, match="Constrained to 2, but current revision is 3"):
        lab.network.update_port(port, {"description": "again"}, lab.now, if_match=revision(2))


@pytest.mark.parametrize(
    ("there", "back"), [("stop", "start"), ("suspend", "resume"), ("shelve", "unshelve"), ("stop", "hard reboot")]
)
def test_a_port_goes_down_with_its_instance_and_each_change_raises_the_revision(lab, there, back):
    """So a conditional write can be refused although no person wrote."""
    server = lab.active()
    (port,) = lab.network.ports_of(server.id)
    up = port["revision_number"]
    lab.done(server, there)
    down = port["revision_number"]
    assert (port["status"], down > up) == ("DOWN", True)
    lab.done(server, back)
    assert (port["status"], port["revision_number"] > down) == ("ACTIVE", True)


@pytest.mark.parametrize("match", [None, "", "*", '"some-etag"'])
def test_a_match_that_names_no_revision_is_no_condition(lab, port, match):
    assert lab.network.update_port(port, {"name": "x"}, lab.now, if_match=match)["name"] == "x"


def test_a_quoted_match_is_a_condition_too(lab, port):
    with pytest.raises(ApiError, match="Constrained to 7"):
        lab.network.update_port(port, {"name": "x"}, lab.now, if_match='"revision_number=7"')


@pytest.mark.parametrize("match", ["revision_number=", "revision_number=one", "revision_number=1.0"])
def test_a_match_that_is_no_number_is_a_bad_request(lab, port, match):
    with pytest.raises(ApiError, match="must be in the format of revision_number=<int>") as error:
        lab.network.update_port(port, {"name": "x"}, lab.now, if_match=match)
    assert (error.value.status, port["name"]) == (400, "run-1")


def test_two_revisions_to_match_are_a_bad_request(lab, port):
    with pytest.raises(ApiError, match="Multiple revision_number etags are not supported"):
        lab.network.update_port(port, {"name": "x"}, lab.now, if_match="revision_number=1, revision_number=2")


def test_a_port_is_deleted_only_at_the_revision_named(lab, port):
    with pytest.raises(ApiError) as error:
        lab.network.delete_port(port, if_match=revision(9))
    assert error.value.status == 412
    lab.network.delete_port(port, if_match=revision(1))
    assert lab.network.ports == {}


def test_a_port_is_writable_in_every_state_of_its_instance(lab):
    """Where the lease lives: Nova refuses metadata in BUILD, ERROR and SHELVED, Neutron refuses the port in none."""
    server = lab.create()
    assert lab.network.ports_of(server.id) == [], "Nova makes its port when the instance has a host"
    lab.step()
    (port,) = lab.network.ports_of(server.id)
    seen = set()

    def write() -> None:
        seen.add(server.status)
        before = port["revision_number"]
        lab.network.update_port(port, {"description": server.status}, lab.now, if_match=revision(before))
        assert port["revision_number"] == before + 2

    write()
    lab.settle()
    for action in ("stop", "start", "suspend", "resume", "pause", "unpause", "shelve"):
        lab.done(server, action)
        write()
    assert seen == {"BUILD", "ACTIVE", "SHUTOFF", "SUSPENDED", "PAUSED", "SHELVED_OFFLOADED"}


def test_novas_own_binding_raises_the_revision_and_keeps_what_is_written(lab):
    server = lab.active()
    (port,) = lab.network.ports_of(server.id)
    lab.network.update_port(port, {"description": "lease"}, lab.now)
    before = port["revision_number"]
    lab.done(server, "shelve")
    assert (port["status"], port["description"]) == ("DOWN", "lease")
    lab.done(server, "unshelve")
    assert (port["status"], port["description"]) == ("ACTIVE", "lease")
    assert port["revision_number"] > before + 1
    assert lab.network.ports_of(server.id) == [port]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"colour": "red"}, 400, r"Unrecognized attribute\(s\) 'colour'"),
        ({"made_by_nova": True}, 400, "Unrecognized attribute"),
        ({"status": "ACTIVE"}, 400, "Cannot update read-only attribute status"),
        ({"revision_number": 1}, 400, "Cannot update read-only attribute revision_number"),
        ({"tags": ["a"]}, 400, "Cannot update read-only attribute tags"),
        ({"description": "x" * 256}, 400, "exceeds maximum length of 255"),
        ({"description": None}, 400, "is not a valid string"),
        ({"security_groups": ["no-such-group"]}, 404, "Security group no-such-group does not exist"),
        ({"mac_address": "fa:16:3e:00:00:01"}, 403, "is disallowed by policy"),
        ({"binding:host_id": "node-1"}, 403, "is disallowed by policy"),
        ({"fixed_ips": []}, 403, "is disallowed by policy"),
    ],
)
def test_what_cannot_be_written_changes_nothing(lab, port, changes, status, words):
    before = copy.deepcopy(port)
    with pytest.raises(ApiError, match=words) as error:
        lab.network.update_port(port, {"name": "y", **changes}, lab.now, caller=ADA)
    assert error.value.status == status
    assert port == before


def test_a_description_of_255_characters_is_kept_whole(lab, port):
    assert lab.network.update_port(port, {"description": "é" * 255}, lab.now)["description"] == "é" * 255


def test_the_staff_write_what_others_cannot(lab, port):
    lab.network.update_port(port, {"binding:host_id": "node-1"}, lab.now, caller=STAFF)
    assert port["binding:host_id"] == "node-1"


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({}, 400),
        ({"network_id": "no-such-network"}, 404),
        ({"network_id": "INNER", "colour": "red"}, 400),
        ({"network_id": "INNER", "status": "ACTIVE"}, 400),
        ({"network_id": "INNER", "name": "x" * 256}, 400),
        ({"network_id": "INNER", "project_id": "other"}, 403),
        ({"network_id": "INNER", "security_groups": ["no-such-group"]}, 404),
        ({"network_id": "INNER", "fixed_ips": [{"ip_address": "10.0.0.1"}]}, 400),
        ({"network_id": "OUTER"}, 404),
    ],
)
def test_a_port_that_cannot_be_is_not_made(lab, inner, wish, status):
    names = {"INNER": inner, "OUTER": network_of(lab, external=True)}
    wish = {key: names.get(value, value) if isinstance(value, str) else value for key, value in wish.items()}
    with pytest.raises(ApiError) as error:
        lab.network.create_port(ADA, wish, lab.now)
    assert error.value.status == status
    assert lab.network.ports == {}


def test_an_address_that_is_asked_for_is_given_once(lab, inner):
    wish = {"network_id": inner, "fixed_ips": [{"ip_address": "127.20.3.4"}]}
    assert lab.network.create_port(ADA, wish, lab.now)["fixed_ips"][0]["ip_address"] == "127.20.3.4"
    with pytest.raises(ApiError, match=r"127\.20\.3\.4 already allocated") as error:
        lab.network.create_port(BOB, wish, lab.now)
    assert error.value.status == 409


def test_the_address_of_a_deleted_port_is_the_last_to_be_given_again(lab, inner):
    """Whoever pins a host key by address would meet a stranger at once otherwise; here too, but later."""
    first = lab.network.create_port(ADA, {"network_id": inner}, lab.now)
    lab.network.delete_port(first)
    second = lab.network.create_port(ADA, {"network_id": inner}, lab.now)
    assert second["fixed_ips"] != first["fixed_ips"]


def test_a_network_that_is_full_says_so_and_takes_again_what_is_given_back(lab, inner):
    lab.network.subnets[lab.network.networks[inner]["subnets"][0]]["cidr"] = "127.20.0.0/28"
    ports = [lab.network.create_port(ADA, {"network_id": inner}, lab.now) for _ in range(5)]
    addresses = [one["fixed_ips"][0]["ip_address"] for one in ports]
    assert addresses == [f"127.20.0.{number}" for number in range(10, 15)]
    with pytest.raises(ApiError, match="No more IP addresses available") as error:
        lab.network.create_port(ADA, {"network_id": inner}, lab.now)
    assert error.value.status == 409
    lab.network.delete_port(ports[2])
    again = lab.network.create_port(ADA, {"network_id": inner}, lab.now)
    assert again["fixed_ips"][0]["ip_address"] == addresses[2]


def test_a_project_has_no_more_ports_than_its_quota(lab, inner):
    lab.network.quota["port"] = 1
    lab.network.create_port(ADA, {"network_id": inner}, lab.now)
    with pytest.raises(ApiError, match=r"Quota exceeded for resources: \['port'\]") as error:
        lab.network.create_port(BOB, {"network_id": inner}, lab.now)
    assert error.value.status == 409
    lab.network.create_port(EVE, {"network_id": inner}, lab.now)


def test_a_bound_port_is_refused_to_another_instance(lab, port):
    lab.network.bind_port(port["id"], "one", lab.now)
    with pytest.raises(ApiError) as error:
        lab.network.bind_port(port["id"], "two", lab.now)
    assert (error.value.status, error.value.message) == (409, f"Port {port['id']} is still in use.")
    assert port["device_id"] == "one"


def test_the_port_of_an_instance_can_be_deleted_from_under_it(lab):
    """As Neutron does it: only routers' ports are protected. Who looks for a lease there must be ready to find no port."""
    server = lab.active()
    (port,) = lab.network.ports_of(server.id)
    lab.network.delete_port(port)
    assert lab.network.addresses_of(server.id) == []
    lab.done(server, "shelve", "unshelve")
    assert server.status == "ACTIVE"


def test_a_deleted_instance_takes_its_own_port_with_it_and_leaves_a_persons(lab, port):
    server = lab.active(networks=[{"port": port["id"]}])
    other = lab.active(name="other")
    lab.delete(server)
    lab.delete(other)
    lab.settle()
    assert list(lab.network.ports) == [port["id"]]
    assert (port["device_id"], port["device_owner"], port["status"]) == ("", "", "DOWN")


def test_nova_puts_no_instance_on_the_external_network(lab):
    with pytest.raises(ApiError, match="not allowed to create an interface on external network") as error:
        lab.create(networks=[{"uuid": network_of(lab, external=True)}])
    assert error.value.status == 403
    assert lab.network.ports == {}


def test_everything_survives_its_own_state(lab, port):
    lab.network.update_port(port, {"description": "lease"}, lab.now)
    state = json.loads(json.dumps(lab.network.to_state()))
    again = NetworkModel(new_id=Counter(), net=99)
    again.from_state(state)
    assert again.to_state() == lab.network.to_state()
    assert again.net == 20
    inner = network_of(lab, external=False)
    assert again.create_port(ADA, {"network_id": inner}, START)["fixed_ips"] != port["fixed_ips"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ada", "bob", "eve"]), st.booleans()), max_size=15))
def test_of_writers_who_read_first_none_overwrites_what_he_has_not_read(turns):
    lab = Lab()
    port = lab.network.create_port(ADA, {"network_id": network_of(lab, external=False)}, lab.now)
    read: dict[str, tuple[int, str]] = {}
    for number, (who, writes) in enumerate(turns):
        if not writes or who not in read:
            read[who] = (port["revision_number"], port["description"])
            continue
        known, seen = read.pop(who)
        if port["description"] == seen:
            lab.network.update_port(port, {"description": f"{who} {number}"}, lab.now, if_match=revision(known))
        else:
            with pytest.raises(ApiError, match="Constrained to"):
                lab.network.update_port(port, {"description": f"{who} {number}"}, lab.now, if_match=revision(known))
