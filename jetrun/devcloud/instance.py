"""One running instance: a process that is a real SSH host, and the ancestor of everything that runs inside it.

It is forked from the host process (``hosts.py``), is a subreaper, so that daemons stay its descendants, and listens on the
instance's own loopback addresses. When it ends with ``POWEROFF`` or ``REBOOT`` the guest did that to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import asyncssh

from jetrun.devcloud.control import listening_path
from jetrun.devcloud.guest.units import Units
from jetrun.devcloud.instance_spec import InstanceSpec
from jetrun.devcloud.instance_ssh import Login, feed, never_answer, pump
from jetrun.devcloud.processes import children_of, kill_below, state_of

POWEROFF, REBOOT = 10, 11
_PR_SET_CHILD_SUBREAPER, _PR_SET_PDEATHSIG = 36, 1


def run(spec: InstanceSpec) -> None:
    """Be the instance until it is off. Never returns."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = asyncio.run(Instance(spec).live())
    os._exit(code)


class Instance:
    """The instance's own view of itself."""

    def __init__(self, spec: InstanceSpec) -> None:
        self.spec = spec
        self.root = spec.folder / "root"
        self.home = spec.folder / "disk" / "home" / spec.user
        self.environment = {
            "HOME": str(self.home),
            "USER": spec.user,
            "LOGNAME": spec.user,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "PATH": f"{spec.folder / 'bin'}:/usr/local/bin:/usr/bin:/bin:{Path(sys.executable).resolve().parent}",
        }
        self._off: asyncio.Future[int] | None = None
        self._listeners: dict[str, Any] = {}
        self._connections: set[Any] = set()
        self._own: set[int] = set()
        self._units = Units(self.root, self._as_root)

    async def live(self) -> int:
        """Boot, serve, and give the exit code when the guest switches itself off."""
        self._off = asyncio.get_running_loop().create_future()
        self._prepare_disk()
        first = not (self.root / "var/lib/cloud/done").exists()
        with listening_path(self.spec.folder / "run") as path:
            control = await asyncio.start_unix_server(self._control, path)
        self._reap_in_background()
        if first and self.spec.user_data:
            await self._cloud_init()
        (self.root / "var/lib/cloud").mkdir(parents=True, exist_ok=True)
        (self.root / "var/lib/cloud/done").touch()
        self._units.boot()
        for address in self.spec.addresses:
            await self._listen(address)
        code = await self._off
        control.close()
        kill_below(os.getpid())
        return code

    # --- disk ---

    def _prepare_disk(self) -> None:
        """Folders, the host key, the programs, and what is new with each boot."""
        bin_folder = self.spec.folder / "bin"
        for folder in (self.home, bin_folder, self.spec.folder / "run", self.root / "etc/systemd/system",
                       self.root / "var/lib", self.root / "proc/sys/kernel/random", self.root / "sys/class/dmi/id"):  # fmt: skip
            folder.mkdir(parents=True, exist_ok=True)
        (self.root / "proc/sys/kernel/random/boot_id").write_text(f"{uuid.uuid4()}\n")
        (self.root / "sys/class/dmi/id/product_uuid").write_text(f"{self.spec.id}\n")
        programs = Path(__file__).parent / "guest"
        ctl = programs / "guestctl.py"
        for name in ("systemctl", "systemd-run", "poweroff", "shutdown", "reboot", "halt"):
            _program(bin_folder / name, f'exec "{sys.executable}" -I -S "{ctl}" {name} "{self.spec.folder}" "$@"\n')
        for name in ("sudo", "wall", "who", "cloud-init"):
            text = (programs / f"{name}.sh").read_text()
            _program(bin_folder / name, text.replace("@FOLDER@", str(self.spec.folder)))
        (self.spec.folder / "run" / "sudo-password").unlink(missing_ok=True)
        if self.spec.refuse_sudo:
            (self.spec.folder / "run" / "sudo-password").touch()
        (self.spec.folder / "run" / "control").unlink(missing_ok=True)
        key_path = self.spec.folder / "host_key"
        if not key_path.exists():
            asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(key_path))
        self._write_console()

    def _write_console(self) -> None:
        """The console log as cloud-init leaves it. Source: cloud-init, cc_keys_to_console and cc_ssh."""
        key = asyncssh.read_private_key(str(self.spec.folder / "host_key"))
        public = " ".join(key.export_public_key().decode().split()[:2])
        with (self.spec.folder / "console.log").open("a") as file:
            file.write(
                "Booting devcloud-linux\n"
                "-----BEGIN SSH HOST KEY FINGERPRINTS-----\n"
                f"256 {key.get_fingerprint()} root@instance (ED25519)\n"
                "-----END SSH HOST KEY FINGERPRINTS-----\n"
                f"-----BEGIN SSH HOST KEY KEYS-----\n{public} root@instance\n-----END SSH HOST KEY KEYS-----\n"
                f"cloud-init: finished at {time.strftime('%a, %d %b %Y %H:%M:%S +0000', time.gmtime())}\ninstance login: \n"
            )

    async def _cloud_init(self) -> None:
        """The user data of the first boot: a script, or the cloud-config keys that jetrun and newcomers use."""
        text = self.spec.user_data
        if text.startswith("#!"):
            script = self.root / "var/lib/user-data"
            script.write_text(text)
            script.chmod(0o700)
            await self._as_root([str(script)])
            return
        if not text.startswith("#cloud-config"):
            return
        import yaml  # type: ignore[import-untyped] # noqa: PLC0415 - no stubs; only launched instances have it; comes with openstacksdk

        config = yaml.safe_load(text) or {}
        self.spec.public_keys.extend(config.get("ssh_authorized_keys", []))
        for file in config.get("write_files", []):
            path = self.root / str(file["path"]).lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.get("content", ""))
            path.chmod(int(str(file.get("permissions", "0644")), 8))
        for command in config.get("runcmd", []):
            await self._as_root(command if isinstance(command, list) else ["sh", "-c", command])

    # --- processes ---

    async def _as_root(self, argv: list[str]) -> int:
        """Run something as the instance's root; its exit code."""
        environment = {**self.environment, "DESTDIR": str(self.root), "HOME": str(self.root), "USER": "root"}
        with (self.spec.folder / "console.log").open("ab") as log:
            child = await self._start(
                argv, env=environment, cwd=str(self.root), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return await self._wait(child)

    def _reap_in_background(self) -> None:
        """Collect orphans, so that they leave no zombies; asyncio waits for its own children by pidfd."""
        asyncio.get_running_loop().call_later(1.0, self._reap)

    def _reap(self) -> None:
        """Collect the orphans that have ended; a program that we started is waited for where it was started."""
        for pid in children_of(os.getpid()):
            if pid not in self._own and state_of(pid) == "Z":
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        asyncio.get_running_loop().call_later(1.0, self._reap)

    async def _start(self, argv: list[str], **options: Any) -> asyncio.subprocess.Process:
        """A program of our own, in a session of its own."""
        child = await asyncio.create_subprocess_exec(*argv, start_new_session=True, **options)
        self._own.add(child.pid)
        return child

    async def _wait(self, child: asyncio.subprocess.Process) -> int:
        """Its exit code."""
        code = await child.wait()
        self._own.discard(child.pid)
        return code

    # --- control ---

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One order in JSON, from the host or from a program inside."""
        order = json.loads(await reader.readline() or b"{}")
        answer: Any = {}
        match order.get("do"):
            case "poweroff":
                self._end(POWEROFF)
            case "reboot":
                self._end(REBOOT)
            case "units":
                answer = await self._units.command(order["argv"])
            case "addresses":
                await self._set_addresses(order["addresses"])
            case "drop":
                for connection in list(self._connections):
                    connection.abort()
            case "silent":
                await self._set_silent(on=order["on"])
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()

    def _end(self, code: int) -> None:
        """Switch off, a moment later, so that whoever asked gets an answer."""

        def off() -> None:
            if self._off is not None and not self._off.done():
                self._off.set_result(code)

        asyncio.get_running_loop().call_later(0.05, off)

    # --- SSH ---

    async def _listen(self, address: str) -> None:
        """Serve SSH on an address; one that is taken by another instance is left alone."""
        if address in self._listeners:
            return
        if self.spec.silent:
            self._listeners[address] = await asyncio.start_server(
                never_answer, address, self.spec.port, reuse_address=True
            )
            return
        self._listeners[address] = await asyncssh.listen(
            address,
            self.spec.port,
            server_host_keys=[str(self.spec.folder / "host_key")],
            server_factory=lambda: Login(self),
            process_factory=self._session,
            sftp_factory=True,
            encoding=None,
            line_editor=False,
            keepalive_interval=0,
            compression_algs=None,
            encryption_algs=[
                "aes128-gcm@openssh.com",
                "aes256-gcm@openssh.com",
                "chacha20-poly1305@openssh.com",
                "aes128-ctr",
            ],
            reuse_address=True,
        )

    async def _set_addresses(self, addresses: list[str]) -> None:
        """Listen on these addresses and no others."""
        for address in [one for one in self._listeners if one not in addresses]:
            self._listeners.pop(address).close()
        for address in addresses:
            await self._listen(address)

    async def _set_silent(self, *, on: bool) -> None:
        """Begin, or stop, to leave connections unanswered."""
        addresses = list(self._listeners)
        await self._set_addresses([])
        self.spec = InstanceSpec(**{**{name: getattr(self.spec, name) for name in self.spec.__slots__}, "silent": on})
        await self._set_addresses(addresses)

    async def _session(self, process: Any) -> None:
        """One exec or shell of a connection."""
        command = process.command
        argv = ["/bin/sh", "-c", command] if command is not None else ["/bin/sh", "-l"]
        environment = {**self.environment, "SSH_CONNECTION": "127.0.0.1 0 127.0.0.1 0"}
        environment |= {key: value for key, value in process.env.items() if key == "LANG" or key.startswith("LC_")}
        if process.term_type:
            environment["TERM"] = process.term_type
        child = await self._start(
            argv,
            env=environment,
            cwd=str(self.home),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        feeding = asyncio.ensure_future(feed(process, child))
        await asyncio.gather(
            pump(child.stdout, process.stdout), pump(child.stderr, process.stderr), return_exceptions=True
        )
        code = await self._wait(child)
        feeding.cancel()
        if code < 0:
            process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            process.exit(code)


def _program(path: Path, body: str) -> None:
    """A shell program that can be executed."""
    path.write_text(body if body.startswith("#!") else f"#!/bin/sh\n{body}")
    path.chmod(0o755)
