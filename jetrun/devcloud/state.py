"""The whole embedded cloud as one value: its models, their seed, and their keeping in one file."""

from __future__ import annotations

import json
import os
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from jetrun.devcloud.faults import FaultBook
from jetrun.devcloud.identity import IdentityModel
from jetrun.devcloud.images import ImageModel
from jetrun.devcloud.model import NovaModel
from jetrun.devcloud.network import NetworkModel
from jetrun.devcloud.rules import Timings
from jetrun.devcloud.server_record import ServerRecord

Row = dict[str, Any]

FLAVORS = (("m3.tiny", 1, 3072, 20), ("m3.small", 2, 6144, 20), ("m3.quad", 4, 15360, 20), ("m3.medium", 8, 30720, 60),
           ("g3.small", 4, 15360, 60))  # fmt: skip
"""Name, vCPUs, RAM in MiB, disk in GB. Source: Jetstream2's flavor table (PEERS.md 5.a)."""

USERS = (("ada", "lab", ["member", "reader"]), ("bob", "lab", ["member", "reader"]), ("eve", "other-lab", ["member", "reader"]),
         ("admin", "admin", ["admin", "member", "reader"]))  # fmt: skip
"""User, project, roles: two people share one allocation, one is a stranger, one is the staff."""

PASSWORD = "devcloud-secret"  # noqa: S105 - every password of the embedded cloud, on loopback only


class Hosts(Protocol):
    """What runs the instances."""

    def console(self, instance: str) -> str:
        """The instance's console log."""

    def set_addresses(self, instance: str, addresses: list[str]) -> None:
        """The addresses on which a running instance listens."""


class CloudState:
    """All models of one embedded cloud.

    Args:
        net: the second byte of its addresses.
    """

    def __init__(self, *, timings: Timings, net: int, offload_time: float = 0.0) -> None:
        def new_id() -> str:
            return str(uuid.uuid4())

        self.new_id = new_id
        self.faults = FaultBook()
        self.identity = IdentityModel(new_id=new_id)
        self.network = NetworkModel(new_id=new_id, net=net)
        self.images = ImageModel(new_id=new_id)
        self.nova = NovaModel(
            network=self.network,
            images=self.images,
            faults=self.faults,
            new_id=new_id,
            timings=timings,
            offload_time=offload_time,
        )
        self.hosts: Hosts | None = None

    def seed(self, now: datetime, *, public_key: str) -> None:
        """Users, flavors, an image, networks, and the instance ``my-instance`` of ada's, shelved."""
        for name, project, roles in USERS:
            found = next((key for key, row in self.identity.projects.items() if row["name"] == project), None)
            project_id = found or self.identity.add_project(project)
            user_id = self.identity.add_user(name, PASSWORD, project_id, roles)
            self.nova.keypairs[user_id] = {
                "devcloud": {
                    "name": "devcloud",
                    "public_key": public_key,
                    "fingerprint": "",
                    "type": "ssh",
                    "user_id": user_id,
                }
            }
        for number, (name, vcpus, ram, disk) in enumerate(FLAVORS, start=1):
            self.nova.flavors[str(number)] = {"id": str(number), "name": name, "vcpus": vcpus, "ram": ram, "disk": disk}
        admin = next(key for key, row in self.identity.projects.items() if row["name"] == "admin")
        self.images.create("devcloud-linux", admin, now, public=True)
        self.network.seed(admin, now)

    def add_shelved(self, name: str, now: datetime, *, user: str = "ada", flavor: str = "m3.small") -> ServerRecord:
        """An instance that was made, used and shelved some time ago, as a researcher's own VM is."""
        identity = self.identity
        user_id = next(key for key, row in identity.users.items() if row["name"] == user)
        project_id = next(iter(identity.grants[user_id]))
        image = next(row for row in self.images.images.values() if row["name"] == "devcloud-linux")
        at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        server = ServerRecord(
            id=self.new_id(), name=name, user_id=user_id, project_id=project_id, image_id=image["id"], created=at, updated=at,
            flavor=next(row for row in self.nova.flavors.values() if row["name"] == flavor), key_name="devcloud",
            vm_state="shelved_offloaded", task_state=None, power_state=4, launched_at=at,
        )  # fmt: skip
        snapshot = self.images.create(
            f"{name}-shelved", project_id, now, image_type="snapshot", instance_uuid=server.id
        )
        server.snapshot_id = snapshot["id"]
        for action in ("create", "shelve"):
            server.begin(action, f"req-{self.new_id()}", user=user_id, project=project_id, now=now)
            server.finish(now)
        self.nova.servers[server.id] = server
        network = next(row for row in self.network.networks.values() if not row["router:external"])
        port = self.network._port(network, project_id, now)  # noqa: SLF001 - seeding
        port |= {"device_id": server.id, "device_owner": "compute:nova", "made_by_nova": True}
        port["security_groups"] = [self.network.ensure_default_group(project_id)["id"]]
        return server

    # --- what the faces ask of the hosts ---

    def console(self, server: ServerRecord, length: Any) -> str:
        """The end of an instance's console log."""
        text = self.hosts.console(server.id) if self.hosts is not None else ""
        return "\n".join(text.splitlines()[-int(length) :]) if length else text

    def addresses_changed(self, row: Row) -> None:
        """A floating IP moved: whoever listened on it learns of it."""
        port = self.network.ports.get(row.get("port_id") or "")
        if port is not None and self.hosts is not None and port["device_id"]:
            self.hosts.set_addresses(port["device_id"], self.addresses(port["device_id"]))

    def addresses(self, instance: str) -> list[str]:
        """The addresses of an instance, fixed and floating."""
        return [address for _, address, _, _ in self.network.addresses_of(instance)]

    # --- keeping ---

    def save(self, path: Path) -> None:
        """Write everything, atomically."""
        state = {
            "identity": self.identity.to_state(),
            "network": self.network.to_state(),
            "images": self.images.to_state(),
            "nova": self.nova.to_state(),
        }
        new = path.with_suffix(".new")
        new.write_text(json.dumps(state), encoding="utf-8")
        os.replace(new, path)  # noqa: PTH105 - the atomic one

    def load(self, path: Path) -> None:
        """What ``save`` wrote, taken back. Instances that were up were lost with the host: they are started anew."""
        state = json.loads(path.read_text(encoding="utf-8"))
        self.identity.from_state(state["identity"])
        net, kept = self.network.net, state["network"]["net"]
        if net != kept:  # another cloud has these addresses by now: the instances get others
            state["network"] = json.loads(json.dumps(state["network"]).replace(f'"127.{kept}.', f'"127.{net}.'))
        self.network.from_state({**state["network"], "net": net})
        self.images.from_state(state["images"])
        self.nova.from_state(state["nova"])
        for server in self.nova.servers.values():
            if server.really_on:
                kind = "power_on"
                self.nova.effect(kind, server)
                if server.vm_state in {"suspended", "paused"}:
                    self.nova.effect("suspend", server)
