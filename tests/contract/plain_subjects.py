"""The clouds that the plain contract holds: the pure model in virtual time, the embedded cloud over HTTP, a real OpenStack.

Which take part: with the environment variable ``JETRUN_LAB_CLOUDS`` (the clouds.yaml of a lab, with an entry ``lab-admin``)
the real one alone, and it must be there; without it the other two.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from devcloud_subject import embedded_cloud
from plain_cloud import PlainCloud, Reply
from real_project import http_cloud, own_project, password_login

from jetrun.devcloud.faces import Faces, Request
from jetrun.devcloud.rules import Timings
from jetrun.devcloud.state import PASSWORD, CloudState
from jetrun.testing.clock import SimClock

PEOPLE = {
    "member": ("ada", "lab"),
    "colleague": ("bob", "lab"),
    "stranger": ("eve", "other-lab"),
    "staff": ("admin", "admin"),
}
"""Of the embedded cloud: user and project."""
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DMROBHUlMzXKSpAuMnYNnQ8WnlcYIR5 test"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSubject:
    """A cloud under test.

    Attributes:
        things: ids of what an instance is made of: image, flavor_small, network, outside, project.
        exact: time stands still unless somebody waits, so that every state is seen.
        unbuildable: the id of a flavor with which the next create finds no host.
        quota: sets the quota of the member's project.
    """

    cloud: PlainCloud
    things: dict[str, str]
    exact: bool
    unbuildable: Callable[[], str]
    quota: Callable[..., None]


def one_by_one(calls: list[Callable[[], Reply]]) -> list[Reply]:
    """All of these calls, in order: virtual time has one thread."""
    return [call() for call in calls]


def devcloud_things(cloud: PlainCloud) -> dict[str, str]:
    """What an instance is made of in the embedded cloud."""
    networks = {row["name"]: row["id"] for row in cloud.get("network", "/networks")["networks"]}
    flavors = {row["name"]: row["id"] for row in cloud.get("compute", "/flavors/detail")["flavors"]}
    return {
        "image": cloud.get("image", "/images?name=devcloud-linux")["images"][0]["id"],
        "flavor_small": flavors["m3.small"],
        "network": networks["auto_allocated_network"],
        "outside": networks["public"],
        "project": cloud.me()["project"]["id"],
    }


@contextmanager
def modelled() -> Iterator[PlainSubject]:
    """The pure model behind its faces, without HTTP."""
    clock = SimClock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))
    state = CloudState(timings=Timings(), net=20)
    state.seed(clock.now(), public_key=PUBLIC_KEY)
    faces = Faces(state)
    faces.base = "http://model"

    def send(method: str, url: str, headers: Any, body: Any) -> Reply:
        parts = urlsplit(url)
        lower = {key.lower(): value for key, value in headers.items()}
        request = Request(method=method, path=parts.path, query=parts.query, headers=lower, body=body)
        answer = faces.answer(request, faces.target(request), clock.now())
        sent = {key.lower(): value for key, value in answer.headers.items()}
        return Reply(status=answer.status, body=json.loads(json.dumps(answer.body)), headers=sent)

    def wait() -> None:
        due = state.nova.next_due()
        clock.sleep(0.1 if due is None else max(0.0, (due - clock.now()).total_seconds()))

    def unbuildable() -> str:
        state.faults.add("build-error")
        return things["flavor_small"]

    people = {who: password_login(user, PASSWORD, project) for who, (user, project) in PEOPLE.items()}
    cloud = PlainCloud(send, "http://model/identity/v3", people, wait=wait, together=one_by_one)
    things = devcloud_things(cloud)
    yield PlainSubject(
        cloud=cloud,
        things=things,
        exact=True,
        unbuildable=unbuildable,
        quota=lambda **quota: state.nova.quota.update(quota),
    )


@contextmanager
def embedded() -> Iterator[PlainSubject]:
    """The embedded cloud, over HTTP, at a tenth of a real one's times."""
    people = {who: password_login(user, PASSWORD, project) for who, (user, project) in PEOPLE.items()}
    with embedded_cloud(timings="quick") as running, http_cloud(f"{running.url}/identity/v3", people) as cloud:
        cloud.wait = lambda: time.sleep(0.01)
        things = devcloud_things(cloud)

        def unbuildable() -> str:
            running.add_fault("build-error")
            return things["flavor_small"]

        yield PlainSubject(
            cloud=cloud,
            things=things,
            exact=False,
            unbuildable=unbuildable,
            quota=lambda **quota: running.do("quota", quota=quota),
        )


@contextmanager
def real() -> Iterator[PlainSubject]:
    """A real OpenStack: a project of our own on the one that ``JETRUN_LAB_CLOUDS`` names."""
    with own_project(Path(os.environ["JETRUN_LAB_CLOUDS"])) as (cloud, things):

        def quota(**wanted: int) -> None:
            path = f"/os-quota-sets/{things['project']}"
            reply = cloud.call("compute", "PUT", path, {"quota_set": {**wanted, "force": True}}, as_="staff")
            assert reply.status == 200, reply

        yield PlainSubject(
            cloud=cloud,
            things=things,
            exact=False,
            unbuildable=lambda: things["flavor_huge"],
            quota=quota,
        )


REAL = "real-openstack"
PLAIN_SUBJECTS = (
    {REAL: real} if os.environ.get("JETRUN_LAB_CLOUDS") else {"model": modelled, "embedded-over-http": embedded}
)
