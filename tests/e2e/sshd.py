"""A real OpenSSH sshd on loopback, as the current user, whose sessions have a home, a PATH and a ``sudo`` of their own.

Nothing of the machine can be reached through its ``sudo``: it only sets DESTDIR, and ``poweroff``, ``systemctl``, ``wall`` and
``shutdown`` are programs that write down that they were called.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

RECORDING = """#!/bin/sh
printf '%s\\n' "$(basename "$0") $*" >>'{root}/calls'
{more}
"""

SUDO = """#!/bin/sh
[ ! -e '{root}/no-sudo' ] || {{ echo 'sudo: a password is required' >&2; exit 1; }}
while :; do case $1 in -n | -S | --) shift ;; *) break ;; esac; done
DESTDIR='{root}' exec "$@"
"""


class Sshd:
    """One server; ``start`` and ``stop`` may alternate. Its folders stay."""

    def __init__(self, folder: Path, *, host_key_kinds: Sequence[str] = ("ed25519",), rsync: bool = True) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.root = folder / "root"
        self.identity = folder / "client_key"
        self.user = getpass.getuser()
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        for path in (self.home, self.root / "run", self.root / "proc/sys/kernel/random", folder / "bin"):
            path.mkdir(parents=True)
        (self.root / "proc/sys/kernel/random/boot_id").write_text("11111111-1111-4111-8111-111111111111\n")
        keygen(self.identity)
        for kind in host_key_kinds:
            self.new_host_key(kind)
        shutil.copy(self.identity.with_suffix(".pub"), folder / "authorized_keys")
        self._programs(rsync=rsync)
        self.configure()

    def new_host_key(self, kind: str = "ed25519") -> None:
        path = self.folder / f"host_{kind}"
        path.unlink(missing_ok=True)
        keygen(path, kind)

    def host_key_line(self, kind: str = "ed25519") -> str:
        return " ".join((self.folder / f"host_{kind}.pub").read_text().split()[:2])

    def _programs(self, *, rsync: bool) -> None:
        """The session's PATH: the system's programs by link, so that some can be missing, and ours before them."""
        system = self.folder / "system"
        system.mkdir()
        for folder in ("/bin", "/usr/bin"):
            for program in os.scandir(folder):
                if program.name not in {"sudo", "systemctl", "wall", "shutdown", "poweroff"} | (
                    set() if rsync else {"rsync"}
                ):
                    link = system / program.name
                    if not link.is_symlink():
                        link.symlink_to(program.path)
        for name in ("wall", "shutdown", "poweroff"):
            self.program(name, RECORDING.format(root=self.root, more="[ -t 0 ] || cat >/dev/null"))
        self.program("systemctl", RECORDING.format(root=self.root, more="echo offline; exit 1"))
        self.program("sudo", SUDO.format(root=self.root))

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    @property
    def calls(self) -> Sequence[str]:
        """What was called of the recording programs."""
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def configure(self, *lines: str) -> None:
        keys = [f"HostKey {path}" for path in sorted(self.folder.glob("host_*")) if path.suffix != ".pub"]
        text = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            *keys,
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin prohibit-password",
            "PidFile none",
            "PrintMotd no",
            "MaxStartups 100",
            f"SetEnv HOME={self.home} PATH={self.folder}/bin:{self.folder}/system LANG=C.UTF-8",
            *lines,
        ]
        (self.folder / "sshd_config").write_text("\n".join(text) + "\n")

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    shutil.which("sshd", path="/usr/sbin:/usr/bin") or "sshd",
                    "-D",
                    "-e",
                    "-f",
                    self.folder / "sshd_config",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                    # That it listens does not say that it serves.
                    if link.recv(8).startswith(b"SSH-"):
                        return
            except OSError:
                if time.monotonic() > until:
                    raise AssertionError((self.folder / "sshd.log").read_text()) from None
                time.sleep(0.02)

    def stop(self) -> None:
        """End the listener and every connection, leaving what was started inside."""
        process, self._process = self._process, None
        if process is None:
            return
        for pid in self.sessions(process.pid):
            with_suppress_kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()

    @staticmethod
    def descendants(pid: int) -> Sequence[int]:
        found = []
        for child in _children(pid):
            found += [child, *Sshd.descendants(child)]
        return found

    def sessions(self, pid: int | None = None) -> Sequence[int]:
        """The sshd processes of the connections."""
        pid = pid or (self._process.pid if self._process else 0)
        return [one for one in self.descendants(pid) if _name(one).startswith("sshd")]

    def drop(self) -> None:
        """Cut every connection; new ones are taken."""
        for pid in self.sessions():
            with_suppress_kill(pid, signal.SIGKILL)

    def freeze(self) -> None:
        """Every connection stands still, as of a suspended instance."""
        for pid in self.sessions():
            with_suppress_kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self.sessions():
            with_suppress_kill(pid, signal.SIGCONT)


def keygen(path: Path, kind: str = "ed25519", passphrase: str = "") -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", path, "-C", "test"], check=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def with_suppress_kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _children(pid: int) -> Sequence[int]:
    try:
        return [
            int(word)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for word in (task / "children").read_text().split()
        ]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


assert sys.platform == "linux"
