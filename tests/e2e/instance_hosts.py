"""Instances without a cloud: a host process of a test's own, its handle, and clients that are not ours (asyncssh, ssh, rsync)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncssh

from jetrun.devcloud.hosts import InstanceHosts, fork_host
from jetrun.devcloud.instance_spec import InstanceSpec
from jetrun.devcloud.loopback import claim_net

USER = "researcher"


class Lab:
    """Hosts in a folder; every test's instances have addresses that nobody else on this machine has.

    Attributes:
        offs: the instances that switched themselves off, in order.
    """

    def __init__(self, folder: Path, channel: socket.socket, net: int, port: int) -> None:
        self.folder = folder
        self.port = port
        self.offs: list[str] = []
        self._net = net
        self._specs: dict[str, InstanceSpec] = {}
        self.key = folder / "id_ed25519"
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(self.key))
        self.key.chmod(0o600)
        self.public = key.export_public_key().decode().strip()
        self.hosts = InstanceHosts(
            channel=channel, folder=folder / "instances", describe=self._specs.__getitem__, on_off=self.offs.append
        )

    def add(self, **more: Any) -> str:
        """An instance that is off."""
        instance = str(uuid.uuid4())
        settings = {
            "id": instance, "folder": self.folder / "instances" / instance, "addresses": [self.address(len(self._specs) + 1)],
            "port": self.port, "user": USER, "public_keys": [self.public], "user_data": "", **more,
        }  # fmt: skip
        self._specs[instance] = InstanceSpec(**settings)
        return instance

    def address(self, number: int) -> str:
        return f"127.{self._net}.0.{number}"

    def spec(self, instance: str) -> InstanceSpec:
        return self._specs[instance]

    def change(self, instance: str, **more: Any) -> None:
        """Another spec from the next boot on."""
        old = self._specs[instance]
        self._specs[instance] = InstanceSpec(**{**{name: getattr(old, name) for name in old.__slots__}, **more})

    def root(self, instance: str) -> Path:
        return self.spec(instance).folder / "root"

    def home(self, instance: str) -> Path:
        return self.spec(instance).folder / "disk/home" / USER

    async def boot(self, **more: Any) -> str:
        """An instance whose SSH answers."""
        instance = self.add(**more)
        await self.hosts.power_on(instance)
        await self.greets(instance)
        return instance

    async def greets(self, instance: str) -> None:
        """Waits for SSH."""
        address = self.spec(instance).addresses[0]
        await eventually(lambda: greeting(address, self.port), is_async=True)

    async def connect(self, instance: str, address: str = "", **more: Any) -> asyncssh.SSHClientConnection:
        options = {
            "username": USER,
            "client_keys": [str(self.key)],
            "known_hosts": None,
            "config": None,
            "agent_path": None,
        }
        return await asyncssh.connect(address or self.spec(instance).addresses[0], self.port, **{**options, **more})

    async def run(self, instance: str, command: str, **more: Any) -> asyncssh.SSHCompletedProcess:
        """A command, its output as text."""
        async with await self.connect(instance) as connection:
            return await connection.run(command, **more)

    async def run_code(self, instance: str, command: str) -> int:
        """The exit status of a command."""
        return int((await self.run(instance, command)).exit_status or 0)

    async def sh(self, instance: str, command: str) -> str:
        """The output of a command that must succeed."""
        done = await self.run(instance, command)
        assert done.exit_status == 0, (done.exit_status, done.stdout, done.stderr)
        return str(done.stdout).strip()

    def openssh(self, instance: str) -> list[str]:
        """OpenSSH's client, as a command line without the host."""
        console = self.hosts.console(instance)
        line = console.rpartition("-----BEGIN SSH HOST KEY KEYS-----\n")[2].splitlines()[0]
        known = self.folder / f"known-{instance}"
        known.write_text(f"instance {line}\n")
        options = ("BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={known}",
                   "GlobalKnownHostsFile=/dev/null", "HostKeyAlias=instance", "ConnectTimeout=5")  # fmt: skip
        words = [word for option in options for word in ("-o", option)]
        return ["ssh", "-F", "/dev/null", "-i", str(self.key), "-p", str(self.port), *words]


async def greeting(address: str, port: int, within_s: float = 0.4) -> bytes | None:
    """What a host says first: empty when it is silent, None when it refuses."""
    try:
        reader, writer = await asyncio.open_connection(address, port)
    except ConnectionRefusedError:
        return None
    try:
        return await asyncio.wait_for(reader.readline(), within_s)
    except (TimeoutError, ConnectionResetError):
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def eventually(claim: Callable[[], Any], within_s: float = 10, *, is_async: bool = False) -> Any:
    """The first true answer."""
    until = asyncio.get_running_loop().time() + within_s
    while True:
        answer = await claim() if is_async else claim()
        if answer:
            return answer
        assert asyncio.get_running_loop().time() < until, "it did not happen"
        await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


@contextmanager
def forked(folder: Path) -> Iterator[tuple[Lab, int]]:
    """A lab and the pid of its host process, which is over afterwards."""
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    net, holder = claim_net(None, port)
    pid, channel = fork_host(inherited=[holder.fileno()])
    try:
        with holder:
            yield Lab(folder, channel, net, port), pid
    finally:
        channel.close()
        os.waitpid(pid, 0)


@asynccontextmanager
async def listening(lab: Lab, *, close: bool = True) -> AsyncIterator[Lab]:
    """The lab within a running loop; unless *close*, it can be used in another one afterwards."""
    lab.hosts.start()
    try:
        yield lab
    finally:
        if close:
            lab.hosts.close()
        else:
            lab.hosts.stop()


def finished(argv: list[str], **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, capture_output=True, timeout=60, check=False, **more)
