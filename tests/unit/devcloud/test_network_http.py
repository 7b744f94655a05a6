"""Neutron's and Glance's HTTP faces: the lease's conditional write, tags, queries, and who is told of new addresses."""

from __future__ import annotations

from typing import Any

import pytest
from model_lab import START
from test_identity_http import Faces


class Doors:
    """Stands where the hosts are, and keeps the addresses on which each instance was last told to listen."""

    def __init__(self) -> None:
        self.told: dict[str, list[str]] = {}

    def console(self, instance: str) -> str:
        return ""

    def set_addresses(self, instance: str, addresses: list[str]) -> None:
        self.told[instance] = addresses


class Neutron(Faces):
    """ada at the network of a cloud with one instance of hers."""

    def __init__(self) -> None:
        super().__init__()
        self.doors = Doors()
        self.cloud.hosts = self.doors
        self.instance = self.cloud.add_shelved("box", START).id
        self.ada = self.login()
        (self.port,) = self.ok("GET", f"ports?device_id={self.instance}")["ports"]

    def at(self, method: str, path: str, body: Any = None, *, token: str = "", **headers: str) -> tuple[int, Any]:
        return self(method, f"/network/v2.0/{path}", body, token=token or self.ada, **headers)

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.at(method, path, body)
        assert status in {200, 201, 204}
        return answer

    def floating(self, **wish: Any) -> dict[str, Any]:
        (outside,) = self.ok("GET", "networks?router:external=True")["networks"]
        return self.ok("POST", "floatingips", {"floatingip": {"floating_network_id": outside["id"], **wish}})[
            "floatingip"
        ]


@pytest.fixture
def neutron() -> Neutron:
    return Neutron()


def test_the_lease_is_written_only_at_the_revision_that_was_read(neutron):
    path, body = f"ports/{neutron.port['id']}", {"port": {"description": "lease of run 1"}}
    match = f"revision_number={neutron.port['revision_number']}"
    status, answer = neutron.at("PUT", path, body, if_match=match)
    assert (status, answer["port"]["description"]) == (200, "lease of run 1")
    assert answer["port"]["revision_number"] == neutron.port["revision_number"] + 1
    status, words = neutron.at("PUT", path, {"port": {"description": "lease of run 2"}}, if_match=match)
    assert status == 412
    assert words.startswith("Constrained to ")
    assert neutron.ok("GET", path)["port"]["description"] == "lease of run 1"


def test_a_new_tag_raises_the_revision_the_same_one_again_does_not(neutron):
    path = f"ports/{neutron.port['id']}"

    def revision() -> int:
        return int(neutron.ok("GET", path)["port"]["revision_number"])

    before = revision()
    assert neutron.at("PUT", f"{path}/tags/jetrun") == (201, None)
    assert neutron.at("PUT", f"{path}/tags/jetrun") == (201, None)
    assert revision() == before + 1
    assert neutron.at("PUT", f"{path}/tags", {"tags": ["a", "b"]}) == (200, {"tags": ["a", "b"]})
    assert neutron.at("GET", f"{path}/tags/a") == (204, None)
    assert neutron.at("DELETE", f"{path}/tags/a") == (204, None)
    assert neutron.at("DELETE", f"{path}/tags/a") == (404, "Tag a could not be found.")
    assert neutron.ok("GET", f"{path}/tags") == {"tags": ["b"]}
    assert revision() == before + 3
    assert neutron.at("DELETE", f"{path}/tags") == (204, None)
    assert neutron.ok("GET", f"{path}/tags") == {"tags": []}


def test_a_shared_network_is_not_tagged_by_those_who_share_it(neutron):
    (inner,) = neutron.ok("GET", "networks?router:external=False")["networks"]
    assert neutron.at("PUT", f"networks/{inner['id']}/tags/mine")[0] == 403
    assert neutron.ok("GET", f"networks/{inner['id']}/tags") == {"tags": []}


def test_ports_are_found_by_instance_name_and_tag(neutron):
    neutron.ok("PUT", f"ports/{neutron.port['id']}/tags/jetrun")
    neutron.ok("POST", "ports", {"port": {"network_id": neutron.port["network_id"], "name": "run-1"}})
    for query, found in (
        (f"device_id={neutron.instance}", [""]),
        ("device_id=no-such-instance", []),
        ("name=run-1", ["run-1"]),
        ("tags=jetrun", [""]),
        ("not-tags=jetrun", ["run-1"]),
        ("device_id=", ["run-1"]),
        ("", ["", "run-1"]),
    ):
        assert [row["name"] for row in neutron.ok("GET", f"ports?{query}")["ports"]] == found
    rows = neutron.ok("GET", "ports?fields=id&fields=name&name=run-1")["ports"]
    assert [set(row) for row in rows] == [{"id", "name"}]


def test_a_wrong_filter_is_refused_and_no_port_is_told(neutron):
    status, words = neutron.at("GET", "ports?device=x")
    assert (status, words) == (400, "['device'] is invalid attribute for filtering")


def test_the_models_own_fields_are_not_told(neutron):
    for row in (neutron.port, neutron.ok("GET", f"ports/{neutron.port['id']}")["port"]):
        assert not {"made_by_nova", "binding:host_id"} & set(row)


@pytest.mark.parametrize("path", ["ports", "floatingips", "security-groups", "security-group-rules"])
@pytest.mark.parametrize("body", [None, {}, [], {"wrong": {}}])
def test_a_body_without_its_object_is_a_bad_request(neutron, path, body):
    status, words = neutron.at("POST", path, body)
    assert status == 400
    assert words.startswith("Unable to find '")


def test_a_stranger_finds_nothing_of_it(neutron):
    eve = neutron.login("eve", "other-lab")
    row = neutron.floating(port_id=neutron.port["id"])
    assert neutron.at("GET", "ports", token=eve)[1] == {"ports": []}
    assert neutron.at("GET", "floatingips", token=eve)[1] == {"floatingips": []}
    port, address = f"ports/{neutron.port['id']}", f"floatingips/{row['id']}"
    for method, path, body in (
        ("GET", port, None),
        ("PUT", port, {"port": {"description": "mine"}}),
        ("PUT", f"{port}/tags/mine", None),
        ("DELETE", port, None),
        ("PUT", address, {"floatingip": {"port_id": None}}),
        ("DELETE", address, None),
    ):
        assert neutron.at(method, path, body, token=eve)[0] == 404
    assert neutron.ok("GET", address)["floatingip"]["port_id"] == neutron.port["id"]


def test_an_instance_listens_where_its_floating_ip_is_and_nowhere_else(neutron):
    fixed = neutron.port["fixed_ips"][0]["ip_address"]
    row = neutron.floating(port_id=neutron.port["id"])
    assert neutron.doors.told[neutron.instance] == [fixed, row["floating_ip_address"]]
    neutron.ok("PUT", f"floatingips/{row['id']}", {"floatingip": {"port_id": None}})
    assert neutron.doors.told[neutron.instance] == [fixed]
    neutron.ok("PUT", f"floatingips/{row['id']}", {"floatingip": {"port_id": neutron.port["id"]}})
    assert neutron.doors.told[neutron.instance] == [fixed, row["floating_ip_address"]]
    neutron.ok("DELETE", f"floatingips/{row['id']}")
    assert neutron.doors.told[neutron.instance] == [fixed]


def test_a_floating_ip_that_moves_is_left_by_the_one_and_taken_by_the_other(neutron):
    other = neutron.cloud.add_shelved("other", START).id
    (port,) = neutron.ok("GET", f"ports?device_id={other}")["ports"]
    row = neutron.floating(port_id=neutron.port["id"])
    neutron.ok("PUT", f"floatingips/{row['id']}", {"floatingip": {"port_id": port["id"]}})
    assert row["floating_ip_address"] not in neutron.doors.told[neutron.instance]
    assert row["floating_ip_address"] in neutron.doors.told[other]


def test_an_instance_whose_port_is_deleted_listens_nowhere(neutron):
    neutron.ok("DELETE", f"ports/{neutron.port['id']}")
    assert neutron.doors.told == {neutron.instance: []}
    assert neutron.at("DELETE", f"ports/{neutron.port['id']}")[0] == 404


def test_what_it_can_do_is_told(neutron):
    aliases = {row["alias"] for row in neutron.ok("GET", "extensions")["extensions"]}
    assert aliases >= {"revision-if-match", "standard-attr-revisions", "standard-attr-tag", "security-group"}
    assert neutron.ok("GET", "extensions/revision-if-match")["extension"]["alias"] == "revision-if-match"
    assert neutron.at("GET", "extensions/trunk")[0] == 404


def test_a_project_has_a_network_without_asking(neutron):
    found = neutron.ok("GET", "auto-allocated-topology/lab")["auto_allocated_topology"]
    assert found["id"] == neutron.port["network_id"]


def test_groups_and_their_rules_are_made_and_deleted(neutron):
    group = neutron.ok("POST", "security-groups", {"security_group": {"name": "web"}})["security_group"]
    wish = {
        "security_group_id": group["id"],
        "direction": "ingress",
        "protocol": "tcp",
        "port_range_min": 80,
        "port_range_max": 80,
    }
    rule = neutron.ok("POST", "security-group-rules", {"security_group_rule": wish})["security_group_rule"]
    rows = neutron.ok("GET", f"security-group-rules?security_group_id={group['id']}&direction=ingress")
    assert [row["id"] for row in rows["security_group_rules"]] == [rule["id"]]
    assert neutron.ok("GET", f"security-group-rules/{rule['id']}")["security_group_rule"]["port_range_min"] == 80
    neutron.ok("DELETE", f"security-group-rules/{rule['id']}")
    assert neutron.at("GET", f"security-group-rules/{rule['id']}")[0] == 404
    neutron.ok("DELETE", f"security-groups/{group['id']}")
    assert {row["name"] for row in neutron.ok("GET", "security-groups")["security_groups"]} == {"default"}


# --- Glance ---


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["three", "two", "box-shelved", "devcloud-linux"]),
        ("name=two", ["two"]),
        ("name=in:two,three", ["three", "two"]),
        ("status=queued", ["three", "two"]),
        ("visibility=public", ["devcloud-linux"]),
        ("visibility=private", ["three", "two", "box-shelved"]),
        ("visibility=all&status=active", ["box-shelved", "devcloud-linux"]),
        ("tag=a", ["two"]),
        ("os_distro=debian", ["three"]),
        ("protected=true", ["three"]),
        ("os_hidden=true", ["hidden"]),
    ],
)
def test_images_are_found_by_what_is_asked_for(neutron, query, found):
    for more in ({"name": "two", "tags": ["a"]}, {"name": "three", "os_distro": "debian", "protected": True},
                 {"name": "hidden", "os_hidden": True}):  # fmt: skip
        assert neutron("POST", "/image/v2/images", more, token=neutron.ada)[0] == 201
    status, answer = neutron("GET", f"/image/v2/images?{query}", token=neutron.ada)
    assert (status, [row["name"] for row in answer["images"]]) == (200, found)


def test_images_come_in_pages_that_hold_each_once(neutron):
    for number in range(30):
        neutron("POST", "/image/v2/images", {"name": f"image {number}"}, token=neutron.ada)
    seen, url, pages = [], "/v2/images?name=in:" + ",".join(f"image {number}" for number in range(30)), 0
    while url:
        _, answer = neutron(
            "GET", "/image" + url.replace("%3A", ":").replace("%2C", ",").replace("+", " "), token=neutron.ada
        )
        seen += [row["name"] for row in answer["images"]]
        url, pages = answer.get("next"), pages + 1
    assert (sorted(seen), pages) == (sorted(f"image {number}" for number in range(30)), 2)


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "marker=nothing"])
def test_a_page_that_cannot_be_is_a_bad_request(neutron, query):
    assert neutron("GET", f"/image/v2/images?{query}", token=neutron.ada)[0] == 400


def test_an_image_gets_its_data_once(neutron):
    _, row = neutron("POST", "/image/v2/images", {"name": "spare"}, token=neutron.ada)
    path = f"/image/v2/images/{row['id']}"
    assert neutron("PUT", f"{path}/file", token=neutron.ada, content_length="1024") == (204, None)
    status, shown = neutron("GET", path, token=neutron.ada)
    assert (status, shown["status"], shown["size"]) == (200, "active", 1024)
    assert neutron("PUT", f"{path}/file", token=neutron.ada, content_length="1")[0] == 409
    assert neutron("DELETE", path, token=neutron.login("eve", "other-lab"))[0] == 404
    assert neutron("DELETE", path, token=neutron.ada) == (204, None)
    assert neutron("GET", path, token=neutron.ada)[0] == 404
