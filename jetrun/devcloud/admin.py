"""The embedded cloud's own door for tests: faults, the truth about every instance, and what somebody else does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from jetrun.devcloud import orders
from jetrun.devcloud.errors import ApiError

if TYPE_CHECKING:
    from jetrun.devcloud.server import Devcloud


class Admin:
    """Routes below /admin; each needs the token of devcloud.json."""

    def __init__(self, devcloud: Devcloud) -> None:
        self._devcloud = devcloud

    def routes(self) -> list[web.RouteDef]:
        """For aiohttp."""
        return [
            web.get("/admin/truth", self._truth),
            web.get("/admin/faults", self._faults),
            web.post("/admin/faults", self._add_fault),
            web.delete("/admin/faults", self._clear_faults),
            web.post("/admin/do", self._do),
        ]

    def _check(self, request: web.Request) -> None:
        if request.headers.get("X-Admin-Token") != self._devcloud.token:
            raise web.HTTPForbidden(text="the token of devcloud.json is needed")

    async def _truth(self, request: web.Request) -> web.Response:
        """Every instance as it really is, deleted ones too."""
        self._check(request)
        nova = self._devcloud.cloud.nova
        nova.advance(self._devcloud.now())
        await self._devcloud.settle()
        rows = [
            {
                "id": server.id, "name": server.name, "status": server.status, "vm_state": server.vm_state,
                "task_state": server.task_state, "power_state": server.power_state, "really_on": server.really_on,
                "process": server.id in self._devcloud.hosts.running, "actions": server.actions, "metadata": server.metadata,
                "tags": server.tags, "user_id": server.user_id, "project_id": server.project_id, "created": server.created,
            }
            for server in nova.servers.values()
        ]  # fmt: skip
        network = self._devcloud.cloud.network
        return web.json_response(
            {"instances": rows, "ports": list(network.ports.values()), "floating_ips": list(network.floating.values())}
        )

    async def _faults(self, request: web.Request) -> web.Response:
        self._check(request)
        return web.json_response(self._devcloud.cloud.faults.to_list())

    async def _add_fault(self, request: web.Request) -> web.Response:
        self._check(request)
        wish = await request.json()
        try:
            fault = self._devcloud.cloud.faults.add(wish.pop("name"), **wish)
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        for instance in list(self._devcloud.hosts.running):
            self._devcloud.strike(instance)
        return web.json_response({"id": fault.id, "on": fault.on}, status=201)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._check(request)
        number = request.query.get("id")
        self._devcloud.cloud.faults.clear(int(number) if number else None)
        if number is None:
            self._devcloud.heal()
        return web.Response(status=204)

    async def _do(self, request: web.Request) -> web.Response:
        """What somebody else, or the staff, does: ``{"what": ..., "instance": ..., ...}``."""
        self._check(request)
        wish: dict[str, Any] = await request.json()
        devcloud, nova, now = self._devcloud, self._devcloud.cloud.nova, self._devcloud.now()
        nova.advance(now)
        instance = wish.get("instance", "")
        try:
            match wish["what"]:
                case "act":
                    request_id = f"req-{devcloud.cloud.new_id()}"
                    nova.act(self._caller(wish["user"]), instance, wish["action"], request_id=request_id, now=now)
                case "delete":
                    nova.delete(
                        self._caller(wish["user"]), instance, request_id=f"req-{devcloud.cloud.new_id()}", now=now
                    )
                case "lock":
                    who, asked = self._caller(wish["user"]), f"req-{devcloud.cloud.new_id()}"
                    orders.lock(nova, who, instance, wish.get("reason"), request_id=asked, now=now)
                case "unlock":
                    asked = f"req-{devcloud.cloud.new_id()}"
                    orders.unlock(nova, self._caller("admin"), instance, request_id=asked, now=now)
                case "add":
                    server = devcloud.cloud.add_shelved(wish["name"], now, user=wish.get("user", "ada"))
                    devcloud.keep()
                    return web.json_response({"id": server.id})
                case "reset-state":
                    orders.reset_state(nova, instance, wish["state"], now)
                case "quota":
                    nova.quota |= wish["quota"]
                case "hypervisor":
                    nova.hypervisor_enabled = wish["enabled"]
                case "timings":
                    nova.with_timings(**wish["timings"])
                case "delete-snapshot":
                    devcloud.cloud.images.delete(nova.servers[instance].snapshot_id or "")
                case "expire-tokens":
                    devcloud.cloud.identity.expire_tokens()
                case "skew":
                    devcloud.skew_s = wish["seconds"]
                case "refuse-sudo":
                    devcloud.hosts.refuse_sudo.add(instance)
                case "drop" | "poweroff" | "reboot" | "silent":
                    await devcloud.tell(instance, do=wish["what"], on=wish.get("on", True))
                case what:
                    return web.json_response({"error": f"cannot {what}"}, status=400)
        except ApiError as error:
            return web.json_response({"error": error.message}, status=error.status)
        nova.advance(now)
        await devcloud.settle()
        devcloud.keep()
        return web.json_response({})

    def _caller(self, name: str) -> Any:
        """A user of the cloud, as a caller."""
        from jetrun.devcloud.caller import Caller  # noqa: PLC0415

        identity = self._devcloud.cloud.identity
        user = next(row for row in identity.users.values() if row["name"] == name)
        project = next(iter(identity.grants[user["id"]]))
        return Caller(
            user_id=user["id"],
            user_name=name,
            project_id=project,
            project_name=identity.projects[project]["name"],
            roles=frozenset(identity.grants[user["id"]][project]),
            token="",
            expires_at=self._devcloud.now(),
        )
