"""The adapter over real HTTP: what it sends and how often, and what it makes of clouds that are ill, odd or old.

What any cloud must do is in tests/contract; here is what only HTTP can do.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cloud_front import Front, fronted
from devcloud_subject import embedded_cloud, eventually
from requests.adapters import HTTPAdapter

from jetrun.cloud.credentials import choose
from jetrun.cloud.interface import LaunchWish
from jetrun.cloud.openstack import OpenStackCloud
from jetrun.devcloud.client import Running
from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, CloudTransient, UsageError
from jetrun.guarantee.power import Action, InstanceId

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DMROBHUlMzXKSpAuMnYNnQ8WnlcYIR5 test"
QUICK = {"profile": "devcloud", "bounds": {"api_timeout_s": 0.5}}
NOBODY = InstanceId("00000000-0000-4000-8000-00000000dead")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with embedded_cloud() as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def _healthy(running: Running) -> Iterator[None]:
    yield
    running.clear_faults()


@contextmanager
def adapter(clouds: Path, name: str, patch: pytest.MonkeyPatch) -> Iterator[OpenStackCloud]:
    environ = {"OS_CLIENT_CONFIG_FILE": str(clouds)}
    for key, value in environ.items():
        patch.setenv(key, value)
    cloud = OpenStackCloud(choose(name, environ))
    try:
        yield cloud
    finally:
        cloud.close()


@pytest.fixture
def through(running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens the adapter behind a front, with changes to its entry of clouds.yaml."""

    @contextmanager
    def opened(**changes: Any) -> Iterator[tuple[OpenStackCloud, Front]]:
        with (
            fronted(running, tmp_path, **changes) as (front, clouds),
            adapter(clouds, "fronted", monkeypatch) as cloud,
        ):
            yield cloud, front

    return opened


@pytest.fixture
def pair(through: Any) -> Iterator[tuple[OpenStackCloud, Front]]:
    with through() as both:
        yield both


def shelved(running: Running, name: str = "box") -> InstanceId:
    return InstanceId(running.do("add", name=name)["id"])


def active(running: Running, cloud: OpenStackCloud, name: str = "box") -> InstanceId:
    instance = shelved(running, name)
    cloud.request(instance, Action.UNSHELVE)
    eventually(lambda: cloud.observe(instance).status == "ACTIVE")
    return instance


def plan_of(cloud: OpenStackCloud, **more: Any) -> Any:
    return cloud.plan_launch(LaunchWish(**{"name": "box", "image": "devcloud-linux", "flavor": "m3.small", **more}))


# --- what is sent, and how often ---


def test_the_first_read_takes_three_requests_and_every_other_one(
    running: Running, pair: tuple[OpenStackCloud, Front]
) -> None:
    """Log in, version, read: no discovery. A run makes some forty calls and has two seconds (A8)."""
    cloud, front = pair
    instance = shelved(running)
    cloud.observe(instance)
    assert front.seen == [
        "POST /identity/v3/auth/tokens",
        "GET /compute/v2.1/",
        f"GET /compute/v2.1/servers/{instance}",
    ]
    port = cloud.lease_port(instance)
    assert port is not None
    front.seen.clear()
    counts: dict[str, int] = {}
    calls: dict[str, Callable[[], Any]] = {
        "identify": cloud.identify,
        "observe": lambda: cloud.observe(instance),
        "read": lambda: cloud.read(instance),
        "actions": lambda: cloud.actions(instance),
        "find by id": lambda: cloud.find_instances(instance),
        "find by name": lambda: cloud.find_instances("box"),
        "list": cloud.list_instances,
        "find_tagged": lambda: cloud.find_tagged("x"),
        "lease_port": lambda: cloud.lease_port(instance),
        "bound_ports": cloud.bound_ports,
        "read_port": lambda: cloud.read_port(port.port_id),
        "addresses": lambda: cloud.addresses(instance),
        "ssh_rule": lambda: cloud.ssh_rule(instance, 22),
        "plan_launch": lambda: plan_of(cloud),
        "first write_port": lambda: cloud.write_port(port, "lease"),
        "request": lambda: cloud.request(instance, Action.UNSHELVE),
    }
    for name, call in calls.items():
        front.seen.clear()
        call()
        counts[name] = len(front.seen)
    assert counts == dict.fromkeys(calls, 1) | {
        "addresses": 2,  # ports, floating IPs
        "ssh_rule": 2,  # ports, groups
        "plan_launch": 3,  # image, flavors, networks
        "first write_port": 2,  # whether Neutron heeds If-Match, once
    }
    assert front.connections == 1, "one connection, kept alive"


def test_nova_is_asked_for_the_same_microversion_every_time(pair: tuple[OpenStackCloud, Front]) -> None:
    cloud, front = pair
    cloud.list_instances()
    cloud.find_instances("box")
    asked = [one.get("openstack-api-version") for one in front.headers if "openstack-api-version" in one]
    assert asked == ["compute 2.84", "compute 2.84"]
    assert all("jetrun/" in one["user-agent"] for one in front.headers)


@pytest.mark.parametrize(("newest", "asked"), [("2.93", "2.84"), ("2.79", "2.79"), ("2.1", "2.1"), ("", "2.1")])
def test_an_older_nova_is_asked_for_what_it_has(through: Any, running: Running, newest: str, asked: str) -> None:
    """Nothing newer than 2.79 is required, and nothing is tried that would be refused (406)."""
    with through() as (cloud, front):
        front.change(r"GET /compute/v2\.1/$", lambda body: {"version": {**body["version"], "version": newest}})
        assert cloud.observe(shelved(running)).status == "SHELVED_OFFLOADED"
        assert front.headers[-1]["openstack-api-version"] == f"compute {asked}"


def test_a_lease_is_written_under_the_revision_that_was_read(
    running: Running, pair: tuple[OpenStackCloud, Front]
) -> None:
    cloud, front = pair
    port = cloud.lease_port(shelved(running))
    assert port is not None
    cloud.write_port(port, "lease")
    assert front.headers[-1]["if-match"] == f"revision_number={port.revision}"


def test_without_conditional_writes_nothing_is_written(running: Running, pair: tuple[OpenStackCloud, Front]) -> None:
    """Neutron without the extension shows revisions, ignores the condition, and lets two runs have one instance."""
    cloud, front = pair
    gone = {"NeutronError": {"type": "ExtensionNotFound", "message": "Extension with alias ...", "detail": ""}}
    front.instead("GET .*/extensions/revision-if-match", 404, gone)
    port = cloud.lease_port(shelved(running))
    assert port is not None
    for _ in range(2):
        with pytest.raises(CloudPermanent) as caught:
            cloud.write_port(port, "lease")
        assert caught.value.code == "no-conditional-writes"
    assert not [one for one in front.seen if one.startswith("PUT")]


def test_every_page_of_a_list_is_read(running: Running, pair: tuple[OpenStackCloud, Front]) -> None:
    """A reaper that saw the first page alone would leave instances up."""
    cloud, front = pair
    names = {"page-1", "page-2", "page-3"}
    for name in names:
        shelved(running, name)
    whole = {one.port_id for one in cloud.bound_ports()}
    for pattern, key in (("GET /network/v2.0/ports", "ports"), ("GET /compute/v2.1/servers/detail", "servers")):

        def one_a_page(body: Any, key: str = key) -> Any:
            return {key: body[key][:1], f"{key}_links": [{"rel": "next", "href": "x"}] if body[key] else []}

        front.change(pattern, one_a_page)
    assert {one.port_id for one in cloud.bound_ports()} == whole
    assert names <= {one.name for one in cloud.list_instances()}


# --- who ---


def application_credential(running: Running, cloud: OpenStackCloud, **more: Any) -> dict[str, str]:
    """A new one of ada's: its id and secret, as clouds.yaml wants them."""
    access = cloud.wire.access()
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{running.url}/identity/v3/users/{access.user_id}/application_credentials",
        method="POST",
        data=json.dumps({"application_credential": {"name": f"c{time.monotonic_ns()}", **more}}).encode(),
        headers={"X-Auth-Token": access.auth_token, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        row = json.loads(answer.read())["application_credential"]
    return {"application_credential_id": row["id"], "application_credential_secret": row["secret"]}


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch, running: Running) -> Iterator[OpenStackCloud]:
    with adapter(running.clouds, "devcloud", monkeypatch) as cloud:
        yield cloud


def credential_entry(secret: dict[str, str]) -> dict[str, Any]:
    """Changes to an entry of clouds.yaml that log in with it."""
    return {"auth_type": "v3applicationcredential", "auth": lambda auth: {"auth_url": auth["auth_url"], **secret}}


def test_an_application_credential_says_until_when(through: Any, running: Running, entry: OpenStackCloud) -> None:
    ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    secret = application_credential(running, entry, expires_at=ends_at.strftime("%Y-%m-%dT%H:%M:%S.%f"))
    with through(**credential_entry(secret)) as (cloud, _):
        me = cloud.identify()
    assert (me.auth_type, me.user_name, me.project_name) == ("applicationcredential", "ada", "lab")
    assert me.credential_expires_at == ends_at


def test_an_application_credential_without_an_end_has_none(
    through: Any, running: Running, entry: OpenStackCloud
) -> None:
    with through(**credential_entry(application_credential(running, entry))) as (cloud, _):
        assert cloud.identify().credential_expires_at is None


def test_a_deleted_application_credential_is_told_from_a_missing_instance(through: Any) -> None:
    """Keystone answers 404; an absence would prove a deletion."""
    secret = {"application_credential_id": "gone", "application_credential_secret": "s"}
    with through(**credential_entry(secret)) as (cloud, _), pytest.raises(CloudPermanent) as caught:
        cloud.observe(NOBODY)
    assert (caught.value.code, caught.value.status) == ("credential-gone", 401)
    assert caught.value.request_id


def test_a_password_that_is_refused_is_in_no_message(through: Any) -> None:
    with (
        through(auth=lambda auth: {**auth, "password": "hunter2"}) as (cloud, _),
        pytest.raises(CloudPermanent) as caught,
    ):
        cloud.identify()
    assert (caught.value.code, caught.value.status) == ("credential-refused", 401)
    assert "hunter2" not in caught.value.render()


def test_a_token_that_ended_early_is_renewed_once(running: Running, pair: tuple[OpenStackCloud, Front]) -> None:
    """Also under a write: what was answered 401 had no effect."""
    cloud, front = pair
    instance = active(running, cloud)
    running.do("expire-tokens")
    front.seen.clear()
    assert cloud.request(instance, Action.STOP).startswith("req-")
    stop = f"POST /compute/v2.1/servers/{instance}/action"
    assert front.seen == [stop, "POST /identity/v3/auth/tokens", stop]


def test_a_lasting_401_is_an_end_and_no_loop(running: Running, pair: tuple[OpenStackCloud, Front]) -> None:
    cloud, front = pair
    instance = shelved(running)
    cloud.observe(instance)
    front.instead("GET .*/servers/", 401, {"error": {"code": 401, "message": "no"}})
    front.seen.clear()
    with pytest.raises(CloudPermanent) as caught:
        cloud.observe(instance)
    assert caught.value.status == 401
    assert len(front.seen) == 3


@pytest.mark.parametrize("off_s", [-90, -3, 0, 3, 90])
def test_the_clocks_are_compared_by_a_fresh_answer(
    pair: tuple[OpenStackCloud, Front], running: Running, off_s: int
) -> None:
    cloud, _ = pair
    cloud.identify()
    running.do("skew", seconds=off_s)
    try:
        assert cloud.identify().clock_skew_s == pytest.approx(off_s, abs=1.0)
    finally:
        running.do("skew", seconds=0)


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 20 Nov 2026 12:00:00 -0000x", "0"])
def test_a_date_that_is_none_is_no_skew_and_no_failure(pair: tuple[OpenStackCloud, Front], date: str) -> None:
    cloud, front = pair
    version = {"version": {"id": "v2.1", "version": "2.90", "min_version": "2.1"}}
    front.instead(r"GET /compute/v2\.1/$", 200, version, Date=date)
    assert cloud.identify().clock_skew_s == 0.0


def test_a_slow_answer_is_no_skew(pair: tuple[OpenStackCloud, Front], running: Running) -> None:
    """The Date is from the middle of the call, as far as anybody knows."""
    cloud, _ = pair
    cloud.identify()
    running.add_fault("slow", on="nova.version", seconds=1.5)
    assert abs(cloud.identify().clock_skew_s) < 1.6


# --- failures of the connection ---


def test_a_cloud_that_never_answers_is_given_up_in_time(through: Any, running: Running) -> None:
    """openstacksdk would wait for ever (PEERS.md 5.d), and keystoneauth would send a POST again after a read time-out."""
    with through(jetrun=QUICK) as (cloud, front):
        instance = active(running, cloud)
        front.never_answer("servers/")
        for act, kind in (
            (lambda: cloud.observe(instance), CloudTransient),
            (lambda: cloud.request(instance, Action.STOP), CloudAmbiguous),
        ):
            front.seen.clear()
            began = time.monotonic()
            with pytest.raises(CloudError) as caught:
                act()
            assert type(caught.value) is kind
            assert 0.4 < time.monotonic() - began < 3
            assert len(front.seen) == 1, "sent once"


def test_a_login_that_never_answers_is_given_up_in_time(through: Any) -> None:
    with through(jetrun=QUICK) as (cloud, front):
        front.never_answer("auth/tokens")
        began = time.monotonic()
        with pytest.raises(CloudTransient):
            cloud.request(NOBODY, Action.STOP)
        assert time.monotonic() - began < 3


def test_a_write_to_a_cloud_that_is_gone_was_never_sent(through: Any, running: Running) -> None:
    """Connection refused: harmless, also while an older failure is being handled."""
    with through() as (cloud, front):
        instance = shelved(running)
        cloud.observe(instance)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            cloud.wire._endpoints["compute"] = f"http://127.0.0.1:{unused.getsockname()[1]}/compute/v2.1"
            with pytest.raises(CloudTransient) as caught:
                cloud.request(instance, Action.UNSHELVE)
        assert (caught.value.code, caught.value.status) == ("cloud-not-answering", None)
        assert not [one for one in front.seen if one.startswith("POST /compute")]


def test_a_lost_write_is_ambiguous_while_a_refused_read_is_being_handled(through: Any, running: Running) -> None:
    """The refused connection of the read stands in the chain of the write's error."""
    with through() as (cloud, _):
        instance = active(running, cloud)
        compute = cloud.wire.endpoint("compute")
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            cloud.wire._endpoints["compute"] = f"http://127.0.0.1:{unused.getsockname()[1]}"
            try:
                cloud.observe(instance)
            except CloudTransient:
                cloud.wire._endpoints["compute"] = compute
                running.add_fault("lost-reply", on="nova.stop")
                with pytest.raises(CloudAmbiguous):
                    cloud.request(instance, Action.STOP)


def test_a_kept_connection_that_the_cloud_closed_is_not_used_again_blindly(running: Running, through: Any) -> None:
    """Whatever requests makes of it, a write is never sent twice."""
    with through() as (cloud, front):
        instance = active(running, cloud)
        assert all(
            one.max_retries.total == 0
            for one in cloud.wire.session.session.adapters.values()
            if isinstance(one, HTTPAdapter)
        )
        running.add_fault("close", on="nova.stop")
        before = len(cloud.actions(instance))
        front.seen.clear()
        with pytest.raises(CloudError):
            cloud.request(instance, Action.STOP)
        assert len([one for one in front.seen if one.startswith("POST")]) == 1
        assert len(cloud.actions(instance)) == before


def test_an_ill_keystone_is_worth_waiting_for(through: Any, running: Running) -> None:
    """Also with a login that needs discovery, which keystoneauth reports as a wrong address."""
    for kind in ("password", "v3password"):
        with through(auth_type=kind, auth=lambda auth: {k: v for k, v in auth.items() if k != "project_name"}) as (
            cloud,
            front,
        ):
            front.instead("identity", 503, b"<html>")
            with pytest.raises(CloudTransient):
                cloud.identify()


# --- odd answers ---


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"", b"[]", b'{"server": null}', b"{}", b'{"server": {}}'])
def test_an_answer_that_makes_no_sense_is_no_observation(
    running: Running, pair: tuple[OpenStackCloud, Front], body: bytes
) -> None:
    """A hotel's portal answers 200 to everything; an empty server is not one that is down."""
    cloud, front = pair
    instance = shelved(running)
    cloud.observe(instance)
    front.instead(f"GET .*/servers/{instance}$", 200, body)
    with pytest.raises(CloudTransient):
        cloud.read(instance)
    try:
        read = cloud.observe(instance)
    except CloudTransient:
        return
    assert (read.status, read.vm_state) == ("UNKNOWN", None)


@pytest.mark.parametrize("body", [b"<html>404</html>", b"404 Not Found", b'{"message": "no Route matched"}', b""])
def test_a_proxys_404_is_no_absence(running: Running, pair: tuple[OpenStackCloud, Front], body: bytes) -> None:
    """It would prove a deletion, or that a port is free to be forgotten."""
    cloud, front = pair
    instance = shelved(running)
    cloud.observe(instance)
    front.instead("(GET|DELETE) .*/(servers|ports|floatingips)/", 404, body)
    for call in (
        lambda: cloud.observe(instance),
        lambda: cloud.read_port("p"),
        lambda: cloud.delete_port("p"),
        lambda: cloud.delete_floating_ip("f"),
    ):
        with pytest.raises(CloudTransient) as caught:
            call()
        assert caught.value.code == "not-the-service"


def test_an_accepted_create_without_an_id_may_have_made_one(
    running: Running, pair: tuple[OpenStackCloud, Front]
) -> None:
    cloud, front = pair
    plan = plan_of(cloud)
    port = cloud.create_port(plan, name="odd", description="")
    front.change("POST /compute/v2.1/servers$", lambda _: {})
    with pytest.raises(CloudAmbiguous):
        cloud.create(plan, port.port_id)
    bound = cloud.read_port(port.port_id)
    assert bound is not None
    assert bound.device_id


def test_an_accepted_request_without_a_request_id_is_looked_up(
    running: Running, pair: tuple[OpenStackCloud, Front]
) -> None:
    """Only the action log can tell what came of it."""
    cloud, front = pair
    instance = active(running, cloud)
    front.instead(f"POST .*/servers/{instance}/action", 202, b"")
    with pytest.raises(CloudAmbiguous):
        cloud.request(instance, Action.STOP)


def test_a_redirect_is_not_followed(running: Running, pair: tuple[OpenStackCloud, Front]) -> None:
    """requests would make a GET of a POST."""
    cloud, front = pair
    instance = active(running, cloud)
    front.instead(f"POST .*/servers/{instance}/action", 302, b"", Location=front.url)
    front.seen.clear()
    with pytest.raises(CloudAmbiguous) as caught:
        cloud.request(instance, Action.STOP)
    assert caught.value.status == 302
    assert len(front.seen) == 1


def test_a_console_that_cannot_be_read_is_a_failed_read(running: Running, pair: tuple[OpenStackCloud, Front]) -> None:
    """It is a POST, and changes nothing; a shelved instance has none (409)."""
    cloud, _ = pair
    instance = active(running, cloud)
    assert isinstance(cloud.console(instance), str)
    running.add_fault("refuse-500", on="nova.os-getConsoleOutput")
    with pytest.raises(CloudTransient):
        cloud.console(instance)
    with pytest.raises(CloudTransient) as caught:
        cloud.console(shelved(running))
    assert caught.value.status == 409


def test_a_cloud_without_neutron_is_said(pair: tuple[OpenStackCloud, Front]) -> None:
    cloud, front = pair

    def without(body: Any) -> Any:
        body["token"]["catalog"] = [one for one in body["token"]["catalog"] if one["type"] != "network"]
        return body

    front.change("POST /identity/v3/auth/tokens", without)
    with pytest.raises(CloudPermanent) as caught:
        cloud.bound_ports()
    assert caught.value.code == "no-such-service"


# --- launching ---


@pytest.mark.parametrize(
    ("wrong", "key", "nearest"),
    [
        ({"image": "devcloud-linus"}, "instance.image", "devcloud-linux"),
        ({"flavor": "m3.smal"}, "instance.flavor", "m3.small"),
        ({"network": "auto_alocated"}, "instance.network", "auto_allocated_network"),
        ({"security_groups": ["defualt"]}, "instance.security_groups", "default"),
    ],
)
def test_a_wrong_name_has_its_key_and_the_nearest_right_one(
    pair: tuple[OpenStackCloud, Front], wrong: dict[str, Any], key: str, nearest: str
) -> None:
    cloud, _ = pair
    with pytest.raises(UsageError) as caught:
        plan_of(cloud, **wrong)
    assert caught.value.code == "unknown-name"
    assert caught.value.what.startswith(f"{key}: ")
    assert nearest in caught.value.what
    assert f'"{nearest}"' in caught.value.next


def test_names_and_ids_lead_to_the_same_plan(pair: tuple[OpenStackCloud, Front]) -> None:
    cloud, _ = pair
    by_name = plan_of(cloud, network="auto", security_groups=["default"])
    by_id = plan_of(
        cloud,
        image=by_name.image_id,
        flavor=by_name.flavor_id,
        network=by_name.network_id,
        security_groups=list(by_name.security_group_ids),
    )
    for field in (
        "image_id",
        "flavor_id",
        "flavor",
        "vcpus",
        "network_id",
        "security_group_ids",
        "external_network_id",
    ):
        assert getattr(by_name, field) == getattr(by_id, field)
    assert len(by_name.security_group_ids) == 1


def test_of_images_with_one_name_the_newest_is_meant(pair: tuple[OpenStackCloud, Front]) -> None:
    """Jetstream2 rebuilds its Featured images every week, under the same names."""
    cloud, front = pair
    rows = [
        {"id": "old", "name": "Featured-Ubuntu24", "status": "active", "created_at": "2026-11-01T00:00:00Z"},
        {"id": "new", "name": "Featured-Ubuntu24", "status": "active", "created_at": "2026-11-15T00:00:00Z"},
        {"id": "soon", "name": "Featured-Ubuntu24", "status": "queued", "created_at": "2026-11-19T00:00:00Z"},
    ]
    front.instead("GET /image/v2/images", 200, {"images": rows})
    assert plan_of(cloud, image="Featured-Ubuntu24").image_id == "new"


def two_networks(body: Any) -> Any:
    first = next(row for row in body["networks"] if not row["router:external"])
    return {"networks": [{**first, "name": "one", "id": "1"}, {**first, "name": "two", "id": "2"}]}


def test_of_several_networks_neutron_is_asked_for_the_projects_own(pair: tuple[OpenStackCloud, Front]) -> None:
    cloud, front = pair
    front.change("GET /network/v2.0/networks", two_networks)
    front.instead("GET /network/v2.0/auto-allocated-topology/", 200, {"auto_allocated_topology": {"id": "own"}})
    assert plan_of(cloud).network_id == "own"
    with pytest.raises(UsageError):
        plan_of(cloud, network="three")


def test_several_networks_and_none_of_ones_own_are_a_question(pair: tuple[OpenStackCloud, Front]) -> None:
    cloud, front = pair
    front.change("GET /network/v2.0/networks", two_networks)
    gone = {"NeutronError": {"type": "HTTPNotFound", "message": "The resource could not be found.", "detail": ""}}
    front.instead("GET /network/v2.0/auto-allocated-topology/", 404, gone)
    with pytest.raises(UsageError) as caught:
        plan_of(cloud)
    assert caught.value.code == "which-network"
    assert "one, two" in caught.value.what


def test_another_key_under_the_same_name_is_refused(pair: tuple[OpenStackCloud, Front]) -> None:
    cloud, _ = pair
    cloud.ensure_keypair("laptop", KEY)
    with pytest.raises(UsageError) as caught:
        cloud.ensure_keypair("laptop", KEY.replace("YIR5", "YIR6"))
    assert caught.value.code == "keypair-differs"


def test_two_runs_may_make_the_key_pair_at_once(pair: tuple[OpenStackCloud, Front]) -> None:
    """The slower one is refused (409), and looks at what the quicker one made."""
    cloud, front = pair
    cloud.ensure_keypair("shared", KEY)
    front.instead("GET .*/os-keypairs/", 404, {"itemNotFound": {"code": 404, "message": "no"}}, times=1)
    front.seen.clear()
    cloud.ensure_keypair("shared", KEY)
    assert [one.split()[0] for one in front.seen] == ["GET", "POST", "GET"]


def test_no_thread_is_left_behind(pair: tuple[OpenStackCloud, Front], running: Running) -> None:
    """No threads in the driver."""
    cloud, _ = pair
    before = threading.active_count()
    cloud.identify()
    cloud.observe(shelved(running))
    # The front has one for its one connection.
    assert threading.active_count() <= before + 1
