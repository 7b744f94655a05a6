"""The hosts of the embedded cloud: a process that forks one child an instance, and its handle in the cloud's own process.

Forked early, before any thread or event loop is there, with the SSH library imported once: an instance is on in some
ten milliseconds. When the cloud's process dies, by whatever cause, its end of the channel closes and every instance dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jetrun.devcloud.control import listening_path
from jetrun.devcloud.instance import REBOOT, run
from jetrun.devcloud.instance_spec import InstanceSpec
from jetrun.devcloud.processes import descendants_of, kill_below


def fork_host(*, inherited: list[int]) -> tuple[int, socket.socket]:
    """Fork the host process: (its pid, the channel to it). Call it before any loop or thread exists.

    Args:
        inherited: file descriptors that the host must not keep.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        ours.setblocking(False)
        return pid, ours
    ours.close()
    for descriptor in inherited:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    try:
        _Host(theirs).serve()
    finally:
        os._exit(0)


class _Host:
    """The host process's own loop: orders come in, ends of instances go out. No threads, no asyncio."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._pids: dict[str, int] = {}
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._woken, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """Until the channel closes; then nothing that runs inside an instance is left."""
        try:
            while True:
                ready, _, _ = select.select([self._channel.fileno(), self._woken], [], [])
                if self._woken in ready:
                    os.read(self._woken, 512)
                    self._collect()
                if self._channel.fileno() in ready:
                    data = self._channel.recv(1 << 18)
                    if not data:
                        return
                    self._obey(json.loads(data))
        except OSError:
            return
        finally:
            for instance in list(self._pids):
                self._kill(instance)

    def _obey(self, order: dict[str, Any]) -> None:
        """One order."""
        instance = order["id"]
        match order["do"]:
            case "on":
                if instance not in self._pids:
                    self._pids[instance] = self._fork(
                        InstanceSpec(**{**order["spec"], "folder": Path(order["spec"]["folder"])})
                    )
            case "off":
                self._kill(instance)
            case "freeze" | "thaw":
                number = signal.SIGSTOP if order["do"] == "freeze" else signal.SIGCONT
                pid = self._pids.get(instance)
                for one in [pid, *descendants_of(pid)] if pid else []:
                    _signal(one, number)
        self._say({"id": instance, "done": order["number"]})

    def _fork(self, spec: InstanceSpec) -> int:
        """A child that is the instance."""
        pid = os.fork()
        if pid:
            return pid
        self._channel.close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            run(spec)
        except BaseException as error:  # noqa: BLE001 - the child must never come back into the host's loop
            with contextlib.suppress(OSError):
                (spec.folder / "crash.log").write_text(repr(error))
        finally:
            os._exit(1)

    def _kill(self, instance: str) -> None:
        """Everything inside first, then the instance itself: an orphan would otherwise escape upwards."""
        pid = self._pids.pop(instance, None)
        if pid is None:
            return
        _signal(pid, signal.SIGSTOP)
        kill_below(pid)
        _signal(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)

    def _collect(self) -> None:
        """Instances that ended by themselves."""
        for instance, pid in list(self._pids.items()):
            with contextlib.suppress(ChildProcessError):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    del self._pids[instance]
                    self._say({"id": instance, "ended": os.waitstatus_to_exitcode(status)})

    def _say(self, what: dict[str, Any]) -> None:
        """Tell the cloud's process."""
        self._channel.send(json.dumps(what).encode())


def _signal(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class InstanceHosts:
    """The handle on the host process.

    Args:
        folder: holds one folder an instance. describe: gives an instance's spec, as the models have it now.
        on_off, on_reboot: told when a guest switched itself off, or booted itself anew.
    """

    def __init__(
        self,
        *,
        channel: socket.socket,
        folder: Path,
        describe: Callable[[str], InstanceSpec],
        on_off: Callable[[str], None],
    ) -> None:
        self._channel = channel
        self._folder = folder
        self._describe = describe
        self._on_off = on_off
        self._number = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self.running: set[str] = set()
        self.silent: set[str] = set()
        self.refuse_sudo: set[str] = set()

    def start(self) -> None:
        """Begin to listen to the host process."""
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._heard)

    def close(self) -> None:
        """Let the host process end, and every instance with it."""
        with contextlib.suppress(RuntimeError, ValueError):
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
        self._channel.close()

    def _heard(self) -> None:
        """What the host process says."""
        with contextlib.suppress(BlockingIOError):
            while data := self._channel.recv(1 << 16):
                word = json.loads(data)
                if "done" in word:
                    waiting = self._waiting.pop(word["done"], None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(None)
                    continue
                instance = word["id"]
                self.running.discard(instance)
                if word["ended"] == REBOOT:
                    asyncio.ensure_future(self.power_on(instance))  # noqa: RUF006 - the loop lives as long as the cloud
                else:
                    # Switched off from inside, or its process crashed: Nova will see it at its next power sync.
                    self._on_off(instance)

    async def _order(self, do: str, instance: str, **more: Any) -> None:
        """Send one order and wait until it is carried out."""
        self._number += 1
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = waiting
        self._channel.send(json.dumps({"do": do, "id": instance, "number": self._number, **more}).encode())
        await asyncio.wait_for(waiting, 10)

    async def power_on(self, instance: str) -> None:
        """Boot."""
        spec = self._describe(instance)
        (spec.folder / "run").mkdir(parents=True, exist_ok=True)
        data = {**asdict(spec), "folder": str(spec.folder)}
        await self._order("on", instance, spec=data)
        self.running.add(instance)

    async def power_off(self, instance: str) -> None:
        """Cut the power."""
        self.running.discard(instance)
        await self._order("off", instance)

    async def freeze(self, instance: str) -> None:
        """Suspend or pause: nothing inside moves."""
        await self._order("freeze", instance)

    async def thaw(self, instance: str) -> None:
        """Go on; an instance whose process is gone (the devcloud was restarted meanwhile) is booted."""
        if instance in self.running:
            await self._order("thaw", instance)
        else:
            await self.power_on(instance)

    async def reboot(self, instance: str) -> None:
        """Off and on."""
        await self.power_off(instance)
        await self.power_on(instance)

    async def wipe(self, instance: str) -> None:
        """The disk goes."""
        shutil.rmtree(self._folder / instance, ignore_errors=True)

    async def tell(self, instance: str, **order: Any) -> None:
        """An order to a running instance itself: ``drop``, ``silent``, ``poweroff``, ``reboot``, ``addresses``."""
        if instance not in self.running:
            return
        with listening_path(self._folder / instance / "run") as path:
            reader, writer = await asyncio.open_unix_connection(path)
        writer.write(json.dumps(order).encode() + b"\n")
        await writer.drain()
        await reader.readline()
        writer.close()

    def set_addresses(self, instance: str, addresses: list[str]) -> None:
        """Let a running instance listen on these addresses."""
        if instance in self.running:
            asyncio.ensure_future(self.tell(instance, do="addresses", addresses=addresses))  # noqa: RUF006

    def console(self, instance: str) -> str:
        """The console log, empty before the first boot."""
        try:
            return (self._folder / instance / "console.log").read_text(errors="replace")
        except OSError:
            return ""
