"""openstacksdk, unmodified, drives the embedded Nova over HTTP, and each fault is what it is called."""

from __future__ import annotations

import os
import signal
from email.utils import parsedate_to_datetime
from pathlib import Path

import openstack
import pytest
from devcloud_subject import connection, embedded_cloud, eventually
from keystoneauth1 import exceptions as ksa

from jetrun.devcloud import client
from jetrun.devcloud.client import Running

pytestmark = [
    pytest.mark.slow,
    # openstacksdk warns of calls that it makes itself.
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
V = "2.84"


@pytest.fixture
def cloud(devcloud: Running):
    with connection(devcloud) as opened:
        yield opened


@pytest.fixture
def key(devcloud: Running) -> str:
    return devcloud.truth("my-instance")["id"]


def post(cloud, key: str, action: str, **more):
    return cloud.compute.post(f"/servers/{key}/action", json={action: None}, microversion=V, raise_exc=False, **more)


def show(cloud, key: str) -> dict:
    return cloud.compute.get(f"/servers/{key}", microversion=V).json()["server"]


def test_an_instance_goes_through_its_whole_life(devcloud, cloud):
    image, flavor = cloud.image.find_image("devcloud-linux"), cloud.compute.find_flavor("m3.small")
    network = cloud.network.find_network("auto_allocated_network")
    port = cloud.network.create_port(network_id=network.id)
    server = cloud.compute.create_server(
        name="trial", image_id=image.id, flavor_id=flavor.id, networks=[{"port": port.id}], key_name="devcloud"
    )
    server = cloud.compute.wait_for_server(server, wait=10, interval=0.05)
    assert server.addresses["auto_allocated_network"][0]["addr"] == port.fixed_ips[0]["ip_address"]
    proxy = cloud.compute
    for act, status in (
        (proxy.stop_server, "SHUTOFF"),
        (proxy.start_server, "ACTIVE"),
        (proxy.suspend_server, "SUSPENDED"),
        (proxy.resume_server, "ACTIVE"),
        (proxy.pause_server, "PAUSED"),
        (proxy.unpause_server, "ACTIVE"),
        (proxy.shelve_server, "SHELVED_OFFLOADED"),
        (proxy.unshelve_server, "ACTIVE"),
    ):
        act(server)
        eventually(lambda status=status: proxy.get_server(server.id).status == status)
        assert devcloud.truth("trial")["process"] == (status in {"ACTIVE", "SUSPENDED", "PAUSED"})
    proxy.reboot_server(server, "HARD")
    eventually(lambda: proxy.get_server(server.id).task_state is None)
    done = [row.action for row in proxy.server_actions(server)]
    assert done[::-1] == [
        "create", "stop", "start", "suspend", "resume", "pause", "unpause", "shelve", "unshelve", "reboot",
    ]  # fmt: skip
    proxy.delete_server(server)
    eventually(lambda: proxy.find_server("trial") is None)
    with pytest.raises(openstack.exceptions.NotFoundException, match="could not be found"):
        proxy.get_server(server.id)
    assert cloud.network.get_port(port.id).device_id == ""
    assert not (devcloud.folder / "instances" / server.id).exists()


def test_the_answers_request_id_is_the_actions(cloud, key):
    answer = post(cloud, key, "unshelve")
    assert answer.status_code == 202
    rows = cloud.compute.get(f"/servers/{key}/os-instance-actions", microversion=V).json()["instanceActions"]
    assert rows[0]["request_id"] == answer.headers["x-openstack-request-id"]
    assert rows[0]["action"] == "unshelve"


@pytest.mark.parametrize(("version", "new"), [("2.1", False), (V, True)])
def test_fields_come_with_their_microversion(cloud, key, version, new):
    server = cloud.compute.get(f"/servers/{key}", microversion=version)
    assert server.headers["OpenStack-API-Version"] == f"compute {version}"
    row = server.json()["server"]
    assert ("locked_reason" in row, "tags" in row, "original_name" in row["flavor"]) == (new, new, new)
    (action, *_) = cloud.compute.get(f"/servers/{key}/os-instance-actions", microversion=version).json()[
        "instanceActions"
    ]
    assert ("updated_at" in action) == new
    one = cloud.compute.get(f"/servers/{key}/os-instance-actions/{action['request_id']}", microversion=version).json()
    assert ("events" in one["instanceAction"]) == new


def test_a_microversion_that_it_has_not_is_refused(cloud, key):
    answer = cloud.compute.get(f"/servers/{key}", headers={"OpenStack-API-Version": "compute 2.100"}, raise_exc=False)
    assert answer.status_code == 406


def test_a_short_list_tells_names_and_ids_only(cloud, key):
    (row,) = cloud.compute.get("/servers", microversion=V).json()["servers"]
    assert set(row) == {"id", "name", "links"}
    assert row["id"] == key


@pytest.mark.parametrize(
    ("query", "found"), [("name=my", True), ("name=other", False), ("status=shelved_offloaded", True)]
)
def test_a_list_is_filtered_by_the_server(cloud, query, found):
    assert bool(cloud.compute.get(f"/servers/detail?{query}", microversion=V).json()["servers"]) == found


def test_a_name_filter_that_is_no_pattern_is_refused(cloud):
    assert cloud.compute.get("/servers/detail?name=(", microversion=V, raise_exc=False).status_code == 400


def test_tags_are_searched_by_the_server_and_refused_while_shelved(cloud, key):
    def tagged(query: str) -> bool:
        return bool(cloud.compute.get(f"/servers/detail?{query}", microversion=V).json()["servers"])

    refused = cloud.compute.put(f"/servers/{key}/tags/run-1", microversion=V, raise_exc=False)
    assert refused.status_code == 409
    assert refused.json()["conflictingRequest"]["message"].endswith("while it is in vm_state shelved_offloaded")
    post(cloud, key, "unshelve")
    assert cloud.compute.put(f"/servers/{key}/tags/run-1", microversion=V).status_code == 201
    assert [tagged(q) for q in ("tags=run-1", "tags-any=run-1,x", "tags=run-1,x", "not-tags=run-1", "not-tags-any=x")] == [
        True, True, False, False, True,
    ]  # fmt: skip


def test_the_console_of_an_offloaded_instance_is_not_ready(cloud, key):
    answer = cloud.compute.post(
        f"/servers/{key}/action", json={"os-getConsoleOutput": {}}, microversion=V, raise_exc=False
    )
    assert (answer.status_code, answer.json()["conflictingRequest"]["message"]) == (409, f"Instance {key} is not ready")


def test_the_console_of_a_running_instance_shows_its_host_key(cloud, key):
    post(cloud, key, "unshelve")

    def text() -> str:
        answer = cloud.compute.post(f"/servers/{key}/action", json={"os-getConsoleOutput": {}}, microversion=V)
        return answer.json()["output"]

    eventually(lambda: "-----END SSH HOST KEY KEYS-----" in text())


def test_the_host_is_told_to_the_staff_only(devcloud, cloud, key):
    assert "OS-EXT-SRV-ATTR:host" not in show(cloud, key)
    with connection(devcloud, "devcloud-admin") as staff:
        assert "OS-EXT-SRV-ATTR:host" in show(staff, key)


def test_a_stranger_sees_nothing_and_a_colleague_everything(devcloud, key):
    with connection(devcloud, "devcloud-other") as eve, connection(devcloud, "devcloud-bob") as bob:
        assert list(eve.compute.servers()) == []
        assert post(eve, key, "unshelve").status_code == 404
        assert [row.id for row in bob.compute.servers()] == [key]


@pytest.mark.parametrize("status", [401, 403, 409, 429, 500, 502, 503, 504])
def test_a_refused_action_has_no_effect(devcloud, cloud, key, status):
    devcloud.add_fault(f"refuse-{status}", on="nova.unshelve", times=2)
    assert post(cloud, key, "unshelve").status_code == status
    truth = devcloud.truth(key)
    assert (truth["status"], truth["process"]) == ("SHELVED_OFFLOADED", False)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_an_action_applied_and_then_failed_has_its_effect(devcloud, cloud, key, status):
    devcloud.add_fault(f"apply-then-{status}", on="nova.unshelve")
    assert post(cloud, key, "unshelve").status_code == status
    assert devcloud.truth(key)["status"] == "ACTIVE"


@pytest.mark.parametrize(("name", "status"), [("lost-reply", "ACTIVE"), ("close", "SHELVED_OFFLOADED")])
def test_a_broken_connection_comes_after_the_effect_or_before_it(devcloud, cloud, key, name, status):
    show(cloud, key)
    devcloud.add_fault(name, on="nova.unshelve", times=-1)
    with pytest.raises(ksa.ConnectFailure):
        post(cloud, key, "unshelve")
    assert devcloud.truth(key)["status"] == status


def test_a_call_that_hangs_runs_into_the_clients_own_timeout(devcloud, cloud, key):
    show(cloud, key)
    devcloud.add_fault("hang", on="nova.unshelve", times=-1, seconds=30)
    with pytest.raises(ksa.ConnectTimeout):
        cloud.session.post(f"{devcloud.url}/compute/v2.1/servers/{key}/action", json={"unshelve": None}, timeout=0.3)
    assert devcloud.truth(key)["status"] == "SHELVED_OFFLOADED"


def test_a_stale_read_shows_the_state_before(devcloud, cloud, key):
    post(cloud, key, "unshelve")
    assert show(cloud, key)["status"] == "ACTIVE"
    devcloud.add_fault("stale-read", on="nova.show")
    assert show(cloud, key)["status"] != "ACTIVE"
    assert show(cloud, key)["status"] == "ACTIVE"


def test_an_expired_token_is_renewed_by_the_sdk(devcloud, cloud, key):
    show(cloud, key)
    devcloud.do("expire-tokens")
    assert show(cloud, key)["id"] == key


def test_the_cloud_can_have_another_time(devcloud, cloud, key):
    before = parsedate_to_datetime(cloud.compute.get(f"/servers/{key}").headers["Date"])
    devcloud.do("skew", seconds=300)
    after = parsedate_to_datetime(cloud.compute.get(f"/servers/{key}").headers["Date"])
    assert 299 <= (after - before).total_seconds() <= 310


def test_a_guest_that_switches_itself_off_is_seen_at_the_power_sync(devcloud, cloud, key):
    devcloud.do("timings", timings={"power_sync": 0.4})
    post(cloud, key, "unshelve")
    devcloud.do("poweroff", instance=key)
    eventually(lambda: not devcloud.truth(key)["process"])
    eventually(lambda: show(cloud, key)["status"] == "SHUTOFF")
    newest = devcloud.truth(key)["actions"][-1]
    assert (newest["action"], newest["user_id"]) == ("stop", None)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_cloud_survives_its_own_restart(end):
    with embedded_cloud() as running:
        key = running.truth("my-instance")["id"]
        with connection(running) as cloud:
            post(cloud, key, "unshelve")
            cloud.compute.put(f"/servers/{key}/tags/kept", microversion=V)
        before = running.truth(key)
        os.kill(running.pid, end)
        eventually(lambda: not running.is_alive())
        again = client.start(running.folder, timings="zero")
        after = again.truth(key)
        assert {**after, "process": None} == {**before, "process": None}
        assert after["process"]


def test_the_addresses_survive_a_restart_beside_another_cloud():
    """A second cloud may have taken the addresses meanwhile: its instances and ours must not meet."""
    with embedded_cloud() as first:
        key = first.truth("my-instance")["id"]
        with connection(first) as cloud:
            post(cloud, key, "unshelve")
        client.stop(first)
        with embedded_cloud() as second:
            with connection(second) as cloud:
                post(cloud, second.truth("my-instance")["id"], "unshelve")
            again = client.start(first.folder, timings="zero")
            addresses = [
                {port["fixed_ips"][0]["ip_address"] for port in one.truth()["ports"]} for one in (again, second)
            ]
            assert not addresses[0] & addresses[1]
            eventually(lambda: again.truth(key)["process"])


def test_nothing_inside_outlives_a_killed_cloud():
    with embedded_cloud() as running:
        key = running.truth("my-instance")["id"]
        with connection(running) as cloud:
            post(cloud, key, "unshelve")
        assert processes_about(running.folder)
        os.kill(running.pid, signal.SIGKILL)
        eventually(lambda: not processes_about(running.folder))


def processes_about(folder: Path) -> list[str]:
    """The processes with *folder* in their command line: the cloud, its host process and its instances."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder) in entry.read_bytes().decode(errors="replace"):
                found.append(entry.parent.name)
        except OSError:
            continue
    return found
