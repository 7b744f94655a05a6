"""The hosts of the embedded cloud, as the cloud's own process sees them: orders to the host process, and what it tells.

The host process is forked early, before any thread or event loop is there, with the SSH library imported once: an instance is
on in some ten milliseconds. When the cloud's process dies, by whatever cause, its end of the channel closes and every instance dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jetrun.devcloud.instance import REBOOT
from jetrun.devcloud.instance_host import MARGIN_S, Host
from jetrun.devcloud.instance_spec import InstanceSpec

ORDER_S = 10.0
"""Until the host process has carried out an order, beyond an instance's own grace."""
CONSOLE_BYTES = 102_400
"""Source: Nova, MAX_CONSOLE_BYTES of its drivers."""


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
    try:
        ours.close()
        for descriptor in inherited:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        Host(theirs).serve()
    finally:
        os._exit(0)


class InstanceHosts:
    """The handle on the host process.

    Args:
        folder: holds one folder an instance. describe: gives an instance's spec, as the models have it now.
        on_off: told when a guest switched itself off, or its process crashed: Nova sees that at its next power sync.

    Attributes:
        running: the instances that are on, frozen ones too. silent, refuse_sudo: for whoever describes them.
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
        self._boots: dict[str, int] = {}
        self._graces: dict[str, float] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._later: set[asyncio.Task[None]] = set()
        self.running: set[str] = set()
        self.silent: set[str] = set()
        self.refuse_sudo: set[str] = set()

    def start(self) -> None:
        """Begin to listen to the host process."""
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._heard)

    def stop(self) -> None:
        """Listen no more; the instances stay as they are."""
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        for task in self._later:
            task.cancel()

    def close(self) -> None:
        """Let the host process end, and every instance with it."""
        self.stop()
        self._channel.close()

    def _heard(self) -> None:
        """What the host process says."""
        try:
            while data := self._channel.recv(1 << 16):
                self._take(json.loads(data))
        except BlockingIOError:
            return
        except OSError:
            pass
        self._lost()

    def _take(self, word: dict[str, Any]) -> None:
        """One word: an order is carried out, or an instance has ended by itself."""
        if "done" in word:
            waiting = self._waiting.pop(word["done"], None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
            return
        instance = word["id"]
        if word["boot"] != self._boots.get(instance):
            return
        self.running.discard(instance)
        if word["ended"] == REBOOT:
            self._do_later(self.power_on(instance))
        else:
            self._on_off(instance)

    def _lost(self) -> None:
        """The host process is gone, and with it everything that ran."""
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the host process is gone"))
        for instance in sorted(self.running):
            self.running.discard(instance)
            self._on_off(instance)

    def _do_later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for; what goes wrong is said."""
        task = asyncio.ensure_future(work)
        self._later.add(task)
        task.add_done_callback(self._done_later)

    def _done_later(self, task: asyncio.Task[None]) -> None:
        self._later.discard(task)
        if not task.cancelled() and task.exception() is not None:
            sys.stderr.write(f"a host did not do what it was asked: {task.exception()!r}\n")

    async def _order(self, do: str, instance: str, **more: Any) -> None:
        """Send one order and wait until it is carried out."""
        self._number += 1
        number = self._number
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        if do == "on":
            self._boots[instance] = number
        try:
            self._channel.send(json.dumps({"do": do, "id": instance, "number": number, **more}).encode())
            await asyncio.wait_for(waiting, ORDER_S + MARGIN_S + self._graces.get(instance, 0))
        finally:
            self._waiting.pop(number, None)

    async def power_on(self, instance: str) -> None:
        """Boot; returns when the process and its disk are there, a moment before SSH answers."""
        spec = self._describe(instance)
        spec.folder.mkdir(parents=True, exist_ok=True)
        self._graces[instance] = spec.grace_s
        self.running.add(instance)
        try:
            await self._order("on", instance, spec={**asdict(spec), "folder": str(spec.folder)})
        except (OSError, TimeoutError):
            self.running.discard(instance)
            raise

    async def power_off(self, instance: str, *, graceful: bool = True) -> None:
        """Switch off; nothing inside runs any more when this returns.

        Args:
            graceful: SIGTERM first, and a grace, as a guest's own shutdown. Without: the power is cut.
        """
        self.running.discard(instance)
        await self._order("off", instance, graceful=graceful)

    async def freeze(self, instance: str) -> None:
        """Suspend or pause: nothing inside moves."""
        await self._order("freeze", instance)

    async def thaw(self, instance: str) -> None:
        """Go on; an instance whose process is gone (the devcloud was restarted meanwhile) is booted."""
        if instance in self.running:
            await self._order("thaw", instance)
        else:
            await self.power_on(instance)

    async def reboot(self, instance: str, *, graceful: bool = True) -> None:
        """Off and on."""
        await self.power_off(instance, graceful=graceful)
        await self.power_on(instance)

    async def wipe(self, instance: str) -> None:
        """The disk goes, with whatever its users took their own rights to away from."""
        folder = self._folder / instance
        for name, folders, _ in os.walk(folder):
            for path in (Path(name), *(Path(name) / one for one in folders)):
                if not path.is_symlink():
                    with contextlib.suppress(OSError):
                        path.chmod(stat.S_IRWXU)
        shutil.rmtree(folder, ignore_errors=True)

    async def tell(self, instance: str, **order: Any) -> None:
        """Give an order to a running instance itself.

        Its ``do`` is one of ``drop`` (cut all connections; programs live on), ``silent`` (``on``: accept connections and never answer),
        ``addresses`` (listen on these only; on none, connections are refused), ``poweroff`` and ``reboot`` (as from inside).
        A frozen or absent instance does nothing.
        """
        if instance in self.running:
            await self._order("tell", instance, order=order)

    def set_addresses(self, instance: str, addresses: list[str]) -> None:
        """Let a running instance listen on these addresses."""
        if instance in self.running:
            self._do_later(self.tell(instance, do="addresses", addresses=addresses))

    def console(self, instance: str) -> str:
        """The end of the console log, empty before the first boot."""
        try:
            with (self._folder / instance / "console.log").open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - CONSOLE_BYTES))
                return file.read().decode(errors="replace")
        except OSError:
            return ""
