"""The embedded cloud's process: models, HTTP, hosts and mail sink together, until SIGTERM.

``python -m jetrun.devcloud.server --dir DIR [--timings zero|quick|slow] [--port N]`` writes ``devcloud.json`` (where everything
is) and ``clouds.yaml`` into DIR when it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
from aiohttp import web

from jetrun.devcloud import mail_sink
from jetrun.devcloud.admin import Admin
from jetrun.devcloud.dispatch import Dispatcher
from jetrun.devcloud.hosts import InstanceHosts, fork_host
from jetrun.devcloud.instance import InstanceSpec
from jetrun.devcloud.rules import ZERO, Timings
from jetrun.devcloud.state import PASSWORD, CloudState

TIMINGS = {
    "zero": ZERO,
    "quick": Timings(),
    "slow": Timings(build=4, stop=3, start=2, snapshot=4, offload=2, unshelve=6),
}
SSH_PORT = 2222
USER = "researcher"


class Devcloud:
    """One embedded cloud.

    Args:
        folder: everything it keeps. port: of the APIs, 0 for any.
        channel: to the host process. net: second byte of its addresses.
    """

    def __init__(
        self,
        folder: Path,
        *,
        timings: Timings,
        port: int,
        channel: socket.socket,
        net: int,
        offload_time: float,
        seed: str,
    ) -> None:
        self.folder = folder
        self._port = port
        self._seed = seed
        self.cloud = CloudState(timings=timings, net=net, offload_time=offload_time)
        self.skew_s = 0.0
        self.hosts = InstanceHosts(
            channel=channel, folder=folder / "instances", describe=self._describe, on_off=self._guest_off
        )
        self.cloud.hosts = self.hosts
        self._wake = asyncio.Event()
        self._state_file = folder / "state.json"
        self._settling = asyncio.Lock()
        self.mail_folder = folder / "mail"
        self.token = secrets.token_hex(16)

    def now(self) -> datetime:
        """The cloud's time."""
        return datetime.now(UTC) + timedelta(seconds=self.skew_s)

    async def live(self) -> None:
        """Serve until a signal."""
        public = self._own_key()
        if self._state_file.exists():
            self.cloud.load(self._state_file)
        else:
            self.cloud.seed(self.now(), public_key=public)
            for name in filter(None, self._seed.split(",")):
                self.cloud.add_shelved(name, self.now())
            self.cloud.save(self._state_file)
        self.hosts.start()
        dispatcher = Dispatcher(self.cloud, now=self.now, state_file=self._state_file, settle=self.settle)
        app = web.Application(client_max_size=1 << 24)
        app.add_routes([*dispatcher.routes(), *Admin(self).routes()])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        port = runner.addresses[0][1]
        dispatcher.base = f"http://127.0.0.1:{port}"
        sink, mail_port = await mail_sink.serve(self.mail_folder, self.cloud.faults)
        await self.settle()
        self._announce(dispatcher.base, mail_port)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        ticking = asyncio.ensure_future(self._tick())
        await stop.wait()
        ticking.cancel()
        sink.close()
        await runner.cleanup()
        self.cloud.save(self._state_file)
        self.hosts.close()
        (self.folder / "devcloud.json").unlink(missing_ok=True)

    async def settle(self) -> None:
        """Carry out what the models asked of the hosts, in order."""
        async with self._settling:
            effects = self.cloud.nova.effects
            while effects:
                effect = effects.pop(0)
                match effect.kind:
                    case "power_on":
                        await self.hosts.power_on(effect.instance)
                        self.strike(effect.instance)
                    case "power_off":
                        await self.hosts.power_off(effect.instance)
                    case "suspend":
                        await self.hosts.freeze(effect.instance)
                    case "resume":
                        await self.hosts.thaw(effect.instance)
                    case "reboot":
                        await self.hosts.reboot(effect.instance)
                    case _:
                        await self.hosts.wipe(effect.instance)
        self._wake.set()

    def strike(self, instance: str) -> None:
        """Faults of the instance itself that are set: each strikes once it runs."""
        loop, faults = asyncio.get_running_loop(), self.cloud.faults
        while fault := faults.take("ssh.connect", "ssh-drop", "guest-poweroff"):
            order = "drop" if fault.name == "ssh-drop" else "poweroff"
            loop.call_later(fault.seconds, self._tell_later, instance, order)
        if faults.take("ssh.connect", "ssh-silent"):
            asyncio.ensure_future(self.hosts.tell(instance, do="silent", on=True))  # noqa: RUF006
        if faults.take("ssh.connect", "ssh-refused"):
            asyncio.ensure_future(self.hosts.tell(instance, do="addresses", addresses=[]))  # noqa: RUF006

    def _tell_later(self, instance: str, order: str) -> None:
        """An order whose time has come."""
        asyncio.ensure_future(self.hosts.tell(instance, do=order))  # noqa: RUF006 - the loop lives as long as the cloud

    async def _tick(self) -> None:
        """Let what is due happen, when it is due."""
        nova = self.cloud.nova
        while True:
            self._wake.clear()
            nova.advance(self.now())
            if nova.effects:
                await self.settle()
                self.cloud.save(self._state_file)
            due = nova.next_due()
            wait_s = None if due is None else max(0.0, (due - self.now()).total_seconds())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)

    def _guest_off(self, instance: str) -> None:
        """A guest switched itself off."""
        self.cloud.nova.guest_powered_off(instance, self.now())
        self._wake.set()

    def _describe(self, instance: str) -> InstanceSpec:
        """What an instance is booted with."""
        import base64  # noqa: PLC0415

        server = self.cloud.nova.servers[instance]
        keys = self.cloud.nova.keypairs.get(server.user_id, {})
        key = keys.get(server.key_name or "")
        return InstanceSpec(
            id=instance,
            folder=self.folder / "instances" / instance,
            addresses=self.cloud.addresses(instance),
            port=SSH_PORT,
            user=USER,
            public_keys=[key["public_key"]] if key else [],
            user_data=base64.b64decode(server.user_data).decode() if server.user_data else "",
            refuse_sudo=instance in self.hosts.refuse_sudo,
        )

    def _own_key(self) -> str:
        """The key pair that comes with the cloud: its public half."""
        path = self.folder / "id_ed25519"
        if not path.exists():
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(str(path))
            path.chmod(0o600)
            key.write_public_key(str(path.with_suffix(".pub")))
        return path.with_suffix(".pub").read_text().strip()

    def _announce(self, base: str, mail_port: int) -> None:
        """Write where everything is, clouds.yaml first, so that who sees devcloud.json finds it."""
        extra = {
            "profile": "devcloud",
            "ssh_port": SSH_PORT,
            "ssh_user": USER,
            "ssh_key": str(self.folder / "id_ed25519"),
        }
        entries = {
            "devcloud": _entry(base, "ada", "lab", extra),
            "devcloud-bob": _entry(base, "bob", "lab", extra),
            "devcloud-other": _entry(base, "eve", "other-lab", extra),
            "devcloud-admin": _entry(base, "admin", "admin", extra),
        }
        _write(self.folder / "clouds.yaml", json.dumps({"clouds": entries}, indent=1))
        pid = os.getpid()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        _write(
            self.folder / "devcloud.json",
            json.dumps(
                {
                    "pid": pid,
                    "start_time": fields[19],
                    "url": base,
                    "admin": f"{base}/admin",
                    "token": self.token,
                    "mail_port": mail_port,
                    "mail_folder": str(self.mail_folder),
                    "ssh_port": SSH_PORT,
                    "key": str(self.folder / "id_ed25519"),
                    "clouds": str(self.folder / "clouds.yaml"),
                },
                indent=1,
            ),
        )


def _entry(base: str, user: str, project: str, extra: dict[str, Any]) -> dict[str, Any]:
    """One entry of clouds.yaml."""
    return {
        "auth": {
            "auth_url": f"{base}/identity/v3",
            "username": user,
            "password": PASSWORD,
            "project_name": project,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": "RegionOne",
        "identity_api_version": 3,
        "jetrun": extra,
    }


def _write(path: Path, text: str) -> None:
    """Write a file that others may be waiting for."""
    new = path.with_suffix(path.suffix + ".new")
    new.write_text(text)
    new.chmod(0o600)
    os.replace(new, path)  # noqa: PTH105 - the atomic one


def claim_net() -> tuple[int, socket.socket]:
    """A second byte of loopback addresses that no other embedded cloud on this machine has, and the socket that holds it."""
    for net in range(20, 240):
        holder = socket.socket()
        try:
            holder.bind((f"127.{net}.255.254", SSH_PORT))
            holder.listen(1)
        except OSError:
            holder.close()
        else:
            return net, holder
    raise SystemExit("no free loopback addresses: 220 embedded clouds are running")


def main() -> None:
    """Be the embedded cloud."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--timings", default="quick", choices=sorted(TIMINGS))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--offload-time", type=float, default=0.0)
    parser.add_argument("--power-sync", type=float, default=None)
    parser.add_argument("--seed", default="my-instance")
    options = parser.parse_args()
    folder: Path = options.dir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    net, holder = claim_net()
    _, channel = fork_host(inherited=[holder.fileno()])

    async def live() -> None:
        devcloud = Devcloud(
            folder,
            timings=TIMINGS[options.timings],
            port=options.port,
            channel=channel,
            net=net,
            offload_time=options.offload_time,
            seed=options.seed,
        )
        if options.power_sync is not None:
            devcloud.cloud.nova.with_timings(power_sync=options.power_sync)
        await devcloud.live()

    asyncio.run(live())
    holder.close()


if __name__ == "__main__":
    main()
