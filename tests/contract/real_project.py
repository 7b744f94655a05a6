"""A project of the suite's own on a real OpenStack: people, a network with a way out, flavors; all deleted afterwards.

The rest of the cloud is left as it was: quotas are those of this project, flavors and users are its own.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml
from plain_cloud import PlainCloud, Reply

POLL_S = 0.2
"""Between two reads: a state that lasts less may be missed."""
GONE_S = 60.0
"""Until the instances of the suite must be gone: a delete takes 2 to 4 s."""
OUTSIDE = "lab-ext"
"""What the labs call the network that is outside."""
GUEST = (
    bytes.fromhex(
        "fc fa 31c0 8ed8"  # cld; cli; ds = 0
        "0f0116 507c"  # lgdt [0x7c50]
        "0f20c0 0c01 0f22c0"  # protected mode on
        "ea 187c 0800"  # jmp 8:0x7c18
        "66b81000 8ed8"  # ds = all of the memory
        "bf00001000 b900df0100"  # edi = 1 MiB; ecx = 122,624 pages
        "893f 81c700100000 e2f6"  # mov [edi], edi; the next page
        "f4 ebfd"  # hlt, for ever
    ).ljust(0x38, b"\0")
    + bytes.fromhex("0000000000000000 ffff0000009acf00 ffff00000092cf00 1700 387c0000")
).ljust(510, b"\0") + b"\x55\xaa"
"""A boot sector that writes to every page of its memory, so that a suspend has something to save, and stops: the contract is Nova's,
and needs no guest that listens (the job's tests have one)."""
POWER_OFF_S = 1
"""How long Nova waits for a guest that is not going to heed its power button."""


def over_http(session: requests.Session, method: str, url: str, headers: Any, body: Any) -> Reply:
    """One request over the wire, as it is: no adapter, no retry."""
    sent = {"data": body} if isinstance(body, bytes) else {"json": body}
    answer = session.request(method, url, headers=headers, timeout=90, allow_redirects=False, **sent)
    try:
        found = answer.json() if answer.content else None
    except ValueError:
        found = answer.text
    return Reply(status=answer.status_code, body=found, headers={k.lower(): v for k, v in answer.headers.items()})


@contextmanager
def http_cloud(auth_url: str, people: Any) -> Iterator[PlainCloud]:
    """A cloud over HTTP; what is made to happen together comes from threads."""

    def together(calls: Any) -> list[Reply]:
        with ThreadPoolExecutor(len(calls)) as pool:
            return [one.result() for one in [pool.submit(call) for call in calls]]

    with closing(requests.Session()) as session:
        session.trust_env = False
        session.headers["Connection"] = "close"
        yield PlainCloud(
            lambda *words: over_http(session, *words),
            auth_url,
            people,
            wait=lambda: time.sleep(POLL_S),
            together=together,
        )


def password_login(name: str, password: str, project: str) -> dict[str, Any]:
    """Keystone's auth object for a password, all in the domain Default."""
    domain = {"name": "Default"}
    user = {"name": name, "password": password, "domain": domain}
    scope = {"project": {"name": project, "domain": domain}}
    return {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}


@contextmanager
def own_project(clouds_yaml: Path) -> Iterator[tuple[PlainCloud, dict[str, str]]]:
    """The cloud with the people of a new project, and the ids of what an instance is made of there."""
    entry = yaml.safe_load(clouds_yaml.read_text())["clouds"]["lab-admin"]["auth"]
    staff = password_login(entry["username"], entry["password"], entry["project_name"])
    with http_cloud(entry["auth_url"], {"staff": staff, "member": staff}) as cloud:
        project = _Project(cloud, f"contract-{secrets.token_hex(4)}")
        try:
            project.make()
            yield cloud, project.things
        finally:
            project.forget()


class _Project:
    """What was made, newest last, so that it is deleted in the opposite order."""

    def __init__(self, cloud: PlainCloud, name: str) -> None:
        self.cloud = cloud
        self.name = name
        self.made: list[tuple[str, str]] = []
        self.things: dict[str, str] = {}

    def _add(self, service: str, collection: str, kind: str, row: dict[str, Any], *, as_: str = "staff") -> str:
        """Make one thing as the staff; its id."""
        reply = self.cloud.call(service, "POST", f"/{collection}", {kind: row}, as_=as_)
        assert reply.status in {200, 201}, (collection, reply)
        key = str(reply.body[kind]["id"])
        self.made.append((service, f"/{collection}/{key}"))
        return key

    def make(self) -> None:
        """Two projects, three people, a network behind a router, two flavors, an image."""
        cloud, staff = self.cloud, "staff"
        roles = {row["name"]: row["id"] for row in cloud.get("identity", "/roles", as_=staff)["roles"]}
        password = secrets.token_hex(16)
        people = {"staff": cloud.people["staff"]}
        project = self._add("identity", "projects", "project", {"name": self.name})
        self.things["project"] = project
        other = self._add("identity", "projects", "project", {"name": f"{self.name}-other"})
        for who, where in (("member", project), ("colleague", project), ("stranger", other)):
            user = self._add("identity", "users", "user", {"name": f"{self.name}-{who}", "password": password})
            path = f"/projects/{where}/users/{user}/roles/{roles['member']}"
            assert cloud.call("identity", "PUT", path, as_=staff).status == 204
            people[who] = password_login(
                f"{self.name}-{who}", password, self.name if where == project else f"{self.name}-other"
            )
        for name, ram, disk in (("small", 512, 1), ("huge", 1 << 30, 1)):
            row = {"name": f"{self.name}-{name}", "vcpus": 2, "ram": ram, "disk": disk}
            self.things[f"flavor_{name}"] = self._add("compute", "flavors", "flavor", row)
        quota = {"quota_set": {"ram": -1, "cores": 20, "instances": 10, "force": True}}
        assert cloud.call("compute", "PUT", f"/os-quota-sets/{project}", quota, as_=staff).status == 200
        self._network(project)
        self._image()
        cloud.people = people
        cloud.forget_tokens()

    def _image(self) -> None:
        """An image for everybody, that boots at once and does nothing."""
        row = {
            "name": self.name,
            "disk_format": "raw",
            "container_format": "bare",
            "visibility": "public",
            "os_shutdown_timeout": str(POWER_OFF_S),
        }
        reply = self.cloud.call("image", "POST", "/images", row, as_="staff")
        assert reply.status == 201, reply
        self.things["image"] = str(reply.body["id"])
        path = f"/images/{self.things['image']}"
        self.made.append(("image", path))
        kind = {"Content-Type": "application/octet-stream"}
        sent = self.cloud.call("image", "PUT", f"{path}/file", GUEST, headers=kind, as_="staff")
        assert sent.status == 204, sent

    def _network(self, project: str) -> None:
        """A network, and a router to the outside. No DHCP: an instance gets its address from its config drive."""
        networks = self.cloud.get("network", f"/networks?name={OUTSIDE}", as_="staff")["networks"]
        owned = {"name": self.name, "project_id": project}
        network = self._add("network", "networks", "network", owned)
        subnet = {**owned, "network_id": network, "cidr": "10.99.0.0/24", "ip_version": 4, "enable_dhcp": False}
        inside = self._add("network", "subnets", "subnet", subnet)
        outside = {"external_gateway_info": {"network_id": networks[0]["id"]}}
        router = self._add("network", "routers", "router", {**owned, **outside})
        path = f"/routers/{router}/add_router_interface"
        assert self.cloud.call("network", "PUT", path, {"subnet_id": inside}, as_="staff").status == 200
        self.things |= {"network": network, "outside": networks[0]["id"], "router": router, "subnet": inside}

    def forget(self) -> None:
        """Delete everything, the instances of the project first."""
        cloud = self.cloud
        cloud.forget_tokens()
        project = self.things.get("project", "")
        query = f"/servers/detail?all_tenants=1&project_id={project}"
        until = time.monotonic() + GONE_S
        while project and (rows := cloud.get("compute", query, as_="staff")["servers"]):
            assert time.monotonic() < until, f"instances of {self.name} are still there"
            for row in rows:
                cloud.call("compute", "DELETE", f"/servers/{row['id']}", as_="staff")
            time.sleep(1)
        for kind in ("floatingips", "ports") if project else ():
            for row in cloud.get("network", f"/{kind}?project_id={project}", as_="staff")[kind]:
                cloud.call("network", "DELETE", f"/{kind}/{row['id']}", as_="staff")
        if "router" in self.things:
            path = f"/routers/{self.things['router']}/remove_router_interface"
            cloud.call("network", "PUT", path, {"subnet_id": self.things["subnet"]}, as_="staff")
        images = cloud.get("image", f"/images?owner={project}", as_="staff")["images"] if project else []
        for row in images:
            cloud.call("image", "DELETE", f"/images/{row['id']}", as_="staff")
        left = [(path, reply) for service, path in reversed(self.made)
                if (reply := cloud.call(service, "DELETE", path, as_="staff")).status not in {202, 204, 404}]  # fmt: skip
        assert not left, f"not deleted: {left}"
