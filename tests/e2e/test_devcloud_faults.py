"""The faults of instances, tokens and builds over the real protocols: each is there from the moment it is said to be."""

from __future__ import annotations

import socket
import time

import pytest
from devcloud_subject import connection, eventually

from jetrun.devcloud import client
from jetrun.devcloud.client import Running

pytestmark = [
    pytest.mark.slow,
    # openstacksdk warns of calls that it makes itself.
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]


def unshelve(running: Running) -> tuple[str, str]:
    """Id and address of ``my-instance``, asked to start."""
    truth = running.truth()
    (instance,), (port,) = truth["instances"], truth["ports"]
    running.do("act", user="ada", instance=instance["id"], action="unshelve")
    return instance["id"], port["fixed_ips"][0]["ip_address"]


def greeting(running: Running, address: str) -> bytes | None:
    """What SSH says first: None when the connection is refused, nothing when it is silent."""
    try:
        with socket.create_connection((address, running.ssh_port), timeout=1) as link:
            link.settimeout(0.4)
            return link.recv(64)
    except TimeoutError:
        return b""
    except ConnectionResetError:
        return b"reset"  # caught in the middle of its end
    except ConnectionRefusedError:
        return None


def greets(running: Running, address: str) -> bool:
    return (greeting(running, address) or b"").startswith(b"SSH-2.0-")


def ends(link: socket.socket) -> bool:
    """Whether the other side ends the connection, orderly or not, before the socket's own time is up."""
    try:
        while link.recv(4096):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def test_an_instance_without_faults_greets(devcloud):
    _, address = unshelve(devcloud)
    eventually(lambda: greets(devcloud, address))


def test_a_silent_instance_never_greets_until_the_fault_is_cleared(devcloud):
    devcloud.add_fault("ssh-silent")
    _, address = unshelve(devcloud)
    eventually(lambda: greeting(devcloud, address) is not None)
    assert greeting(devcloud, address) == b""
    devcloud.clear_faults()
    eventually(lambda: greets(devcloud, address))


def test_a_refusing_instance_refuses_until_the_fault_is_cleared(devcloud):
    devcloud.add_fault("ssh-refused")
    key, address = unshelve(devcloud)
    eventually((devcloud.folder / "instances" / key / "console.log").exists)
    until = time.monotonic() + 0.5  # a healthy one greets within 0.1 s
    while time.monotonic() < until:
        assert greeting(devcloud, address) is None
        time.sleep(0.02)
    assert devcloud.truth(key)["process"]
    devcloud.clear_faults()
    eventually(lambda: greets(devcloud, address))


@pytest.mark.parametrize(("name", "answer"), [("ssh-silent", b""), ("ssh-refused", None)])
def test_a_fault_strikes_an_instance_that_runs_already(devcloud, name, answer):
    _, address = unshelve(devcloud)
    eventually(lambda: greets(devcloud, address))
    devcloud.add_fault(name)
    eventually(lambda: greeting(devcloud, address) == answer)


def test_a_fault_of_one_boot_is_over_at_the_next(devcloud):
    devcloud.add_fault("ssh-silent")
    key, address = unshelve(devcloud)
    for action in ("shelve", "unshelve"):
        devcloud.do("act", user="ada", instance=key, action=action)
    eventually(lambda: greets(devcloud, address))


def test_a_dropped_connection_ends_and_the_next_one_is_answered(devcloud):
    _, address = unshelve(devcloud)
    eventually(lambda: greets(devcloud, address))
    with socket.create_connection((address, devcloud.ssh_port), timeout=5) as link:
        assert link.recv(64).startswith(b"SSH-2.0-")
        devcloud.add_fault("ssh-drop", seconds=0)
        assert ends(link)
    assert greets(devcloud, address)


def test_a_drop_that_is_set_for_ever_strikes_once_and_the_cloud_goes_on(devcloud):
    """It turned in a circle, and the whole cloud stood still."""
    key, address = unshelve(devcloud)
    eventually(lambda: greets(devcloud, address))
    devcloud.add_fault("ssh-drop", times=-1, seconds=0)
    assert devcloud.truth(key)["really_on"]


def test_a_guest_that_a_fault_switches_off_is_off_before_nova_knows(devcloud):
    devcloud.do("timings", timings={"power_sync": 60})
    devcloud.add_fault("guest-poweroff", seconds=0)
    key, _ = unshelve(devcloud)
    eventually(lambda: not devcloud.truth(key)["process"])
    assert (devcloud.truth(key)["status"], devcloud.truth(key)["really_on"]) == ("ACTIVE", False)


def test_a_token_that_expires_early_is_renewed_by_the_sdk(devcloud):
    devcloud.add_fault("token-expires-early")
    with connection(devcloud) as cloud:
        assert [row.name for row in cloud.compute.servers()] == ["my-instance"]
        assert [row.name for row in cloud.compute.servers()] == ["my-instance"]


def test_a_create_that_failed_is_active_later(devcloud):
    devcloud.add_fault("late-active-after-failed-create")
    with connection(devcloud) as cloud:
        image, flavor = cloud.image.find_image("devcloud-linux"), cloud.compute.find_flavor("m3.tiny")
        body = {"server": {"name": "ghost", "imageRef": image.id, "flavorRef": flavor.id, "networks": "auto"}}
        assert cloud.compute.post("/servers", json=body, microversion="2.84", raise_exc=False).status_code == 500
    eventually(lambda: devcloud.truth("ghost")["status"] == "ACTIVE")


def test_an_unknown_fault_is_refused_and_not_kept(devcloud):
    with pytest.raises(Exception, match="no fault 'sloth'"):
        devcloud.add_fault("sloth")
    assert devcloud.call("GET", "faults") == []


def test_the_admin_door_is_shut_without_its_token(devcloud):
    stranger = client.Running(
        **{name: getattr(devcloud, name) for name in devcloud.__slots__ if name != "token"}, token="guess"
    )
    with pytest.raises(Exception, match="the token"):
        stranger.truth()
