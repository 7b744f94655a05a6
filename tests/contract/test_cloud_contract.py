"""What the engine may rely on of any cloud: the same for the adapter over HTTP and for the simulation.

A simulation that is kinder than the adapter hides a fault of the engine; one that is harsher finds what is not there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from cloud_subjects import PUBLIC_KEY, SUBJECTS, Subject

from jetrun.cloud.interface import AddressKind, LaunchPlan, LaunchWish
from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, CloudTransient
from jetrun.guarantee.power import ABSENT, Action, Disposition, InstanceId, RequestId, is_down

NOBODY = InstanceId("00000000-0000-4000-8000-00000000dead")
_names = itertools.count(1)


@pytest.fixture(scope="module", params=SUBJECTS)
def whole(request: pytest.FixtureRequest) -> Iterator[Subject]:
    with SUBJECTS[request.param]() as subject:
        yield subject


@pytest.fixture
def subject(whole: Subject) -> Iterator[Subject]:
    yield whole
    whole.clear()


@pytest.fixture
def name() -> str:
    return f"box-{next(_names)}"


@pytest.fixture
def shelved(subject: Subject, name: str) -> InstanceId:
    return subject.add(name)


@pytest.fixture
def active(subject: Subject, shelved: InstanceId) -> InstanceId:
    subject.cloud.request(shelved, Action.UNSHELVE)
    subject.until(shelved, "ACTIVE")
    return shelved


def wish(name: str, **more: object) -> LaunchWish:
    return LaunchWish(name=name, image="devcloud-linux", flavor="m3.small", **more)  # type: ignore[arg-type]


# --- reading ---


def test_who_we_are_is_the_user_and_the_project(subject: Subject) -> None:
    me, other = subject.cloud.identify(), subject.stranger.identify()
    assert (me.user_name, me.project_name, other.user_name) == ("ada", "lab", "eve")
    assert me.project_id != other.project_id
    assert abs(me.clock_skew_s) < 2.0
    assert me.credential_expires_at is None


def test_an_instance_is_found_by_its_id_and_by_its_exact_name(subject: Subject, shelved: InstanceId, name: str) -> None:
    subject.add(name + "x")
    assert [one.id for one in subject.cloud.find_instances(shelved)] == [shelved]
    assert [one.id for one in subject.cloud.find_instances(name)] == [shelved]
    assert subject.cloud.find_instances(name[:-1] + "?") == []
    assert subject.cloud.find_instances(NOBODY) == []


@pytest.mark.parametrize(
    "hostile",
    [
        "-rf",
        "a b",
        "a.b*c",
        "^a$",
        "(a|b)",
        "a\\b",
        "a'b\"c",
        "a&name=b",
        "ä ö",
        "$HOME",
        "a/b",
        "%41",
        "[a",
        "a" * 250,
    ],
)
def test_a_hostile_name_is_only_a_name(subject: Subject, hostile: str) -> None:
    """Nova's filter is a regular expression in a database, inside a URL (A7)."""
    made = subject.add(hostile)
    subject.add("other" + hostile[:200])
    assert [one.id for one in subject.cloud.find_instances(hostile)] == [made]


def test_two_of_one_name_are_both_found(subject: Subject, name: str) -> None:
    """The caller refuses to choose."""
    both = {subject.add(name), subject.add(name)}
    assert {one.id for one in subject.cloud.find_instances(name)} == both


def test_a_read_shows_what_the_engine_asks_for(subject: Subject, shelved: InstanceId, name: str) -> None:
    one = subject.cloud.read(shelved)
    assert (one.id, one.name, one.flavor, one.vcpus) == (shelved, name, "m3.small", 2)
    assert (one.observation.status, one.observation.vm_state) == ("SHELVED_OFFLOADED", "shelved_offloaded")
    assert one.observation.task_state is None
    assert one.observation.has_host is False
    me = subject.cloud.identify()
    assert (one.project_id, one.user_id) == (me.project_id, me.user_id)
    assert is_down(one.observation, Disposition.SHELVE)


def test_what_is_not_there_is_absent_for_observe_and_an_error_for_read(subject: Subject) -> None:
    """The proof of a deletion is an observation."""
    assert subject.cloud.observe(NOBODY).status == ABSENT
    with pytest.raises(CloudPermanent) as caught:
        subject.cloud.read(NOBODY)
    assert caught.value.status == 404


def test_another_projects_instance_is_not_there(subject: Subject, name: str) -> None:
    theirs = subject.add(name, user="eve")
    assert subject.cloud.observe(theirs).status == ABSENT
    assert subject.cloud.find_instances(name) == []
    assert theirs not in [one.id for one in subject.cloud.list_instances()]
    assert [one.id for one in subject.stranger.find_instances(name)] == [theirs]


# --- requests ---


def test_a_request_is_in_the_action_log_under_the_id_that_it_returned(subject: Subject, shelved: InstanceId) -> None:
    """What the receipt, and the question of whose start it was, stand on."""
    before = subject.cloud.actions(shelved)
    request = subject.cloud.request(shelved, Action.UNSHELVE)
    subject.until(shelved, "ACTIVE")
    log = subject.cloud.actions(shelved)
    assert [one.request_id for one in log] == [request, *(one.request_id for one in before)], "newest first"
    assert log[0].action == "unshelve"
    assert log[0].finished is None, "a list tells no events"
    entry = subject.cloud.action(shelved, request)
    assert (entry.finished, entry.failed) == (True, False)
    me = subject.cloud.identify()
    assert (entry.user_id, entry.project_id) == (me.user_id, me.project_id)


@pytest.mark.parametrize(
    ("there", "down", "back"),
    [(Action.STOP, "SHUTOFF", Action.START), (Action.SHELVE, "SHELVED_OFFLOADED", Action.UNSHELVE)],
)
def test_an_instance_goes_down_and_comes_back(
    subject: Subject, active: InstanceId, there: Action, down: str, back: Action
) -> None:
    subject.cloud.request(active, there)
    subject.until(active, down)
    subject.cloud.request(active, back)
    subject.until(active, "ACTIVE")
    assert [one.action for one in subject.cloud.actions(active)][:2] == [back.value, there.value]


def test_a_deleted_instance_is_absent_and_its_log_names_the_request(subject: Subject, active: InstanceId) -> None:
    """Invariant 3: 404 twice by an id that was read before, with our request in its log."""
    request = subject.cloud.request(active, Action.DELETE)
    subject.until(active, ABSENT)
    assert request in [one.request_id for one in subject.cloud.actions(active)]
    with pytest.raises(CloudPermanent) as caught:
        subject.cloud.request(active, Action.DELETE)
    assert caught.value.status == 404


def test_a_conflict_had_no_effect_and_may_work_later(subject: Subject, active: InstanceId) -> None:
    before = subject.cloud.actions(active)
    with pytest.raises(CloudTransient) as caught:
        subject.cloud.request(active, Action.START)
    assert caught.value.status == 409
    assert subject.cloud.actions(active) == before


def test_a_request_about_what_is_not_there_is_refused(subject: Subject) -> None:
    with pytest.raises(CloudPermanent) as caught:
        subject.cloud.request(NOBODY, Action.SHELVE)
    assert caught.value.status == 404


def test_metadata_cannot_be_written_while_shelved(subject: Subject, shelved: InstanceId) -> None:
    """The reason why the lease is on the port."""
    for write in (
        lambda: subject.cloud.write_metadata(shelved, {"a": "b"}),
        lambda: subject.cloud.add_tag(shelved, "jetrun"),
    ):
        with pytest.raises(CloudTransient) as caught:
            write()
        assert caught.value.status == 409


def test_metadata_and_tags_are_written_beside_what_is_there(subject: Subject, active: InstanceId, name: str) -> None:
    subject.cloud.write_metadata(active, {"one": "1"})
    subject.cloud.write_metadata(active, {"two": "2"})
    subject.cloud.add_tag(active, f"tag-{name}")
    read = subject.cloud.read(active)
    assert dict(read.metadata).items() >= {"one": "1", "two": "2"}.items()
    assert [one.id for one in subject.cloud.find_tagged(f"tag-{name}")] == [active]
    assert subject.cloud.find_tagged(f"tag-{name}-not") == []


# --- the lease's port ---


def test_of_two_writers_of_a_lease_one_wins(subject: Subject, shelved: InstanceId) -> None:
    """Invariant 5: everything about whose instance it is stands on this."""
    seen = subject.cloud.lease_port(shelved)
    assert seen is not None
    assert (seen.device_id, seen.description) == (shelved, "")
    mine = subject.cloud.write_port(seen, "mine")
    assert mine.description == "mine"
    assert (mine.revision or 0) > (seen.revision or 0)
    with pytest.raises(CloudPermanent) as caught:
        subject.cloud.write_port(seen, "theirs")
    assert caught.value.status == 412
    now = subject.cloud.read_port(seen.port_id)
    assert now is not None
    assert (now.port_id, now.device_id, now.description) == (mine.port_id, mine.device_id, "mine")
    assert subject.cloud.write_port(now, "").description == ""


def test_the_answer_to_a_write_may_be_old_and_is_no_ground_for_the_next(subject: Subject, shelved: InstanceId) -> None:
    """Neutron raises the revision once more after it answered: a lease is read before each write of it."""
    seen = subject.cloud.lease_port(shelved)
    assert seen is not None
    mine = subject.cloud.write_port(seen, "mine")
    with pytest.raises(CloudPermanent) as caught:
        subject.cloud.write_port(mine, "more")
    assert caught.value.status == 412


def test_a_write_can_be_overwritten_by_one_that_read_as_early(subject: Subject, shelved: InstanceId) -> None:
    """What a real Neutron 21 does within some 60 ms, told 200 to both; here on request. Only a later read tells who stands."""
    seen = subject.cloud.lease_port(shelved)
    assert seen is not None
    subject.cloud.write_port(seen, "mine")
    subject.fault("condition-unheeded")
    assert subject.cloud.write_port(seen, "theirs").description == "theirs"
    now = subject.cloud.read_port(seen.port_id)
    assert now is not None
    assert now.description == "theirs"


def test_the_lease_survives_shelving_and_deleting_does_not_hide_it(subject: Subject, active: InstanceId) -> None:
    port = subject.cloud.lease_port(active)
    assert port is not None
    subject.cloud.write_port(port, "lease")
    subject.cloud.request(active, Action.SHELVE)
    subject.until(active, "SHELVED_OFFLOADED")
    subject.cloud.request(active, Action.UNSHELVE)
    subject.until(active, "ACTIVE")
    again = subject.cloud.lease_port(active)
    assert again is not None
    assert (again.port_id, again.description) == (port.port_id, "lease")
    assert again in subject.cloud.bound_ports()


def test_ports_of_other_projects_are_not_ours_to_reap(subject: Subject, name: str) -> None:
    theirs = subject.add(name, user="eve")
    assert theirs not in {one.device_id for one in subject.cloud.bound_ports()}
    assert theirs in {one.device_id for one in subject.stranger.bound_ports()}


def test_a_port_that_is_not_there_is_none(subject: Subject) -> None:
    assert subject.cloud.read_port(NOBODY) is None
    assert subject.cloud.lease_port(NOBODY) is None
    assert subject.cloud.find_ports("no such port") == []
    subject.cloud.delete_port(NOBODY)
    subject.cloud.delete_floating_ip(NOBODY)


# --- launching ---


def launched(subject: Subject, name: str) -> tuple[LaunchPlan, str, InstanceId, RequestId]:
    wanted = wish(
        name, key_name="devcloud", metadata={"jetrun_run": name}, tags=(f"run-{name}",), user_data="#!/bin/sh\n"
    )
    plan = subject.cloud.plan_launch(wanted)
    port = subject.cloud.create_port(plan, name=name, description="lease")
    assert (port.device_id, port.description) == ("", "lease")
    instance, request = subject.cloud.create(plan, port.port_id)
    subject.until(instance, "ACTIVE")
    return plan, port.port_id, instance, request


def test_a_launch_is_on_the_port_that_was_made_for_it(subject: Subject, name: str) -> None:
    """A port first: a lost reply can never make two."""
    _, port_id, instance, request = launched(subject, name)
    bound = subject.cloud.read_port(port_id)
    assert bound is not None
    assert (bound.device_id, bound.description) == (instance, "lease")
    assert [one.port_id for one in subject.cloud.find_ports(name)] == [port_id]
    assert request in [one.request_id for one in subject.cloud.actions(instance)]
    one = subject.cloud.read(instance)
    assert (one.metadata["jetrun_run"], list(one.tags)) == (name, [f"run-{name}"])
    assert [found.id for found in subject.cloud.find_tagged(f"run-{name}")] == [instance]


def test_a_second_create_on_one_port_is_refused(subject: Subject, name: str) -> None:
    """Invariant 6."""
    plan, port_id, instance, _ = launched(subject, name)
    with pytest.raises(CloudTransient) as caught:
        subject.cloud.create(plan, port_id)
    assert caught.value.status == 409
    assert [one.id for one in subject.cloud.find_instances(name)] == [instance]


def test_a_port_of_ours_outlives_its_instance_and_goes_by_itself(subject: Subject, name: str) -> None:
    _, port_id, instance, _ = launched(subject, name)
    subject.cloud.request(instance, Action.DELETE)
    subject.until(instance, ABSENT)
    left = subject.cloud.read_port(port_id)
    assert left is not None
    assert left.device_id == ""
    subject.cloud.delete_port(port_id)
    assert subject.cloud.read_port(port_id) is None
    subject.cloud.delete_port(port_id)


def test_a_floating_ip_is_found_by_its_port_and_comes_first(subject: Subject, name: str) -> None:
    """Read from Neutron: Nova's own view is stale after one moved."""
    plan, port_id, instance, _ = launched(subject, name)
    assert {one.kind for one in subject.cloud.addresses(instance)} == {AddressKind.FIXED}
    assert plan.external_network_id is not None
    made = subject.cloud.attach_floating_ip(port_id, plan.external_network_id)
    assert subject.cloud.find_floating_ips(port_id) == [made]
    first, *others = subject.cloud.addresses(instance)
    assert (first.ip, first.kind, first.port_id, first.version) == (made[1], AddressKind.FLOATING, port_id, 4)
    assert {one.kind for one in others} == {AddressKind.FIXED}
    subject.cloud.delete_floating_ip(made[0])
    assert subject.cloud.find_floating_ips(port_id) == []
    subject.cloud.delete_floating_ip(made[0])


def test_a_key_pair_is_made_once(subject: Subject, name: str) -> None:
    subject.cloud.ensure_keypair(name, PUBLIC_KEY)
    subject.cloud.ensure_keypair(name, PUBLIC_KEY + "-other-comment")


def test_ssh_is_let_in_by_the_default_group(subject: Subject, active: InstanceId) -> None:
    rule = subject.cloud.ssh_rule(active, 22)
    assert (rule.allowed, list(rule.groups)) == (True, ["default"])


# --- failures ---


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        ("refuse-401", CloudPermanent, 401),
        ("refuse-403", CloudPermanent, 403),
        ("refuse-409", CloudTransient, 409),
        ("refuse-429", CloudTransient, 429),
        ("refuse-500", CloudAmbiguous, 500),
        ("refuse-503", CloudAmbiguous, 503),
        ("apply-then-500", CloudAmbiguous, 500),
        ("apply-then-502", CloudAmbiguous, 502),
        ("apply-then-503", CloudAmbiguous, 503),
        ("apply-then-504", CloudAmbiguous, 504),
        ("lost-reply", CloudAmbiguous, None),
        ("close", CloudAmbiguous, None),
    ],
)
def test_a_failed_request_says_whether_it_may_have_had_an_effect(
    subject: Subject, active: InstanceId, fault: str, kind: type[CloudError], status: int | None
) -> None:
    """Invariant 6; and it is sent once, whatever happens."""
    before = len(subject.cloud.actions(active))
    subject.fault(fault, on="nova.stop", times=2 if fault == "refuse-401" else 1)
    with pytest.raises(CloudError) as caught:
        subject.cloud.request(active, Action.STOP)
    assert (type(caught.value), caught.value.status) == (kind, status)
    took_effect = fault.startswith("apply") or fault == "lost-reply"
    if took_effect:
        subject.until(active, "SHUTOFF")
    assert len(subject.cloud.actions(active)) == before + took_effect


@pytest.mark.parametrize("fault", ["refuse-429", "refuse-500", "refuse-503", "close", "lost-reply", "apply-then-502"])
def test_a_failed_read_is_worth_another_look(subject: Subject, shelved: InstanceId, fault: str) -> None:
    """Never ambiguous, never a state."""
    for read in (subject.cloud.observe, subject.cloud.read):
        subject.fault(fault, on="nova.show")
        with pytest.raises(CloudTransient):
            read(shelved)
        assert subject.cloud.observe(shelved).status == "SHELVED_OFFLOADED"


def test_a_refused_read_is_not_an_absence(subject: Subject, shelved: InstanceId) -> None:
    subject.fault("refuse-403", on="nova.show")
    with pytest.raises(CloudPermanent) as caught:
        subject.cloud.observe(shelved)
    assert caught.value.status == 403


@pytest.mark.parametrize("fault", ["apply-then-500", "lost-reply"])
def test_a_lease_whose_answer_was_lost_can_be_read_back(subject: Subject, shelved: InstanceId, fault: str) -> None:
    seen = subject.cloud.lease_port(shelved)
    assert seen is not None
    subject.fault(fault, on="neutron.port_update")
    with pytest.raises(CloudAmbiguous):
        subject.cloud.write_port(seen, "mine")
    again = subject.cloud.read_port(seen.port_id)
    assert again is not None
    assert again.description == "mine"


@pytest.mark.parametrize("fault", ["apply-then-500", "apply-then-503", "lost-reply"])
def test_a_create_whose_answer_was_lost_is_found_by_its_port(subject: Subject, name: str, fault: str) -> None:
    """Invariant 6: by observing, and never by a second create."""
    plan = subject.cloud.plan_launch(wish(name, tags=(f"run-{name}",)))
    port = subject.cloud.create_port(plan, name=name, description="")
    subject.fault(fault, on="nova.create")
    with pytest.raises(CloudAmbiguous):
        subject.cloud.create(plan, port.port_id)
    (made,) = subject.cloud.find_tagged(f"run-{name}")
    subject.until(made.id, "ACTIVE")
    bound = subject.cloud.read_port(port.port_id)
    assert bound is not None
    assert bound.device_id == made.id


def test_an_unshelve_that_bounced_is_in_the_log(subject: Subject, shelved: InstanceId) -> None:
    """Nothing else tells (openstack-lab notes)."""
    subject.fault("unshelve-bounces")
    request = subject.cloud.request(shelved, Action.UNSHELVE)
    subject.until(shelved, "SHELVED_OFFLOADED")
    entry = subject.cloud.action(shelved, request)
    assert (entry.failed, entry.finished) == (True, True)
    assert subject.cloud.actions(shelved)[0].failed
