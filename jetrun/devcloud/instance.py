"""One running instance: a process that is a real SSH host, and the ancestor of everything that runs inside it.

It is forked from the host process (``instance_host.py``), is a subreaper, so that daemons stay its descendants, and listens on
the instance's own loopback addresses. When it ends with ``POWEROFF`` or ``REBOOT`` unasked, the guest did that to itself; when
the host process is gone, it takes everything inside with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from jetrun.devcloud.instance_children import Children
from jetrun.devcloud.instance_cloud_init import first_boot
from jetrun.devcloud.instance_disk import Disk
from jetrun.devcloud.instance_orders import Door
from jetrun.devcloud.instance_spec import InstanceSpec
from jetrun.devcloud.instance_ssh import Listeners, bare_key
from jetrun.devcloud.instance_units import Units
from jetrun.devcloud.processes import kill_below

POWEROFF, REBOOT = 10, 11
_PR_SET_CHILD_SUBREAPER, _PR_SET_PDEATHSIG = 36, 1
_ANSWER_S = 0.05
"""Between an order to switch off and the deed, so that whoever asked gets an answer."""


def run(spec: InstanceSpec, link: socket.socket) -> NoReturn:
    """Be the instance until it is off.

    Args:
        link: to the host process: orders in, answers out, and its end is the host's.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # A frozen instance is woken by its host's death, and then sees the end of the link.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Not ignored, which the programs inside would inherit: nothing that a script sends its parent may end the machine.
        signal.signal(number, lambda *_: None)
    with (spec.folder / "instance.log").open("w") as log, Path(os.devnull).open() as nothing:
        for theirs, ours in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(theirs.fileno(), ours)
    os._exit(asyncio.run(Instance(spec, link).live()))


class Instance:
    """The instance's own view of itself."""

    def __init__(self, spec: InstanceSpec, link: socket.socket) -> None:
        self._spec = spec
        self._link = link
        self._disk = Disk(spec.folder, spec.id)
        self.authorized_keys = self._disk.homes / spec.user / ".ssh/authorized_keys"
        self.connections: set[Any] = set()
        self.children: Children

    async def live(self) -> int:
        """Boot, serve, and give the exit code when it is to be off."""
        loop = asyncio.get_running_loop()
        self._off: asyncio.Future[int] = loop.create_future()
        self.children = Children()
        self._disk.prepare(refuse_sudo=self._spec.refuse_sudo)
        self._addresses, self._silent = self._spec.addresses, self._spec.silent
        self._listeners = Listeners(self, self._disk.host_key, self._spec.port)
        self._units = Units(self._disk.root, self._run_unit)
        door = Door(self._disk.run, self._units, power=self._power, warn=self._warn)
        self._link.setblocking(False)
        loop.add_reader(self._link.fileno(), self._heard)
        booting = asyncio.ensure_future(self._boot())
        first: set[asyncio.Future[Any]] = {booting, self._off}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if booting.done():
            booting.result()
        code = await self._off
        booting.cancel()
        door.close()
        self._units.stop_all()
        await self._listeners.set([], silent=False)
        for connection in list(self.connections):
            connection.abort()
        await self.children.end_all(grace_s=self._spec.grace_s)
        return code

    async def _boot(self) -> None:
        """cloud-init the first time, then what is enabled, then SSH."""
        disk, result = self._disk, self._disk.root / "var/lib/cloud/result"
        disk.announce_boot()
        if not result.exists() or not self.authorized_keys.exists():
            self._authorize(self._spec.public_keys)
        if not result.exists():
            fine = await first_boot(
                self._spec.user_data, root=disk.root, run=self._run_first, say=disk.write, add_keys=self._authorize
            )
            result.write_text("done\n" if fine else "error\n")
        self._units.boot()
        await self._listeners.set(self._addresses, silent=self._silent)
        disk.announce_keys()

    def _authorize(self, keys: Sequence[str]) -> None:
        """Let these keys in, as cloud-init does: by the user's own file, which the user may change."""
        file = self.authorized_keys
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        old = file.read_text() if file.exists() else ""
        known = {bare_key(line) for line in old.splitlines()}
        new = [key.strip() for key in keys if key.strip() and bare_key(key) not in known]
        file.write_text(old + "".join(f"{key}\n" for key in new))
        file.chmod(0o600)

    # --- processes ---

    def home_of(self, user: str) -> Path:
        """A user's home, made when it is first needed."""
        home = self._disk.homes / user
        home.mkdir(parents=True, exist_ok=True)
        return home

    def environment_of(self, user: str) -> dict[str, str]:
        """What a user's programs begin with; nothing of the devcloud's own."""
        home = str(self.home_of(user))
        return {**self._base(), "HOME": home, "USER": user, "LOGNAME": user, "SHELL": "/bin/sh"}

    def _base(self) -> dict[str, str]:
        python = Path(sys.executable).resolve().parent
        return {"LANG": "C.UTF-8", "PATH": f"{self._disk.bin}:/usr/local/bin:/usr/bin:/bin:{python}"}

    async def _run_first(self, argv: list[str]) -> int:
        """A command of the first boot; what it prints goes to the console."""
        root = self._disk.root
        more = {"HOME": str(root / "root"), "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh"}
        return await self._as_root(argv, more, root, self._disk.console)

    async def _run_unit(self, argv: Sequence[str], more: Mapping[str, str], folder: Path) -> int:
        """A program of a unit; what it prints goes to the log."""
        return await self._as_root(argv, more, folder, self._disk.root / "var/log/syslog")

    async def _as_root(self, argv: Sequence[str], more: Mapping[str, str], folder: Path, log: Path) -> int:
        """Run something as the instance's root; its exit code."""
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        with log.open("ab") as out:
            self.children.start(
                argv,
                env={**self._base(), "DESTDIR": str(self._disk.root), **more},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out.fileno(),
                stderr=out.fileno(),
                on_end=lambda code: None if ended.done() else ended.set_result(code),
            )
        return await ended

    # --- orders ---

    def _heard(self) -> None:
        """The host process says something, or is gone."""
        try:
            data = self._link.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            asyncio.ensure_future(self._obey(json.loads(data)))  # noqa: RUF006 - ends with the instance
            return
        kill_below(os.getpid())
        os._exit(POWEROFF)

    async def _obey(self, order: dict[str, Any]) -> None:
        """One order of the host process, answered when it is carried out."""
        match order["do"]:
            case "off":
                self._end(POWEROFF)
            case "poweroff" | "reboot":
                self._power(order["do"])
            case "addresses":
                self._addresses = order["addresses"]
                await self._listeners.set(self._addresses, silent=self._silent)
            case "silent":
                self._silent = order["on"]
                await self._listeners.set(self._addresses, silent=self._silent)
            case "drop":
                for connection in list(self.connections):
                    connection.abort()
        with contextlib.suppress(OSError):
            self._link.send(json.dumps({"done": order["number"]}).encode())

    def _power(self, what: str) -> None:
        """Be off a moment later."""
        asyncio.get_running_loop().call_later(_ANSWER_S, self._end, REBOOT if what == "reboot" else POWEROFF)

    def _end(self, code: int) -> None:
        """Be off; the first word counts."""
        if not self._off.done():
            self._off.set_result(code)

    def _warn(self, text: str) -> None:
        """What everybody logged in would read."""
        with (self._disk.root / "var/log/wall").open("a") as file:
            file.write(f"\nBroadcast message from root:\n\n{text}\n")
