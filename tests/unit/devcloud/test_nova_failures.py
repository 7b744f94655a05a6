"""The model lets its user down in the ways in which a real Nova 26.2 did (lab notes, "When Nova lets you down")."""

from __future__ import annotations

import pytest
from model_lab import ADA, Lab

from jetrun.devcloud import orders
from jetrun.devcloud.errors import ApiError


def log_of(server, action: str) -> dict:
    return next(row for row in reversed(server.actions) if row["action"] == action)


def test_a_shelve_that_fails_silently_is_active_with_the_guest_off_and_shutoff_much_later(lab: Lab):
    server = lab.active()
    lab.faults.add("shelve-fails-silently")
    request = lab.act(server, "shelve")
    lab.passes(1)
    assert (server.status, server.task_state, server.power_state) == ("ACTIVE", None, 1)
    assert not server.really_on
    assert (log_of(server, "shelve")["request_id"], log_of(server, "shelve")["message"]) == (request, "Error")
    assert [row["name"] for row in lab.images.images.values()] == ["devcloud-linux"]
    lab.passes(lab.nova.timings.power_sync)
    assert (server.status, server.power_state) == ("SHUTOFF", 4)
    assert log_of(server, "stop")["user_id"] is None


def test_a_second_shelve_after_a_silent_failure_succeeds(lab: Lab):
    server = lab.active()
    lab.faults.add("shelve-fails-silently")
    lab.act(server, "shelve")
    lab.passes(1)
    lab.done(server, "shelve")
    assert server.status == "SHELVED_OFFLOADED"


def test_a_bounced_unshelve_is_offloaded_again_and_only_the_log_tells(lab: Lab):
    server = lab.done(lab.active(), "shelve")
    lab.nova.hypervisor_enabled = False
    request = lab.act(server, "unshelve")
    lab.settle()
    assert (server.status, server.task_state, server.fault) == ("SHELVED_OFFLOADED", None, None)
    assert (log_of(server, "unshelve")["request_id"], log_of(server, "unshelve")["message"]) == (request, "Error")
    lab.nova.hypervisor_enabled = True
    lab.done(server, "unshelve")
    assert server.status == "ACTIVE"


def test_a_bounce_set_as_a_fault_strikes_once(lab: Lab):
    server = lab.done(lab.active(), "shelve")
    lab.faults.add("unshelve-bounces")
    assert lab.done(server, "unshelve").status == "SHELVED_OFFLOADED"
    assert lab.done(server, "unshelve").status == "ACTIVE"


def test_an_unshelve_without_its_snapshot_ends_in_error(lab: Lab):
    server = lab.done(lab.active(), "shelve")
    lab.images.delete(server.snapshot_id or "")
    lab.done(server, "unshelve")
    assert server.status == "ERROR"
    assert server.fault is not None
    assert not server.really_on


@pytest.mark.parametrize("action", ["shelve", "stop"])
def test_a_stuck_task_never_ends_until_an_administrator_resets_it(lab: Lab, action):
    server = lab.active()
    lab.faults.add("stuck-task", on=f"nova.{action}")
    lab.act(server, action)
    task = server.task_state
    assert task is not None
    lab.passes(86_400)
    assert (server.status, server.task_state) == ("ACTIVE", task)
    entry = log_of(server, action)
    assert (entry["message"], entry["events"][0]["finish_time"]) == (None, None)
    for other in ("stop", "start", "shelve", "suspend", "pause", "hard reboot"):
        with pytest.raises(ApiError) as caught:
            lab.act(server, other)
        assert caught.value.status == 409
    orders.reset_state(lab.nova, server.id, "active", lab.now)
    assert lab.done(server, "shelve").status == "SHELVED_OFFLOADED"


def test_a_shelve_that_never_offloads_stays_shelved(lab: Lab):
    server = lab.active()
    lab.faults.add("never-offloads")
    lab.done(server, "shelve")
    lab.passes(86_400)
    assert (server.status, server.task_state) == ("SHELVED", None)


@pytest.mark.parametrize("how", ["fault", "no host"])
def test_a_build_that_fails_is_in_error_with_a_fault(lab: Lab, how):
    if how == "fault":
        lab.faults.add("build-error")
    else:
        lab.nova.hypervisor_enabled = False
    server = lab.active()
    assert (server.status, server.power_state) == ("ERROR", 0)
    assert server.fault is not None
    assert server.fault["code"] == 500
    assert "No valid host was found" in server.fault["message"]
    assert not any(effect.kind == "power_on" for effect in lab.nova.effects)


def test_a_create_answered_with_500_becomes_active_all_the_same(lab: Lab):
    lab.faults.add("late-active-after-failed-create")
    with pytest.raises(ApiError) as caught:
        lab.create(name="ghost")
    assert caught.value.status == 500
    lab.settle()
    (server,) = lab.nova.list(ADA)
    assert (server.name, server.status) == ("ghost", "ACTIVE")


def test_a_poweroff_inside_is_seen_only_at_the_next_power_sync(lab: Lab):
    server = lab.active()
    lab.nova.guest_powered_off(server.id, lab.now)
    lab.passes(lab.nova.timings.power_sync - 0.1)
    assert (server.status, server.power_state) == ("ACTIVE", 1)
    lab.passes(0.2)
    assert (server.status, server.vm_state, server.task_state, server.power_state) == ("SHUTOFF", "stopped", None, 4)
    entry = log_of(server, "stop")
    assert (entry["user_id"], entry["project_id"], entry["message"]) == (None, None, None)


@pytest.mark.parametrize("action", ["stop", "shelve"])
def test_a_guest_that_is_off_can_still_be_stopped_and_shelved(lab: Lab, action):
    server = lab.active()
    lab.nova.guest_powered_off(server.id, lab.now)
    lab.done(server, action)
    assert server.status in {"SHUTOFF", "SHELVED_OFFLOADED"}
    assert [row["action"] for row in server.actions].count("stop") == (action == "stop")


@pytest.mark.parametrize("between", [["pause", "unpause"], ["suspend", "resume"]])
def test_the_power_sync_sees_a_dead_guest_whatever_came_between(lab: Lab, between):
    """The sync is periodic: an action in between delays it and never makes it forget."""
    server = lab.active()
    lab.nova.guest_powered_off(server.id, lab.now)
    lab.done(server, *between)
    assert server.status == ("SHUTOFF" if not server.really_on else "ACTIVE")


def test_the_power_sync_sees_a_dead_guest_after_an_administrators_reset(lab: Lab):
    server = lab.active()
    lab.faults.add("stuck-task", on="nova.stop")
    lab.act(server, "stop")
    lab.nova.guest_powered_off(server.id, lab.now)
    lab.settle()
    assert server.status == "ACTIVE"
    orders.reset_state(lab.nova, server.id, "active", lab.now)
    lab.settle()
    assert server.status == "SHUTOFF"


def test_a_second_create_on_a_bound_port_is_refused_and_the_first_lives(lab: Lab):
    network = next(row["id"] for row in lab.network.networks.values() if not row["router:external"])
    port = lab.network.create_port(ADA, {"network_id": network}, lab.now)["id"]
    first = lab.active(networks=[{"port": port}])
    with pytest.raises(ApiError) as caught:
        lab.create(networks=[{"port": port}])
    assert (caught.value.status, caught.value.message) == (409, f"Port {port} is still in use.")
    lab.settle()
    assert first.status == "ACTIVE"
    assert len(lab.nova.servers) == 1


def test_of_two_creates_on_a_port_that_is_not_bound_yet_one_is_built_and_the_other_ends_in_error(lab: Lab):
    """Nova binds on the host: until then both are accepted. The log calls the failed one a success; its fault does not."""
    network = next(row["id"] for row in lab.network.networks.values() if not row["router:external"])
    port = lab.network.create_port(ADA, {"network_id": network}, lab.now)["id"]
    first, second = (lab.create(networks=[{"port": port}]) for _ in range(2))
    assert lab.network.ports[port]["device_id"] == ""
    lab.settle()
    assert (first.status, second.status, second.host) == ("ACTIVE", "ERROR", None)
    assert lab.network.ports[port]["device_id"] == first.id
    assert second.fault is not None
    assert second.fault["message"].endswith("aborted: Failed to allocate the network(s), not rescheduling.")
    assert second.actions[0]["message"] is None


def test_a_port_that_is_deleted_before_its_host_is_found_ends_the_build(lab: Lab):
    network = next(row["id"] for row in lab.network.networks.values() if not row["router:external"])
    port = lab.network.create_port(ADA, {"network_id": network}, lab.now)
    server = lab.create(networks=[{"port": port["id"]}])
    lab.network.delete_port(port)
    lab.settle()
    assert (server.status, server.really_on) == ("ERROR", False)


def test_a_port_made_before_the_instance_survives_its_delete_and_novas_own_does_not(lab: Lab):
    network = next(row["id"] for row in lab.network.networks.values() if not row["router:external"])
    port = lab.network.create_port(ADA, {"network_id": network}, lab.now)["id"]
    for server in (lab.active(networks=[{"port": port}]), lab.active()):
        lab.delete(server)
    lab.settle()
    assert list(lab.network.ports) == [port]
    assert lab.network.ports[port]["device_id"] == ""


def test_a_create_refused_for_its_second_network_leaves_no_port_of_the_first(lab: Lab):
    network = next(row["id"] for row in lab.network.networks.values() if not row["router:external"])
    own = lab.network.create_port(ADA, {"network_id": network}, lab.now)["id"]
    with pytest.raises(ApiError):
        lab.create(networks=[{"port": own}, {"uuid": network}, {"uuid": "nope"}])
    assert list(lab.network.ports) == [own]
    assert lab.network.ports[own]["device_id"] == ""
