"""The pure model of Nova in virtual time: counted ids, a clock that only this file moves, and a watch on every state."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from jetrun.devcloud import orders
from jetrun.devcloud.caller import Caller
from jetrun.devcloud.faults import FaultBook
from jetrun.devcloud.images import ImageModel
from jetrun.devcloud.model import NovaModel
from jetrun.devcloud.network import NetworkModel
from jetrun.devcloud.rules import Timings
from jetrun.devcloud.server_record import ServerRecord

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SMALL = {"id": "2", "name": "m3.small", "vcpus": 2, "ram": 6144, "disk": 20}


class Counter:
    """Ids in the order in which they were asked for, so that two models of the same history are equal."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._numbers):012d}"


def person(name: str, project: str = "lab", *, admin: bool = False) -> Caller:
    roles = frozenset({"admin", "member"} if admin else {"member"})
    return Caller(
        user_id=name,
        user_name=name,
        project_id=project,
        project_name=project,
        roles=roles,
        token=name,
        expires_at=START,
    )


ADA, BOB, EVE, STAFF = person("ada"), person("bob"), person("eve", "other"), person("admin", "admin", admin=True)


class Lab:
    """One model and its time."""

    def __init__(self, *, timings: Timings | None = None, offload_time: float = 0.0) -> None:
        new_id = Counter()
        self.network = NetworkModel(new_id=new_id, net=20)
        self.images = ImageModel(new_id=new_id)
        self.faults = FaultBook()
        self.nova = NovaModel(
            network=self.network,
            images=self.images,
            faults=self.faults,
            new_id=new_id,
            timings=timings or Timings(),
            offload_time=offload_time,
        )
        self.nova.flavors["2"] = SMALL
        self.now = START
        self.network.seed("admin", self.now)
        self.image = self.images.create("devcloud-linux", "admin", self.now, public=True)["id"]
        self._requests = itertools.count(1)

    def create(self, caller: Caller = ADA, name: str = "box", **more: Any) -> ServerRecord:
        body = {"name": name, "flavorRef": "2", "imageRef": self.image, **more}
        return self.nova.create(caller, body, request_id=self._request(), now=self.now)

    def active(self, caller: Caller = ADA, **more: Any) -> ServerRecord:
        server = self.create(caller, **more)
        self.settle()
        return server

    def act(self, server: ServerRecord, action: str, caller: Caller = ADA) -> str:
        """The request id under which the action was accepted."""
        request = self._request()
        self.nova.act(caller, server.id, action, request_id=request, now=self.now)
        return request

    def done(self, server: ServerRecord, *actions: str, caller: Caller = ADA) -> ServerRecord:
        """*server* after these actions, each carried out to its end."""
        for action in actions:
            self.act(server, action, caller)
            self.settle()
        return server

    def delete(self, server: ServerRecord, caller: Caller = ADA) -> None:
        self.nova.delete(caller, server.id, request_id=self._request(), now=self.now)

    def lock(self, caller: Caller, key: str, reason: str | None) -> None:
        orders.lock(self.nova, caller, key, reason, request_id=self._request(), now=self.now)

    def unlock(self, caller: Caller, key: str) -> None:
        orders.unlock(self.nova, caller, key, request_id=self._request(), now=self.now)

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.nova.advance(self.now)

    def step(self) -> bool:
        """To the next thing that happens by itself; False when nothing will."""
        due = self.nova.next_due()
        if due is None:
            return False
        self.now = max(self.now, due)
        self.nova.advance(self.now)
        return True

    def settle(self) -> None:
        """Until nothing is left to happen."""
        while self.step():
            pass

    def watch(self, server: ServerRecord) -> list[str]:
        """Every (status, vm_state, task_state, power_state) from now until nothing moves, as the notes write them."""
        seen = [self._written(server)]
        while self.step():
            if self._written(server) != seen[-1]:
                seen.append(self._written(server))
        return seen

    @staticmethod
    def _written(server: ServerRecord) -> str:
        power = {0: "NOSTATE", 1: "RUNNING", 3: "PAUSED", 4: "SHUTDOWN"}[server.power_state]
        return f"{server.status}/{server.vm_state}/{server.task_state or '-'}/{power}"

    def _request(self) -> str:
        return f"req-{next(self._requests)}"
