"""The cloud interface over the pure models, in virtual time, with the same faults as over HTTP.

Over 300 lines because one Protocol, one class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from jetrun.cloud import parse
from jetrun.cloud.classify import by_status
from jetrun.cloud.interface import Address, AddressKind, Identity, Instance, LaunchPlan, LaunchWish, LeasePort, SshRule
from jetrun.devcloud.api import Call
from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import ApiError
from jetrun.devcloud.http_nova import view
from jetrun.devcloud.state import CloudState
from jetrun.errors import CloudAmbiguous, CloudTransient
from jetrun.guarantee.power import ABSENT, Action, InstanceAction, InstanceId, Observation, RequestId
from jetrun.testing.clock import SimClock

T = TypeVar("T")

HANG_S = 60.0
"""How long a call without an answer takes: the caller's own time limit."""


class SimCloud:
    """One user's view of a modelled cloud. Satisfies ``cloud.interface.Cloud``.

    Attributes:
        calls: the points of every call, in order, for placing a fault or a crash at each.
        before_call: told before each call; a test may raise from it.
    """

    def __init__(self, state: CloudState, clock: SimClock, *, user: str = "ada") -> None:
        self.state = state
        self._clock = clock
        identity = state.identity
        row = next(one for one in identity.users.values() if one["name"] == user)
        project = next(iter(identity.grants[row["id"]]))
        self.caller = Caller(
            user_id=row["id"],
            user_name=user,
            project_id=project,
            project_name=identity.projects[project]["name"],
            roles=frozenset(identity.grants[row["id"]][project]),
            token="",
            expires_at=clock.now(),
        )
        self.calls: list[str] = []
        self.before_call: Callable[[str], None] = lambda point: None
        self._number = 0

    def _call(self, point: str, act: Callable[[str], T], *, writes: bool = False) -> T:
        """One call with whatever the faults do to it."""
        self.before_call(point)
        self.calls.append(point)
        outcome = self.state.faults.outcome(point)
        self._clock.sleep(outcome.delay_s)
        nova = self.state.nova
        nova.advance(self._clock.now())
        if outcome.close:
            self._clock.sleep(HANG_S if outcome.hang_s else 0.0)
            kind = CloudAmbiguous if writes else CloudTransient
            raise kind(what=f"{point}: no answer")
        if outcome.refuse is not None:
            raise by_status(outcome.refuse, writes=writes)(what=f"{point}: {outcome.refuse}", status=outcome.refuse)
        self._number += 1
        request_id = f"req-{self._number:08}-{point}"
        try:
            result = act(request_id)
        except ApiError as error:
            raise by_status(error.status, writes=writes)(
                what=f"{point}: {error.status} {error.message}", status=error.status, request_id=request_id
            ) from error
        finally:
            nova.advance(self._clock.now())
            self._run_effects()
        if outcome.lose or outcome.fail_after is not None:
            kind = CloudAmbiguous if writes else CloudTransient
            raise kind(what=f"{point}: the answer was lost", status=outcome.fail_after)
        self._stale = outcome.stale
        return result

    def _run_effects(self) -> None:
        """Hosts are not simulated: ``really_on`` of the model is what runs."""
        self.state.nova.effects.clear()

    # --- who ---

    def identify(self) -> Identity:
        """Who we are."""
        return self._call("keystone.auth", lambda _: self._identity())

    def _identity(self) -> Identity:
        return Identity(
            cloud="sim",
            user_id=self.caller.user_id,
            user_name=self.caller.user_name,
            project_id=self.caller.project_id,
            project_name=self.caller.project_name,
            auth_type="password",
            credential_expires_at=None,
            clock_skew_s=0.0,
        )

    # --- instances ---

    def _view(self, key: str, *, stale: bool = False) -> dict[str, Any]:
        server = self.state.nova.find(self.caller, key)
        call = Call(
            cloud=self.state, now=self._clock.now(), request_id="", base="", who=self.caller, microversion=(2, 90)
        )
        call.stale = stale
        return view(call, server)

    def _list(self, point: str, wanted: Callable[[Instance], bool]) -> list[Instance]:
        at = self._clock.now()

        def act(_: str) -> list[Instance]:
            rows = [self._view(one.id) for one in self.state.nova.list(self.caller)]
            return [one for one in (parse.instance(row, at) for row in rows) if wanted(one)]

        return self._call(point, act)

    def find_instances(self, name_or_id: str) -> list[Instance]:
        """By id or exact name."""
        return self._list("nova.list", lambda one: name_or_id in (one.id, one.name))

    def list_instances(self) -> list[Instance]:
        """All of the project."""
        return self._list("nova.list", lambda _: True)

    def find_tagged(self, tag: str) -> list[Instance]:
        """By tag."""
        return self._list("nova.list", lambda one: tag in one.tags)

    def read(self, instance: InstanceId) -> Instance:
        """A fresh read."""
        at = self._clock.now()
        return self._call("nova.show", lambda _: parse.instance(self._view(instance), at))

    def observe(self, instance: InstanceId) -> Observation:
        """A fresh observation."""
        at = self._clock.now()
        stale = any(fault.name == "stale-read" for fault in self.state.faults.all())

        def act(_: str) -> Observation:
            try:
                fresh = parse.observation(self._view(instance), at)
                old = parse.observation(self._view(instance, stale=True), at) if stale else fresh
            except ApiError as error:
                if error.status == 404:
                    return Observation(at=at, status=ABSENT)
                raise
            self._old = old
            return fresh

        read = self._call("nova.show", act)
        return self._old if self._stale and read.status != ABSENT else read

    def actions(self, instance: InstanceId) -> list[InstanceAction]:
        """The action log, newest first."""

        def act(_: str) -> list[InstanceAction]:
            rows = self.state.nova.find(self.caller, instance, deleted=True).actions
            return [parse.action({**row, "events": None}) for row in reversed(rows)]

        return self._call("nova.actions", act)

    def action(self, instance: InstanceId, request: RequestId) -> InstanceAction:
        """One entry."""

        def act(_: str) -> InstanceAction:
            rows = self.state.nova.find(self.caller, instance, deleted=True).actions
            return parse.action(next(row for row in rows if row["request_id"] == request))

        return self._call("nova.action", act)

    def request(self, instance: InstanceId, action: Action) -> RequestId:
        """Send one action."""

        def act(request_id: str) -> RequestId:
            nova, now = self.state.nova, self._clock.now()
            if action is Action.DELETE:
                nova.delete(self.caller, instance, request_id=request_id, now=now)
            else:
                nova.act(self.caller, instance, action.value, request_id=request_id, now=now)
            return RequestId(request_id)

        return self._call(f"nova.{action.value}", act, writes=True)

    def write_metadata(self, instance: InstanceId, items: Mapping[str, str]) -> None:
        """Merge metadata."""

        def act(_: str) -> None:
            server = self.state.nova.find(self.caller, instance)
            self.state.nova.check_writable(server, "update metadata")
            server.metadata |= items

        self._call("nova.metadata_update", act, writes=True)

    def add_tag(self, instance: InstanceId, tag: str) -> None:
        """Put a tag."""

        def act(_: str) -> None:
            server = self.state.nova.find(self.caller, instance)
            self.state.nova.check_writable(server, "update tag")
            server.tags.append(tag)

        self._call("nova.tag_update", act, writes=True)

    def console(self, instance: InstanceId) -> str:
        """Nothing is written there."""
        return self._call("nova.os-getConsoleOutput", lambda _: self.state.nova.find(self.caller, instance).name and "")

    # --- ports ---

    def _ports(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        network = self.state.network
        return self._call(
            "neutron.port_list", lambda _: [row for row in network.visible(self.caller, network.ports) if wanted(row)]
        )

    def lease_port(self, instance: InstanceId) -> LeasePort | None:
        """The port with the smallest id."""
        rows = self._ports(lambda row: row["device_id"] == instance)
        return parse.port(min(rows, key=lambda row: str(row["id"]))) if rows else None

    def bound_ports(self) -> list[LeasePort]:
        """All bound ports."""
        return [parse.port(row) for row in self._ports(lambda row: bool(row["device_id"]))]

    def read_port(self, port_id: str) -> LeasePort | None:
        """One port."""
        network = self.state.network

        def act(_: str) -> LeasePort | None:
            row = network.ports.get(port_id)
            return parse.port(row) if row is not None else None

        return self._call("neutron.port_show", act)

    def write_port(self, port: LeasePort, description: str) -> LeasePort:
        """A conditional write."""
        network, now = self.state.network, self._clock.now()

        def act(_: str) -> LeasePort:
            row = network.get(self.caller, network.ports, "Port", port.port_id)
            unheeded = self.state.faults.take("neutron.port_update", "condition-unheeded")
            match = f"revision_number={port.revision}" if unheeded is None else None
            return parse.port(network.update_port(row, {"description": description}, now, if_match=match))

        return self._call("neutron.port_update", act, writes=True)

    def find_ports(self, name: str) -> list[LeasePort]:
        """By name."""
        return [parse.port(row) for row in self._ports(lambda row: row["name"] == name)]

    def create_port(self, plan: LaunchPlan, *, name: str, description: str) -> LeasePort:
        """A port of our own."""
        wish = {"network_id": plan.network_id, "name": name, "description": description}
        network, now = self.state.network, self._clock.now()
        return self._call(
            "neutron.port_create", lambda _: parse.port(network.create_port(self.caller, wish, now)), writes=True
        )

    def delete_port(self, port_id: str) -> None:
        """Delete a port."""
        network = self.state.network

        def act(_: str) -> None:
            if port_id in network.ports:
                network.delete_port(network.ports[port_id])

        self._call("neutron.port_delete", act, writes=True)

    # --- launching ---

    def plan_launch(self, wish: LaunchWish) -> LaunchPlan:
        """Everything has the name that the seed gave it."""

        def act(_: str) -> LaunchPlan:
            image = next(row for row in self.state.images.images.values() if row["name"] == wish.image)
            flavor = next(row for row in self.state.nova.flavors.values() if row["name"] == wish.flavor)
            networks = self.state.network.networks.values()
            return LaunchPlan(
                wish=wish,
                image_id=image["id"],
                flavor_id=flavor["id"],
                flavor=flavor["name"],
                vcpus=flavor["vcpus"],
                network_id=next(row["id"] for row in networks if not row["router:external"]),
                security_group_ids=(),
                external_network_id=next(row["id"] for row in networks if row["router:external"]),
            )

        return self._call("nova.flavor_list", act)

    def ensure_keypair(self, name: str, public_key: str) -> None:
        """Make the key pair."""
        pairs = self.state.nova.keypairs.setdefault(self.caller.user_id, {})
        self._call("nova.keypair_show", lambda _: pairs.setdefault(name, {"name": name, "public_key": public_key}))

    def create(self, plan: LaunchPlan, port_id: str) -> tuple[InstanceId, RequestId]:
        """Create on a port."""
        wish = plan.wish
        body = {
            "name": wish.name,
            "imageRef": plan.image_id,
            "flavorRef": plan.flavor_id,
            "networks": [{"port": port_id}],
            "metadata": dict(wish.metadata),
            "tags": list(wish.tags),
            "key_name": wish.key_name,
        }

        def act(request_id: str) -> tuple[InstanceId, RequestId]:
            server = self.state.nova.create(self.caller, body, request_id=request_id, now=self._clock.now())
            return InstanceId(server.id), RequestId(request_id)

        return self._call("nova.create", act, writes=True)

    # --- addresses ---

    def addresses(self, instance: InstanceId) -> list[Address]:
        """Floating first."""
        rows = self._ports(lambda row: row["device_id"] == instance)
        found = [
            Address(ip=ip, kind=AddressKind.FLOATING, version=4, port_id=row["id"])
            for row in rows
            for _, ip in self.find_floating_ips(row["id"])
        ]
        fixed = [
            Address(ip=one["ip_address"], kind=AddressKind.FIXED, version=4, port_id=row["id"])
            for row in rows
            for one in row["fixed_ips"]
        ]
        return found + fixed

    def attach_floating_ip(self, port_id: str, external_network_id: str) -> tuple[str, str]:
        """A floating IP."""
        wish = {"floating_network_id": external_network_id, "port_id": port_id}
        network, now = self.state.network, self._clock.now()

        def act(_: str) -> tuple[str, str]:
            row = network.create_floating(self.caller, wish, now)
            return str(row["id"]), str(row["floating_ip_address"])

        return self._call("neutron.floatingip_create", act, writes=True)

    def find_floating_ips(self, port_id: str) -> list[tuple[str, str]]:
        """Of a port."""
        floating = self.state.network.floating
        return self._call(
            "neutron.floatingip_list",
            lambda _: [
                (row["id"], row["floating_ip_address"]) for row in floating.values() if row["port_id"] == port_id
            ],
        )

    def delete_floating_ip(self, floating_ip_id: str) -> None:
        """Delete it."""
        floating = self.state.network.floating
        self._call("neutron.floatingip_delete", lambda _: floating.pop(floating_ip_id, None), writes=True)

    def ssh_rule(self, instance: InstanceId, port: int) -> SshRule:
        """SSH is let in."""
        del instance, port
        return self._call("neutron.security_group_list", lambda _: SshRule(allowed=True, groups=("default",)))

    def close(self) -> None:
        """Nothing to close."""

    _stale = False
    _old: Observation = Observation(at=datetime.min, status=ABSENT)  # noqa: DTZ901 - replaced before it is used
