"""The cloud interface over OpenStack's APIs. With credentials.py and wire.py the only place that knows openstacksdk.

Every method is one call, or as few as the facts need; every write is sent once.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from jetrun.cloud import launching, parse
from jetrun.cloud.classify import request_id_of
from jetrun.cloud.credentials import CloudChoice
from jetrun.cloud.interface import Address, Identity, Instance, LaunchPlan, LaunchWish, LeasePort, SshRule
from jetrun.cloud.network import Network
from jetrun.cloud.wire import Params, Wire, nothing, segment
from jetrun.errors import CloudError, CloudPermanent
from jetrun.guarantee.power import ABSENT, Action, InstanceAction, InstanceId, Observation, RequestId

T = TypeVar("T")

_BODIES: dict[Action, str] = {
    Action.START: "os-start",
    Action.STOP: "os-stop",
    Action.UNSHELVE: "unshelve",
    Action.SHELVE: "shelve",
    Action.RESUME: "resume",
    Action.UNPAUSE: "unpause",
}
"""The one key of an action's body. Source: Compute API reference, Servers - run an action."""

CONSOLE_LINES = 400
"""How much of the console log is read: cloud-init's host keys are near its end."""

PLAIN_NAME = re.compile(r"[\w -]+")
"""Names that mean themselves in every database's regular expressions, which is what Nova's name filter is."""

LONGEST_VALUE = 255
"""Characters in a metadata value. Source: Compute API reference, Server metadata."""


class OpenStackCloud:
    """One cloud with one credential; satisfies ``cloud.interface.Cloud``."""

    def __init__(self, choice: CloudChoice) -> None:
        self._choice = choice
        self.wire = Wire(choice)
        self._network = Network(self.wire)

    # --- who ---

    def identify(self) -> Identity:
        """Authenticate, and say who we are, until when, and how far the clocks are apart."""
        access = self.wire.access()
        return Identity(
            cloud=self._choice.name,
            user_id=str(access.user_id),
            user_name=str(access.username or ""),
            project_id=str(access.project_id or ""),
            project_name=str(access.project_name or ""),
            auth_type=self._choice.auth_type,
            credential_expires_at=self._credential_end(str(access.user_id), access.application_credential_id),
            clock_skew_s=self.wire.clock_skew_s(),
        )

    def _credential_end(self, user: str, key: str | None) -> datetime | None:
        """When the application credential expires; None where there is none, it never does, or the cloud does not say."""
        if not key:
            return None
        # Keystone's entry in the catalog may or may not end in /v3.
        root = "" if self.wire.endpoint("identity").endswith("/v3") else "/v3"
        try:
            return self.wire.call(
                "GET",
                "identity",
                f"{root}/users/{segment(user)}/application_credentials/{segment(key)}",
                doing="reading the credential",
                pick=lambda answer: parse.moment(answer.json()["application_credential"].get("expires_at")),
            )
        except CloudError:
            # Access rules or the cloud's policy may forbid it; a credential that has really ended fails the next call.
            return None

    # --- instances ---

    def find_instances(self, name_or_id: str) -> list[Instance]:
        """The instance with that id, else those with that exact name."""
        if _is_uuid(name_or_id):
            try:
                return [self.read(InstanceId(name_or_id))]
            except CloudPermanent as error:
                if error.status != 404:
                    raise
        params = [("name", f"^{name_or_id}$")] if PLAIN_NAME.fullmatch(name_or_id) else []
        return [one for one in self._list(params) if one.name == name_or_id]

    def list_instances(self) -> list[Instance]:
        """All instances of this project."""
        return self._list([])

    def find_tagged(self, tag: str) -> list[Instance]:
        """Instances that carry *tag*."""
        return self._list([("tags", tag)])

    def _list(self, params: Params) -> list[Instance]:
        """All pages of a filtered list."""
        at = datetime.now(UTC)
        rows = self.wire.pages("compute", "/servers/detail", "servers", doing="listing instances", params=params)
        return [parse.instance(row, at) for row in rows]

    def read(self, instance: InstanceId) -> Instance:
        """A fresh read of one instance."""
        at = datetime.now(UTC)
        return self._read(instance, lambda answer: parse.instance(answer.json()["server"], at))

    def observe(self, instance: InstanceId) -> Observation:
        """A fresh observation; Nova's own 404 gives status ABSENT."""
        at = datetime.now(UTC)
        try:
            return self._read(instance, lambda answer: parse.observation(answer.json()["server"], at))
        except CloudPermanent as error:
            if error.status == 404:
                return Observation(at=at, status=ABSENT)
            raise

    def _read(self, instance: InstanceId, pick: Callable[[Any], T]) -> T:
        """One GET of one instance, by its id."""
        doing = f"reading instance {instance}"
        return self.wire.call("GET", "compute", _path(instance), doing=doing, pick=pick)

    def actions(self, instance: InstanceId) -> list[InstanceAction]:
        """The action log, newest first."""
        return self.wire.call(
            "GET",
            "compute",
            _path(instance, "/os-instance-actions"),
            doing=f"reading the action log of {instance}",
            pick=lambda answer: [parse.action(row) for row in answer.json()["instanceActions"]],
        )

    def action(self, instance: InstanceId, request: RequestId) -> InstanceAction:
        """One entry with its events."""
        return self.wire.call(
            "GET",
            "compute",
            _path(instance, f"/os-instance-actions/{segment(request)}"),
            doing=f"reading one action of {instance}",
            pick=lambda answer: parse.action(answer.json()["instanceAction"]),
        )

    def request(self, instance: InstanceId, action: Action) -> RequestId:
        """Send one action, once."""
        doing = f"asking to {action.value} instance {instance}"
        if action is Action.DELETE:
            good = (202, 204)
            return self.wire.call("DELETE", "compute", _path(instance), doing=doing, good=good, pick=_request_id)
        body = {_BODIES[action]: None}
        path = _path(instance, "/action")
        return self.wire.call("POST", "compute", path, doing=doing, body=body, good=(202,), pick=_request_id)

    def write_metadata(self, instance: InstanceId, items: Mapping[str, str]) -> None:
        """Merge *items* into the metadata; values are cut to what Nova takes."""
        body = {"metadata": {key: value[:LONGEST_VALUE] for key, value in items.items()}}
        path = _path(instance, "/metadata")
        self.wire.call("POST", "compute", path, doing="writing metadata", body=body, pick=nothing)

    def add_tag(self, instance: InstanceId, tag: str) -> None:
        """Put *tag* on the instance."""
        path = _path(instance, f"/tags/{segment(tag)}")
        self.wire.call("PUT", "compute", path, doing="writing a tag", good=(201, 204), pick=nothing)

    def console(self, instance: InstanceId) -> str:
        """The end of the console log. A POST that changes nothing: whatever fails, it is a read."""
        return self.wire.call(
            "POST",
            "compute",
            _path(instance, "/action"),
            doing="reading the console log",
            body={"os-getConsoleOutput": {"length": CONSOLE_LINES}},
            writes=False,
            pick=lambda answer: str(answer.json().get("output") or ""),
        )

    # --- the lease's port ---

    def lease_port(self, instance: InstanceId) -> LeasePort | None:
        """The instance's port with the smallest id."""
        return min(self._network.lease_ports([("device_id", instance)]), key=lambda one: one.port_id, default=None)

    def bound_ports(self) -> list[LeasePort]:
        """All ports of this project that are bound to an instance."""
        mine = [("project_id", str(self.wire.access().project_id))]
        return [port for port in self._network.lease_ports(mine) if port.device_id]

    def read_port(self, port_id: str) -> LeasePort | None:
        """One port, None for 404."""
        return self._network.port(port_id)

    def write_port(self, port: LeasePort, description: str) -> LeasePort:
        """Write *description* if nobody wrote since *port* was read."""
        return self._network.write_port(port, description)

    def create_port(self, plan: LaunchPlan, *, name: str, description: str) -> LeasePort:
        """Make the port that the launch will use."""
        return self._network.create_port(plan, name=name, description=description)

    def find_ports(self, name: str) -> list[LeasePort]:
        """Ports with that exact name."""
        return self._network.lease_ports([("name", name)])

    def delete_port(self, port_id: str) -> None:
        """Delete a port; 404 is success."""
        self._network.delete_port(port_id)

    # --- launching ---

    def plan_launch(self, wish: LaunchWish) -> LaunchPlan:
        """Resolve every name."""
        return launching.plan(self.wire, wish)

    def ensure_keypair(self, name: str, public_key: str) -> None:
        """A key pair with this public key exists."""
        launching.ensure_keypair(self.wire, name, public_key)

    def create(self, plan: LaunchPlan, port_id: str) -> tuple[InstanceId, RequestId]:
        """Create the instance on *port_id*, once."""
        return launching.create(self.wire, plan, port_id)

    # --- addresses ---

    def addresses(self, instance: InstanceId) -> list[Address]:
        """Addresses by Neutron, floating first."""
        return self._network.addresses(instance)

    def attach_floating_ip(self, port_id: str, external_network_id: str) -> tuple[str, str]:
        """Make a floating IP on *port_id*."""
        return self._network.attach_floating_ip(port_id, external_network_id)

    def find_floating_ips(self, port_id: str) -> list[tuple[str, str]]:
        """Floating IPs of *port_id*."""
        return self._network.floating_ips(port_id)

    def delete_floating_ip(self, floating_ip_id: str) -> None:
        """Delete a floating IP; 404 is success."""
        self._network.delete_floating_ip(floating_ip_id)

    def ssh_rule(self, instance: InstanceId, port: int) -> SshRule:
        """Whether security groups let TCP *port* in."""
        return self._network.ssh_rule(instance, port)

    def close(self) -> None:
        """Close connections."""
        self.wire.close()


def _path(instance: InstanceId, more: str = "") -> str:
    """The path of an instance, and of what is below it."""
    return f"/servers/{segment(instance)}{more}"


def _request_id(answer: Any) -> RequestId:
    """The id under which the action log has the request.

    Raises:
        LookupError: the answer has none; then only the log can tell what came of the request.
    """
    found = request_id_of(answer)
    if not found:
        raise LookupError("x-openstack-request-id")
    return RequestId(found)


def _is_uuid(text: str) -> bool:
    """Whether *text* may be an instance's id, written as Nova writes it."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
