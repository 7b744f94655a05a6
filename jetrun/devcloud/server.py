"""The embedded cloud's process: models, HTTP, hosts and mail sink together, until SIGTERM.

``python -m jetrun.devcloud.server --dir DIR [--timings zero|quick|slow] [--port N]`` writes ``devcloud.json`` (where everything
is) and ``clouds.yaml`` into DIR when it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import signal
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
from aiohttp import web

from jetrun.devcloud import mail_sink
from jetrun.devcloud.admin import Admin
from jetrun.devcloud.announcement import announce
from jetrun.devcloud.dispatch import Dispatcher
from jetrun.devcloud.hosts import InstanceHosts, fork_host
from jetrun.devcloud.instance_spec import InstanceSpec
from jetrun.devcloud.loopback import claim_net, kept_net
from jetrun.devcloud.rules import ZERO, Timings
from jetrun.devcloud.state import CloudState

TIMINGS = {
    "zero": ZERO,
    "quick": Timings(),
    "slow": Timings(build=4, stop=3, start=2, snapshot=4, offload=2, unshelve=6),
}
SSH_PORT = 2222
BOOT_S = 5.0
"""Until an instance that was switched on takes orders: 20 ms on an idle machine."""
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
        self.refusing: set[str] = set()
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
        app.add_routes([*Admin(self).routes(), *dispatcher.routes()])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        port = runner.addresses[0][1]
        dispatcher.faces.base = f"http://127.0.0.1:{port}"
        sink, mail_port = await mail_sink.serve(self.mail_folder, self.cloud.faults)
        await self.settle()
        announce(
            self.folder,
            base=dispatcher.faces.base,
            token=self.token,
            mail_port=mail_port,
            ssh_port=SSH_PORT,
            ssh_user=USER,
        )
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

    def keep(self) -> None:
        """Write everything down."""
        self.cloud.save(self._state_file)

    async def settle(self) -> None:
        """Carry out what the models asked of the hosts, in order."""
        async with self._settling:
            effects = self.cloud.nova.effects
            while effects:
                effect = effects.pop(0)
                match effect.kind:
                    case "power_on":
                        self._boot_faults(effect.instance)
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

    def _boot_faults(self, instance: str) -> None:
        """Faults that an instance has from its boot on: it is never heard, or refuses every connection."""
        for name, ill in (("ssh-silent", self.hosts.silent), ("ssh-refused", self.refusing)):
            ill.discard(instance)
            if self.cloud.faults.take("ssh.connect", name):
                ill.add(instance)

    def strike(self, instance: str) -> None:
        """Faults that come over a running instance: each strikes once."""
        loop, faults = asyncio.get_running_loop(), self.cloud.faults
        while fault := faults.take("ssh.connect", "ssh-drop", "guest-poweroff"):
            order = "drop" if fault.name == "ssh-drop" else "poweroff"
            loop.call_later(fault.seconds, self.tell_later, instance, {"do": order})
            if fault.times < 0:
                # One that is set for ever would be found again and again.
                break
        if faults.take("ssh.connect", "ssh-silent"):
            self.tell_later(instance, {"do": "silent", "on": True})
        if faults.take("ssh.connect", "ssh-refused"):
            self.tell_later(instance, {"do": "addresses", "addresses": []})

    def heal(self) -> None:
        """Every instance answers again."""
        self.hosts.silent.clear()
        self.refusing.clear()
        for instance in self.hosts.running:
            self.tell_later(instance, {"do": "silent", "on": False})
            self.tell_later(instance, {"do": "addresses", "addresses": self.cloud.addresses(instance)})

    def tell_later(self, instance: str, order: dict[str, Any]) -> None:
        """Give a running instance an order, without waiting for it."""
        asyncio.ensure_future(self.tell(instance, **order))  # noqa: RUF006 - the loop lives as long as the cloud

    async def tell(self, instance: str, **order: Any) -> None:
        """Give a running instance an order; one that has only just been switched on is given the time to listen."""
        until = asyncio.get_running_loop().time() + BOOT_S
        while True:
            try:
                await self.hosts.tell(instance, **order)
            except (FileNotFoundError, ConnectionRefusedError):
                if asyncio.get_running_loop().time() > until:
                    sys.stderr.write(f"instance {instance} takes no orders: {order}\n")
                    return
                await asyncio.sleep(0.01)
            except OSError as error:  # it ended meanwhile
                sys.stderr.write(f"instance {instance} ended under an order: {error}\n")
                return
            else:
                return

    async def _tick(self) -> None:
        """Let what is due happen, when it is due."""
        nova = self.cloud.nova
        while True:
            self._wake.clear()
            nova.advance(self.now())
            if nova.effects:
                try:
                    await self.settle()
                except (OSError, TimeoutError) as error:  # time goes on for the others
                    sys.stderr.write(f"a host did not do what it was asked: {error!r}\n")
                self.cloud.save(self._state_file)
            due = nova.next_due()
            wait_s = None if due is None else max(0.0, (due - self.now()).total_seconds())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)

    def _guest_off(self, instance: str) -> None:
        """A guest switched itself off."""
        self.cloud.nova.guest_powered_off(instance, self.now())
        self.cloud.save(self._state_file)
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
            addresses=[] if instance in self.refusing else self.cloud.addresses(instance),
            port=SSH_PORT,
            user=USER,
            public_keys=[key["public_key"]] if key else [],
            user_data=base64.b64decode(server.user_data).decode() if server.user_data else "",
            silent=instance in self.hosts.silent,
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
    net, holder = claim_net(kept_net(folder / "state.json"), SSH_PORT)
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
