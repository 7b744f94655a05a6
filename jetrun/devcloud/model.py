"""The pure model of Nova: states, tasks, the action log, refusals, and time that is passed in.

No I/O, no clock, no randomness of its own. Every method takes ``now``; ``advance(now)`` lets what is due happen, in
order. What must happen on the hosts is left in ``effects`` for whoever runs them (nobody, in a simulation).
How each task goes on: ``transitions.py``. A model kinder than the real thing is a bug.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from jetrun.devcloud.caller import Caller
from jetrun.devcloud.errors import ApiError, bad_request, conflict, forbidden, not_found
from jetrun.devcloud.faults import FaultBook
from jetrun.devcloud.images import ImageModel
from jetrun.devcloud.network import NetworkModel
from jetrun.devcloud.resources import check_quota, wanted_image, wanted_networks
from jetrun.devcloud.rules import Timings, refusal
from jetrun.devcloud.server_record import ServerRecord
from jetrun.devcloud.transitions import FIRST_TASK, STEPS

Row = dict[str, Any]

NOBODY = "req-00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Something that a host must do: ``power_on``, ``power_off``, ``suspend``, ``resume``, ``reboot``, ``wipe``."""

    kind: str
    instance: str


class NovaModel:
    """All instances of the cloud.

    Args:
        offload_time: Nova's shelved_offload_time: 0 at once, negative never.
        quota: of each project: instances, cores, ram (MiB).
    """

    def __init__(
        self,
        *,
        network: NetworkModel,
        images: ImageModel,
        faults: FaultBook,
        new_id: Callable[[], str],
        timings: Timings,
        offload_time: float = 0.0,
    ) -> None:
        self.network = network
        self.images = images
        self.faults = faults
        self.new_id = new_id
        self.timings = timings
        self.offload_time = offload_time
        self.hypervisor_enabled = True
        self.quota = {"instances": 50, "cores": 400, "ram": 2_000_000}
        self.flavors: dict[str, Row] = {}
        self.keypairs: dict[str, dict[str, Row]] = {}
        self.servers: dict[str, ServerRecord] = {}
        self.effects: list[Effect] = []
        self._due: list[tuple[datetime, int, str, str, int]] = []
        self._number = 0

    # --- time ---

    def advance(self, now: datetime) -> None:
        """Let everything happen that is due by *now*, in order."""
        while self._due and self._due[0][0] <= now:
            at, _, instance, step, generation = heapq.heappop(self._due)
            server = self.servers.get(instance)
            if server is not None and server.generation == generation:
                self.changing(server)
                STEPS[step](self, server, at)

    def next_due(self) -> datetime | None:
        """When something happens next by itself; None when nothing will."""
        return self._due[0][0] if self._due else None

    def schedule(self, server: ServerRecord, step: str, now: datetime, after_s: float) -> None:
        """*step* of *server* happens *after_s* from now, unless another action comes between."""
        self._number += 1
        at = now + timedelta(seconds=after_s)
        heapq.heappush(self._due, (at, self._number, server.id, step, server.generation))

    def changing(self, server: ServerRecord) -> None:
        """Remember the view before a change, for stale reads."""
        server.previous = server.state()

    def effect(self, kind: str, server: ServerRecord) -> None:
        """Ask the host for something."""
        self.effects.append(Effect(kind=kind, instance=server.id))

    # --- reading ---

    def find(self, caller: Caller, key: str, *, deleted: bool = False) -> ServerRecord:
        """One instance of the caller's project; ApiError 404 otherwise."""
        server = self.servers.get(key)
        if server is None or (server.project_id != caller.project_id and not caller.is_admin):
            raise not_found(f"Instance {key} could not be found.")
        if server.vm_state == "deleted" and not deleted:
            raise not_found(f"Instance {key} could not be found.")
        return server

    def list(self, caller: Caller, *, all_projects: bool = False) -> list[ServerRecord]:
        """The instances of the caller's project, newest first; all for an administrator who asks so."""
        if all_projects and not caller.is_admin:
            raise forbidden("Policy doesn't allow os_compute_api:servers:detail:get_all_tenants to be performed.")
        found = [
            one
            for one in self.servers.values()
            if one.vm_state != "deleted" and (all_projects or one.project_id == caller.project_id)
        ]
        return sorted(found, key=lambda one: one.created, reverse=True)

    # --- creating ---

    def create(self, caller: Caller, body: Row, *, request_id: str, now: datetime) -> ServerRecord:
        """A new instance in BUILD. Source: Nova API reference, Create Server."""
        flavor = self.flavors.get(str(body.get("flavorRef")))
        if flavor is None:
            raise bad_request(f"Flavor {body.get('flavorRef')} could not be found.")
        image = wanted_image(self, caller, str(body.get("imageRef", "")).rpartition("/")[2])
        key_name = body.get("key_name")
        if key_name and key_name not in self.keypairs.get(caller.user_id, {}):
            raise bad_request("Invalid key_name provided.")
        check_quota(self, caller.project_id, flavor)
        networks, groups = wanted_networks(self, caller, body)
        key = self.new_id()
        at = _text(now)
        server = ServerRecord(
            id=key,
            name=str(body.get("name", key)),
            user_id=caller.user_id,
            project_id=caller.project_id,
            flavor=flavor,
            image_id=image["id"],
            created=at,
            updated=at,
            key_name=key_name,
            user_data=body.get("user_data") or "",
            metadata=dict(body.get("metadata") or {}),
            tags=list(body.get("tags") or []),
            networks=networks,
            group_ids=groups,
        )
        self.servers[key] = server
        server.begin("create", request_id, user=caller.user_id, project=caller.project_id, now=now)
        late = self.faults.take("nova.create", "late-active-after-failed-create") is not None
        failed = self.faults.take("nova.create", "build-error") is not None
        self.schedule(
            server,
            "build_failed" if failed else "build_networking",
            now,
            self.timings.late_create if late else self.timings.bounce if failed else self.timings.taken,
        )
        if late:
            raise ApiError(
                500, "computeFault", "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/"
            )
        return server

    # --- acting ---

    def act(self, caller: Caller, key: str, action: str, *, request_id: str, now: datetime) -> None:
        """Accept an action, or refuse it as Nova does.

        Args:
            action: a word of ``rules.ALLOWED``.
        """
        server = self.find(caller, key)
        if action == "shelveOffload" and not caller.is_admin:
            raise forbidden("Policy doesn't allow os_compute_api:os-shelve:shelve_offload to be performed.")
        if server.locked_by is not None and not caller.is_admin:
            raise conflict(f"Instance {key} is locked")
        refused = refusal(
            action,
            instance=key,
            vm_state=server.vm_state,
            task_state=server.task_state,
            has_host=server.host is not None,
            was_launched=server.launched_at is not None,
        )
        if refused is not None:
            raise refused
        if action == "unshelve" and server.vm_state == "shelved_offloaded":
            check_quota(self, server.project_id, server.flavor)
        self.changing(server)
        server.generation += 1
        word = "reboot" if action == "hard reboot" else action
        server.begin(word, request_id, user=caller.user_id, project=caller.project_id, now=now)
        server.task_state = (
            "powering-on" if (action, server.vm_state) == ("unshelve", "shelved") else FIRST_TASK[action]
        )
        server.updated = _text(now)
        if self.faults.take(f"nova.{word}", "stuck-task") is not None:
            return
        self.schedule(server, f"{action.replace(' ', '_')}_began", now, self.timings.taken)

    def delete(self, caller: Caller, key: str, *, request_id: str, now: datetime) -> None:
        """Delete in any state and any task; only a lock is in the way.

        Source: nova.compute.api, ``_delete``: what is on no host is deleted by the API itself, which logs no action.
        """
        server = self.find(caller, key)
        if server.locked_by is not None and not caller.is_admin:
            raise conflict(f"Instance {key} is locked")
        if server.task_state == "deleting":
            return
        self.changing(server)
        server.generation += 1
        if server.host is None:  # nobody to ask: it is gone at once, and the log does not know by whom
            STEPS["deleted"](self, server, now)
            return
        server.begin("delete", request_id, user=caller.user_id, project=caller.project_id, now=now)
        server.task_state = "deleting"
        if self.faults.take("nova.delete", "stuck-task") is None:
            self.schedule(server, "deleted", now, self.timings.delete)

    def check_writable(self, server: ServerRecord, what: str) -> None:
        """Nova's 409 for metadata (``update metadata``) or tags (``update tag``) in this state."""
        refused = refusal(
            what, instance=server.id, vm_state=server.vm_state, task_state=None, has_host=True, was_launched=True
        )
        if refused is not None:
            raise refused

    # --- what happens by itself ---

    def guest_powered_off(self, key: str, now: datetime) -> None:
        """The guest switched itself off. Nova learns of it at its next power sync."""
        server = self.servers.get(key)
        if server is not None and server.really_on:
            server.really_on = False
            self.schedule(server, "power_sync", now, self.timings.power_sync)

    # --- keeping ---

    def to_state(self) -> Row:
        """Everything, as plain data."""
        return {
            "flavors": self.flavors,
            "keypairs": self.keypairs,
            "quota": self.quota,
            "hypervisor_enabled": self.hypervisor_enabled,
            "servers": [server.to_dict() for server in self.servers.values()],
            "due": [(at.isoformat(), number, key, step, generation) for at, number, key, step, generation in self._due],
            "number": self._number,
        }

    def from_state(self, state: Row) -> None:
        """What ``to_state`` gave, taken back."""
        self.flavors, self.keypairs, self.quota = state["flavors"], state["keypairs"], state["quota"]
        self.hypervisor_enabled = state["hypervisor_enabled"]
        self.servers = {one["id"]: ServerRecord.from_dict(one) for one in state["servers"]}
        self._due = [
            (datetime.fromisoformat(at), number, key, step, gen) for at, number, key, step, gen in state["due"]
        ]
        heapq.heapify(self._due)
        self._number = state["number"]

    def with_timings(self, **changes: float) -> None:
        """Change some timings."""
        self.timings = replace(self.timings, **changes)


def _text(now: datetime) -> str:
    """Nova's form of an instant."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
