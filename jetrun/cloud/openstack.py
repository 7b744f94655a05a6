"""The cloud interface over OpenStack's APIs. With credentials.py and wire.py the only place that knows openstacksdk.

Every method is one call, or as few as the facts need; every write is sent once.

Over 300 lines because one Protocol, one class.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jetrun.cloud import launching, parse
from jetrun.cloud.classify import translated
from jetrun.cloud.credentials import CloudChoice
from jetrun.cloud.interface import (
    Address,
    AddressKind,
    Identity,
    Instance,
    LaunchPlan,
    LaunchWish,
    LeasePort,
    SshRule,
)
from jetrun.cloud.wire import Wire
from jetrun.errors import CloudError, CloudPermanent
from jetrun.guarantee.power import ABSENT, Action, InstanceAction, InstanceId, Observation, RequestId

_BODIES: dict[Action, tuple[str, Any]] = {
    Action.START: ("os-start", None),
    Action.STOP: ("os-stop", None),
    Action.UNSHELVE: ("unshelve", None),
    Action.SHELVE: ("shelve", None),
    Action.RESUME: ("resume", None),
    Action.UNPAUSE: ("unpause", None),
}
"""Bodies of actions. Source: Compute API reference, Servers - run an action."""

CONSOLE_LINES = 400
"""How much of the console log is read: cloud-init's host keys are near its end."""


class OpenStackCloud:
    """One cloud with one credential; satisfies ``cloud.interface.Cloud``."""

    def __init__(self, choice: CloudChoice) -> None:
        self._choice = choice
        self.wire = Wire(choice)

    # --- who ---

    def identify(self) -> Identity:
        """Authenticate, and say who we are, until when, and how far the clocks are apart."""
        session = self.wire.session
        with translated("logging in", writes=False):
            access = session.auth.get_access(session)
        self.wire.minor()
        ends_at = None
        kind = str(self._choice.region.config.get("auth_type", "password"))
        if "application" in kind:
            ends_at = self._credential_end(str(access.user_id))
        return Identity(
            cloud=self._choice.name,
            user_id=str(access.user_id),
            user_name=str(access.username or ""),
            project_id=str(access.project_id or ""),
            project_name=str(access.project_name or ""),
            auth_type=kind,
            credential_expires_at=ends_at,
            clock_skew_s=self.wire.clock_skew_s,
        )

    def _credential_end(self, user: str) -> datetime | None:
        """When the application credential expires; None where it never does or the cloud does not say."""
        key = self._choice.region.config.get("auth", {}).get("application_credential_id")
        if not key:
            return None
        try:
            answer = self.wire.call(
                "GET",
                "identity",
                f"{self._v3()}/users/{user}/application_credentials/{key}",
                doing="reading the credential",
            )
        except CloudError:
            return None
        return parse.moment(answer.json()["application_credential"].get("expires_at"))

    def _v3(self) -> str:
        """Keystone's catalog entry may or may not end in /v3."""
        return "" if self.wire.endpoint("identity").endswith("/v3") else "/v3"

    # --- instances ---

    def find_instances(self, name_or_id: str) -> list[Instance]:
        """Instances whose id or exact name is *name_or_id*."""
        rows = self._list({"name": f"^{_escaped(name_or_id)}$"})
        if not rows:
            try:
                return [self.read(InstanceId(name_or_id))] if _is_uuid(name_or_id) else []
            except CloudPermanent as error:
                if error.status == 404:
                    return []
                raise
        return [one for one in rows if one.name == name_or_id]

    def list_instances(self) -> list[Instance]:
        """All instances of this project."""
        return self._list({})

    def find_tagged(self, tag: str) -> list[Instance]:
        """Instances that carry *tag*."""
        return self._list({"tags": tag})

    def _list(self, params: dict[str, str]) -> list[Instance]:
        """All pages of a filtered list."""
        found: list[Instance] = []
        marker = ""
        while True:
            at = datetime.now(UTC)
            query = {**params, **({"marker": marker} if marker else {})}
            body = self.wire.call("GET", "compute", "/servers/detail", doing="listing instances", params=query).json()
            rows = body.get("servers", [])
            found += [parse.instance(row, at) for row in rows]
            if not rows or not body.get("servers_links"):
                return found
            marker = rows[-1]["id"]

    def read(self, instance: InstanceId) -> Instance:
        """A fresh read of one instance."""
        at = datetime.now(UTC)
        answer = self.wire.call("GET", "compute", f"/servers/{instance}", doing=f"reading instance {instance}")
        return parse.instance(answer.json()["server"], at)

    def observe(self, instance: InstanceId) -> Observation:
        """A fresh observation; 404 gives status ABSENT."""
        at = datetime.now(UTC)
        try:
            answer = self.wire.call("GET", "compute", f"/servers/{instance}", doing=f"reading instance {instance}")
        except CloudPermanent as error:
            if error.status == 404:
                return Observation(at=at, status=ABSENT)
            raise
        return parse.observation(answer.json()["server"], at)

    def actions(self, instance: InstanceId) -> list[InstanceAction]:
        """The action log, newest first."""
        answer = self.wire.call(
            "GET", "compute", f"/servers/{instance}/os-instance-actions", doing=f"reading the action log of {instance}"
        )
        return [parse.action(row) for row in answer.json()["instanceActions"]]

    def action(self, instance: InstanceId, request: RequestId) -> InstanceAction:
        """One entry with its events."""
        path = f"/servers/{instance}/os-instance-actions/{request}"
        return parse.action(self.wire.call("GET", "compute", path, doing="reading one action").json()["instanceAction"])

    def request(self, instance: InstanceId, action: Action) -> RequestId:
        """Send one action, once."""
        doing = f"asking to {action.value} instance {instance}"
        if action is Action.DELETE:
            answer = self.wire.call("DELETE", "compute", f"/servers/{instance}", doing=doing, good=(202, 204))
        else:
            word, argument = _BODIES[action]
            body = {word: argument}
            answer = self.wire.call(
                "POST", "compute", f"/servers/{instance}/action", doing=doing, body=body, good=(202,)
            )
        return RequestId(
            answer.headers.get("x-openstack-request-id") or answer.headers.get("x-compute-request-id") or ""
        )

    def write_metadata(self, instance: InstanceId, items: Mapping[str, str]) -> None:
        """Merge *items* into the metadata."""
        cut = {key: value[:255] for key, value in items.items()}
        path = f"/servers/{instance}/metadata"
        self.wire.call("POST", "compute", path, doing="writing metadata", body={"metadata": cut})

    def add_tag(self, instance: InstanceId, tag: str) -> None:
        """Put *tag* on the instance."""
        self.wire.call("PUT", "compute", f"/servers/{instance}/tags/{tag}", doing="writing a tag", good=(201, 204))

    def console(self, instance: InstanceId) -> str:
        """The end of the console log. A POST that changes nothing: whatever fails, it is a read."""
        body = {"os-getConsoleOutput": {"length": CONSOLE_LINES}}
        path = f"/servers/{instance}/action"
        answer = self.wire.call("POST", "compute", path, doing="reading the console log", body=body)
        return str(answer.json().get("output") or "")

    # --- the lease's port ---

    def lease_port(self, instance: InstanceId) -> LeasePort | None:
        """The instance's port with the smallest id."""
        rows = self._ports({"device_id": instance})
        return parse.port(min(rows, key=lambda row: str(row["id"]))) if rows else None

    def bound_ports(self) -> list[LeasePort]:
        """All ports of this project that are bound to an instance."""
        return [port for port in map(parse.port, self._ports({})) if port.device_id]

    def read_port(self, port_id: str) -> LeasePort | None:
        """One port, None for 404."""
        try:
            answer = self.wire.call("GET", "network", f"/ports/{port_id}", doing=f"reading port {port_id}")
        except CloudPermanent as error:
            if error.status == 404:
                return None
            raise
        return parse.port(answer.json()["port"])

    def write_port(self, port: LeasePort, description: str) -> LeasePort:
        """Write *description* if nobody wrote since *port* was read."""
        if port.revision is None:
            raise CloudPermanent(
                what="this cloud's Neutron has no conditional writes (revision-if-match)", code="no-conditional-writes"
            )
        answer = self.wire.call(
            "PUT",
            "network",
            f"/ports/{port.port_id}",
            doing="writing the lease",
            body={"port": {"description": description}},
            headers={"If-Match": f"revision_number={port.revision}"},
        )
        return parse.port(answer.json()["port"])

    def _ports(self, params: dict[str, str]) -> list[Any]:
        """Ports by filter."""
        return list(self.wire.call("GET", "network", "/ports", doing="listing ports", params=params).json()["ports"])

    # --- launching ---

    def plan_launch(self, wish: LaunchWish) -> LaunchPlan:
        """Resolve every name."""
        return launching.plan(self.wire, wish)

    def ensure_keypair(self, name: str, public_key: str) -> None:
        """A key pair with this public key exists."""
        launching.ensure_keypair(self.wire, name, public_key)

    def create_port(self, plan: LaunchPlan, *, name: str, description: str) -> LeasePort:
        """Make the port that the launch will use."""
        body: dict[str, Any] = {"network_id": plan.network_id, "name": name, "description": description}
        if plan.security_group_ids:
            body["security_groups"] = list(plan.security_group_ids)
        answer = self.wire.call("POST", "network", "/ports", doing="making a port", body={"port": body}, good=(201,))
        return parse.port(answer.json()["port"])

    def find_ports(self, name: str) -> list[LeasePort]:
        """Ports with that exact name."""
        return [parse.port(row) for row in self._ports({"name": name})]

    def delete_port(self, port_id: str) -> None:
        """Delete a port; 404 is success."""
        self.wire.call("DELETE", "network", f"/ports/{port_id}", doing="deleting a port", good=(204, 404))

    def create(self, plan: LaunchPlan, port_id: str) -> tuple[InstanceId, RequestId]:
        """Create the instance on *port_id*, once."""
        wish = plan.wish
        server: dict[str, Any] = {
            "name": wish.name,
            "imageRef": plan.image_id,
            "flavorRef": plan.flavor_id,
            "networks": [{"port": port_id}],
            "metadata": dict(wish.metadata),
            "min_count": 1,
            "max_count": 1,
        }
        if self.wire.minor() >= 52:
            server["tags"] = list(wish.tags)
        if wish.key_name:
            server["key_name"] = wish.key_name
        if wish.user_data:
            server["user_data"] = base64.b64encode(wish.user_data.encode()).decode()
        answer = self.wire.call(
            "POST", "compute", "/servers", doing="making an instance", body={"server": server}, good=(202,)
        )
        return InstanceId(answer.json()["server"]["id"]), RequestId(answer.headers.get("x-openstack-request-id", ""))

    # --- addresses ---

    def addresses(self, instance: InstanceId) -> list[Address]:
        """Addresses by Neutron, floating first."""
        ports = sorted(self._ports({"device_id": instance}), key=lambda row: str(row["id"]))
        found: list[Address] = []
        for row in ports:
            found += [
                Address(ip=ip, kind=AddressKind.FLOATING, version=4, port_id=row["id"])
                for _, ip in self.find_floating_ips(row["id"])
            ]
        for row in ports:
            for one in row.get("fixed_ips", []):
                version = 6 if ":" in one["ip_address"] else 4
                found.append(Address(ip=one["ip_address"], kind=AddressKind.FIXED, version=version, port_id=row["id"]))
        return found

    def attach_floating_ip(self, port_id: str, external_network_id: str) -> tuple[str, str]:
        """Make a floating IP on *port_id*."""
        body = {"floatingip": {"floating_network_id": external_network_id, "port_id": port_id}}
        answer = self.wire.call("POST", "network", "/floatingips", doing="making a floating IP", body=body, good=(201,))
        row = answer.json()["floatingip"]
        return str(row["id"]), str(row["floating_ip_address"])

    def find_floating_ips(self, port_id: str) -> list[tuple[str, str]]:
        """Floating IPs of *port_id*."""
        params = {"port_id": port_id}
        rows = self.wire.call("GET", "network", "/floatingips", doing="listing floating IPs", params=params).json()[
            "floatingips"
        ]
        return [(str(row["id"]), str(row["floating_ip_address"])) for row in rows]

    def delete_floating_ip(self, floating_ip_id: str) -> None:
        """Delete a floating IP; 404 is success."""
        path = f"/floatingips/{floating_ip_id}"
        self.wire.call("DELETE", "network", path, doing="deleting a floating IP", good=(204, 404))

    def ssh_rule(self, instance: InstanceId, port: int) -> SshRule:
        """Whether security groups let TCP *port* in."""
        return launching.ssh_rule(self.wire, self._ports({"device_id": instance}), port)

    def close(self) -> None:
        """Close connections."""
        self.wire.close()


def _escaped(name: str) -> str:
    """*name* inside Nova's regular expression, which a database understands: only what is special in all of them."""
    return "".join(f"\\{one}" if one in r".^$*+?()[]{}|\\" else one for one in name)


def _is_uuid(text: str) -> bool:
    """Whether *text* may be an instance's id."""
    return len(text) == 36 and text.count("-") == 4
