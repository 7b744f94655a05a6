"""The model refuses with the very status and words of a real Nova 26.2 (lab notes, "HTTP errors")."""

from __future__ import annotations

import pytest
from model_lab import ADA, BOB, EVE, STAFF, Lab

from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.rules import ALLOWED
from jetrun.devcloud.server_record import ServerRecord


def refused(lab: Lab, server: ServerRecord, action: str, caller=ADA) -> tuple[int, str, str]:
    """Status, kind and words, with the id written I as in the notes; and nothing has changed."""
    before = server.to_dict()
    with pytest.raises(ApiError) as caught:
        lab.act(server, action, caller)
    assert server.to_dict() == before
    return caught.value.status, caught.value.kind, caught.value.message.replace(f"nstance {server.id}", "nstance I")


IN_STATE = [
    ("stop", ["stop"], "Cannot 'stop' instance I while it is in vm_state stopped"),
    ("start", [], "Cannot 'start' instance I while it is in vm_state active"),
    ("stop", ["suspend"], "Cannot 'stop' instance I while it is in vm_state suspended"),
    ("start", ["suspend"], "Cannot 'start' instance I while it is in vm_state suspended"),
    ("suspend", ["suspend"], "Cannot 'suspend' instance I while it is in vm_state suspended"),
    ("resume", [], "Cannot 'resume' instance I while it is in vm_state active"),
    ("resume", ["stop"], "Cannot 'resume' instance I while it is in vm_state stopped"),
    ("unshelve", [], "Cannot 'unshelve' instance I while it is in vm_state active"),
    ("unshelve", ["stop"], "Cannot 'unshelve' instance I while it is in vm_state stopped"),
    ("reboot", ["stop"], "Cannot 'reboot' instance I while it is in vm_state stopped"),
    ("shelve", ["shelve"], "Cannot 'shelve' instance I while it is in vm_state shelved_offloaded"),
    ("stop", ["shelve"], "Instance I is not ready"),
    ("start", ["shelve"], "Instance I is not ready"),
    ("unpause", [], "Cannot 'unpause' instance I while it is in vm_state active"),
]


@pytest.mark.parametrize(("action", "before", "words"), IN_STATE)
def test_an_action_in_the_wrong_state_is_refused_in_novas_words(lab: Lab, action, before, words):
    server = lab.done(lab.active(), *before)
    assert refused(lab, server, action) == (409, "conflictingRequest", words)


IN_TASK = [
    ("stop", "stop", [], "Cannot 'stop' instance I while it is in task_state powering-off"),
    ("start", "stop", [], "Cannot 'start' instance I while it is in vm_state active"),
    ("stop", "start", ["stop"], "Cannot 'stop' instance I while it is in vm_state stopped"),
    ("start", "start", ["stop"], "Cannot 'start' instance I while it is in task_state powering-on"),
    ("stop", "shelve", [], "Cannot 'stop' instance I while it is in task_state shelving"),
    ("shelve", "stop", [], "Cannot 'shelve' instance I while it is in task_state powering-off"),
    ("unshelve", "unshelve", ["shelve"], "Cannot 'unshelve' instance I while it is in task_state unshelving"),
]


@pytest.mark.parametrize(("action", "running", "before", "words"), IN_TASK)
def test_an_action_while_a_task_runs_is_refused_in_novas_words(lab: Lab, action, running, before, words):
    server = lab.done(lab.active(), *before)
    lab.act(server, running)
    assert refused(lab, server, action) == (409, "conflictingRequest", words)


def test_stop_while_deleting_names_the_task(lab: Lab):
    server = lab.active()
    lab.delete(server)
    words = "Cannot 'stop' instance I while it is in task_state deleting"
    assert refused(lab, server, "stop") == (409, "conflictingRequest", words)


@pytest.mark.parametrize("action", ["stop", "start", "shelve"])
def test_shelved_with_its_host_is_refused_by_its_state(action):
    lab = Lab(offload_time=-1)
    server = lab.done(lab.active(), "shelve")
    words = f"Cannot '{action}' instance I while it is in vm_state shelved"
    assert refused(lab, server, action) == (409, "conflictingRequest", words)


def test_of_several_starts_at_once_one_is_accepted(lab: Lab):
    server = lab.done(lab.active(), "stop")
    accepted = lab.act(server, "start")
    for caller in (ADA, BOB):
        assert refused(lab, server, "start", caller)[0] == 409
    lab.settle()
    assert [row["request_id"] for row in server.actions if row["action"] == "start"] == [accepted]


def test_an_error_instance_that_never_had_a_host_is_not_ready(lab: Lab):
    lab.faults.add("build-error")
    server = lab.active()
    assert server.status == "ERROR"
    assert refused(lab, server, "stop") == (409, "conflictingRequest", "Instance I is not ready")
    assert refused(lab, server, "shelve")[2] == "Cannot 'shelve' instance I while it is in vm_state error"


def test_nothing_but_a_delete_is_accepted_while_it_is_built(lab: Lab):
    server = lab.create()
    for action in ALLOWED:
        if not action.startswith("update") and action != "createImage":
            assert refused(lab, server, action, STAFF)[0] == 409, action


def test_a_member_cannot_offload(lab: Lab):
    words = "Policy doesn't allow os_compute_api:os-shelve:shelve_offload to be performed."
    assert refused(lab, lab.active(), "shelveOffload") == (403, "forbidden", words)


def test_a_locked_instance_refuses_its_owner_too(lab: Lab):
    server = lab.active()
    lab.lock(ADA, server.id, "do not touch")
    assert refused(lab, server, "stop") == (409, "conflictingRequest", "Instance I is locked")
    with pytest.raises(ApiError, match="is locked"):
        lab.delete(server)
    assert (server.locked_by, server.locked_reason) == ("owner", "do not touch")
    lab.unlock(BOB, server.id)
    lab.done(server, "stop")
    assert server.status == "SHUTOFF"


@pytest.mark.parametrize("locker", [ADA, STAFF])
def test_a_lock_is_not_in_an_administrators_way(lab: Lab, locker):
    server = lab.active()
    lab.lock(locker, server.id, None)
    lab.done(server, "stop", caller=STAFF)
    assert server.status == "SHUTOFF"


def test_an_owner_cannot_unlock_what_the_administrator_locked(lab: Lab):
    server = lab.active()
    lab.lock(STAFF, server.id, None)
    with pytest.raises(ApiError) as caught:
        lab.unlock(ADA, server.id)
    assert caught.value.status == 403
    assert "unlock:unlock_override" in caught.value.message


@pytest.mark.parametrize(
    ("actions", "state"), [(["shelve"], "shelved_offloaded"), ([], "building")], ids=["shelved", "building"]
)
@pytest.mark.parametrize("what", ["update metadata", "update tag"])
def test_metadata_and_tags_cannot_be_written(lab: Lab, actions, state, what):
    server = lab.done(lab.active(), *actions) if actions else lab.create()
    with pytest.raises(ApiError) as caught:
        lab.nova.check_writable(server, what)
    assert caught.value.status == 409
    assert caught.value.message == f"Cannot '{what}' instance {server.id} while it is in vm_state {state}"


def test_metadata_can_be_written_while_a_task_runs(lab: Lab):
    server = lab.active()
    lab.act(server, "stop")
    lab.nova.check_writable(server, "update metadata")


def test_a_create_beyond_the_quota_is_refused_with_the_figures(lab: Lab):
    lab.nova.quota = {"instances": 10, "cores": 3, "ram": 51200}
    lab.active()
    with pytest.raises(ApiError) as caught:
        lab.create()
    assert (caught.value.status, caught.value.kind) == (403, "forbidden")
    assert caught.value.message == "Quota exceeded for cores: Requested 2, but already used 2 of 3 cores"


def test_an_unshelve_beyond_the_quota_is_refused_and_changes_nothing(lab: Lab):
    server = lab.done(lab.active(), "shelve")
    lab.nova.quota["instances"] = 0
    assert refused(lab, server, "unshelve")[0] == 403


def test_another_projects_instance_is_not_there(lab: Lab):
    server = lab.active()
    assert refused(lab, server, "stop", EVE) == (404, "itemNotFound", "Instance I could not be found.")
    assert lab.nova.list(EVE) == []
    assert lab.nova.list(BOB) == [server]


def test_a_deleted_instance_is_not_there(lab: Lab):
    server = lab.active()
    lab.delete(server)
    lab.settle()
    assert refused(lab, server, "stop") == (404, "itemNotFound", "Instance I could not be found.")


def test_a_member_cannot_list_all_projects(lab: Lab):
    with pytest.raises(ApiError) as caught:
        lab.nova.list(ADA, all_projects=True)
    assert caught.value.status == 403


BAD = [
    ({"flavorRef": "nope"}, 400, "Flavor nope could not be found"),
    ({"imageRef": "nope"}, 400, "Can not find requested image"),
    ({"key_name": "nope"}, 400, "Invalid key_name"),
    ({"networks": [{"port": "nope"}]}, 400, "could not be found"),
    ({"networks": [{"uuid": "nope"}]}, 400, "could not be found"),
    ({"security_groups": [{"name": "nope"}]}, 400, "Unable to find security_group"),
]


@pytest.mark.parametrize(("more", "status", "words"), BAD)
def test_a_create_that_names_what_is_not_there_leaves_nothing_behind(lab: Lab, more, status, words):
    ports = dict(lab.network.ports)
    with pytest.raises(ApiError, match=words) as caught:
        lab.create(**more)
    assert (caught.value.status, caught.value.kind) == (status, "badRequest")
    assert lab.nova.servers == {}
    assert lab.network.ports == ports
