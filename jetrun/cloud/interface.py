"""What the engine needs of a cloud. Values and a Protocol; no I/O, no vendor import.

Two adapters satisfy it: ``openstack.py`` (openstacksdk) and ``testing/sim_cloud.py`` (the pure model).
Every method raises only :class:`~jetrun.errors.CloudError`'s three kinds:

* reads raise ``CloudTransient`` (no answer, 5xx, 429) or ``CloudPermanent`` (401 after one re-authentication, 403, 404, 400);
* writes also raise ``CloudAmbiguous`` when they may have taken effect: 5xx, time-out, a connection lost after sending.
  409 and 429 on a write are ``CloudTransient``; 412 is ``CloudPermanent`` with ``status == 412``.

``status`` is the HTTP status (None without an answer); ``request_id`` the cloud's, where it gave one.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from jetrun.errors import Secret
from jetrun.guarantee.power import Action, InstanceAction, InstanceId, Observation, RequestId

OPENRC = "openrc:"
"""Begins the name of a cloud that is an openrc file; the rest is its path."""


def command(cloud: str) -> str:
    """The ``openstack`` command for *cloud*, for a person to paste the rest behind."""
    if cloud.startswith(OPENRC):
        return f". {shlex.quote(cloud.removeprefix(OPENRC))} && openstack"
    return "openstack" if cloud == "envvars" else f"openstack --os-cloud {shlex.quote(cloud)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who we are to the cloud.

    Attributes:
        cloud: name of the clouds.yaml entry (``envvars`` for a plain openrc).
        credential_expires_at: of the application credential, None where it has none or is a password.
        clock_skew_s: cloud time minus this machine's, from the API's ``Date`` header; half a second of error.
    """

    cloud: str
    user_id: str
    user_name: str
    project_id: str
    project_name: str
    auth_type: str
    credential_expires_at: datetime | None
    clock_skew_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What a fresh read of one instance says, beyond its state.

    Attributes:
        flavor: its name; vcpus and ram_mib as embedded by Nova (microversion 2.47), None where not shown.
    """

    id: InstanceId
    name: str
    observation: Observation
    user_id: str
    project_id: str
    flavor: str | None
    vcpus: int | None = None
    ram_mib: int | None = None
    image_id: str | None = None
    key_name: str | None = None
    locked_reason: str | None = None
    fault: str | None = None
    launched_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()


class AddressKind(StrEnum):
    """Where an address comes from."""

    FIXED = "fixed"
    FLOATING = "floating"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address of an instance, read from Neutron (Nova's own view is stale after a floating IP moved)."""

    ip: str
    kind: AddressKind
    version: int
    port_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasePort:
    """The instance's Neutron port that holds the lease.

    Attributes:
        revision: for the conditional write; None where Neutron has no such extension.
        description: the text there now; a lease or somebody's own words.
        device_id: the instance it is bound to, empty while it is not.
    """

    port_id: str
    revision: int | None
    description: str
    device_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchWish:
    """What a job says about an instance to launch; names or ids, ``auto`` where the cloud may choose."""

    name: str
    image: str
    flavor: str
    network: str = "auto"
    key_name: str | None = None
    public_key: str | None = None
    security_groups: Sequence[str] = ()
    user_data: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """A :class:`LaunchWish` with every name resolved to an id, nothing made yet."""

    wish: LaunchWish
    image_id: str
    flavor_id: str
    flavor: str
    vcpus: int
    network_id: str
    security_group_ids: Sequence[str]
    external_network_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SshRule:
    """Whether the port's security groups let TCP *port* in.

    Attributes:
        allowed: True, False, or None where it could not be read.
        groups: names of the security groups looked at.
    """

    allowed: bool | None
    groups: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelveKey:
    """A credential for one instance's actions, with all that the instance needs to use it on itself.

    Attributes:
        key_id, secret: of the application credential. name: None for one that the user made.
        auth_url: Keystone's, with /v3. instance_url: the instance's in Nova.
        cacert: certificates in PEM to trust beside the system's own, empty for none.
        expires_at: its end; None for one that has none.
    """

    key_id: str
    secret: Secret
    name: str | None
    auth_url: str
    instance_url: str
    cacert: str
    expires_at: datetime | None


class ShelveKeys(Protocol):
    """Where credentials for self-shelve come from: made for each run, or one that the user made."""

    @property
    def makes(self) -> bool:
        """Whether :meth:`make` leaves something in the cloud that :meth:`remove` must delete."""

    def check(self, instance: InstanceId | None, *, until_at: datetime) -> None:
        """See that :meth:`make` can work, until *until_at*; *instance* is None before a launch.

        Raises:
            UsageError: it cannot, with what to do. CloudError: the cloud does not say.
        """

    def make(self, instance: InstanceId, *, name: str, expires_at: datetime) -> ShelveKey:
        """A credential for *instance* alone.

        Raises:
            CloudError: none was made; an ambiguous one may have been: it has that name.
        """

    def remove(self, instance: InstanceId, *, name: str) -> None:
        """Delete the credential of that name, and its access rules; nothing for the user's own, or where there is none."""


class Cloud(Protocol):
    """One cloud, one credential. See the module docstring for what is raised."""

    def identify(self) -> Identity:
        """Authenticate, and say who we are, until when, and how far the clocks are apart."""

    def find_instances(self, name_or_id: str) -> list[Instance]:
        """Instances of this project whose id or exact name is *name_or_id*; may be empty or more than one."""

    def list_instances(self) -> list[Instance]:
        """All instances of this project; may be empty."""

    def find_tagged(self, tag: str) -> list[Instance]:
        """Instances that carry *tag*, filtered by the server; may be empty."""

    def read(self, instance: InstanceId) -> Instance:
        """A fresh read of one instance. 404 is ``CloudPermanent`` with status 404."""

    def observe(self, instance: InstanceId) -> Observation:
        """A fresh observation; 404 gives status ABSENT instead of an error."""

    def actions(self, instance: InstanceId) -> list[InstanceAction]:
        """The action log, newest first, ``finished`` None. Readable for deleted instances too, where the cloud allows."""

    def action(self, instance: InstanceId, request: RequestId) -> InstanceAction:
        """One entry with ``finished`` told from its events where the cloud shows them."""

    def request(self, instance: InstanceId, action: Action) -> RequestId:
        """Send one action, once. Returns the request id of the 202 (or 204 for delete).

        Effects: starts, or ends, spending. Never repeated by the adapter or its transport.
        """

    def write_metadata(self, instance: InstanceId, items: Mapping[str, str]) -> None:
        """Merge *items* into the instance's metadata. 409 while BUILD, ERROR or shelved."""

    def add_tag(self, instance: InstanceId, tag: str) -> None:
        """Put *tag* on the instance. 409 like metadata."""

    def lease_port(self, instance: InstanceId) -> LeasePort | None:
        """The port of *instance* that holds leases: the one with the smallest id. None where it has no port."""

    def bound_ports(self) -> list[LeasePort]:
        """All ports of this project that are bound to an instance, for the reaper."""

    def read_port(self, port_id: str) -> LeasePort | None:
        """One port by id, None for 404."""

    def write_port(self, port: LeasePort, description: str) -> LeasePort:
        """Write *description* if the port still has *port.revision*; the port as the answer shows it.

        Its revision may be old already (Neutron 21 raises it once more after answering): read before the next write.

        Raises:
            CloudPermanent: status 412, somebody else wrote since.
            CloudAmbiguous: may have been written: read the port and compare the text.
        """

    def plan_launch(self, wish: LaunchWish) -> LaunchPlan:
        """Resolve every name; raises UsageError naming the key and the nearest valid names. Makes nothing."""

    def ensure_keypair(self, name: str, public_key: str) -> None:
        """A key pair *name* with this public key exists; an existing one with another key is a UsageError."""

    def create_port(self, plan: LaunchPlan, *, name: str, description: str) -> LeasePort:
        """Make the port that the launch will use."""

    def find_ports(self, name: str) -> list[LeasePort]:
        """Ports of this project with that exact name."""

    def delete_port(self, port_id: str) -> None:
        """Delete a port that this run made; 404 is success."""

    def create(self, plan: LaunchPlan, port_id: str) -> tuple[InstanceId, RequestId]:
        """Create the instance on *port_id*, once. Effects: starts spending."""

    def addresses(self, instance: InstanceId) -> list[Address]:
        """Addresses by Neutron, floating first; may be empty."""

    def attach_floating_ip(self, port_id: str, external_network_id: str) -> tuple[str, str]:
        """Make a floating IP on *port_id*: (its id, the address). Ambiguous when the answer is lost."""

    def find_floating_ips(self, port_id: str) -> list[tuple[str, str]]:
        """Floating IPs of *port_id*: (id, address)."""

    def delete_floating_ip(self, floating_ip_id: str) -> None:
        """Delete a floating IP that this run made; 404 is success."""

    def console(self, instance: InstanceId) -> str:
        """The end of the console log; may be empty."""

    def ssh_rule(self, instance: InstanceId, port: int) -> SshRule:
        """Whether security groups let TCP *port* in."""

    def close(self) -> None:
        """Close connections. Never raises."""
