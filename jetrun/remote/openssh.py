"""The system's OpenSSH with the same identity and the same pinned host key, for transfers, and one shared connection for them.

All paths that OpenSSH sees are short links in a private folder: its options know quotes, ``%``, ``~`` and ``${}``, and the path
of a control socket may have 108 bytes at most.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from jetrun.remote.interface import Target

HOST = "instance"
"""The word for the host in command lines: where it is stands in options, so an IPv6 address needs no brackets."""

MASTER_COMMAND = "exec cat"
"""What the shared connection runs: it ends with its standard input, so with this process, however that ends."""


class OpenSsh:
    """OpenSSH for one target. Close it."""

    def __init__(self, target: Target, known_hosts: Path) -> None:
        self._target = target
        self._folder = Path(tempfile.mkdtemp(prefix="jetrun-", dir="/tmp" if len(tempfile.gettempdir()) > 40 else None))  # noqa: S108 - mkdtemp makes it private
        self._master: subprocess.Popen[bytes] | None = None
        (self._folder / "known_hosts").symlink_to(known_hosts.absolute())
        self._keys = []
        for number, path in enumerate(target.identities):
            key = self._folder / f"key{number}"
            key.symlink_to(path.absolute())
            self._keys.append(key)
            for suffix in (".pub", "-cert.pub"):
                beside = path.with_name(path.name + suffix)
                if beside.exists():
                    key.with_name(key.name + suffix).symlink_to(beside.absolute())

    @property
    def folder(self) -> Path:
        """A private folder that lives as long as this."""
        return self._folder

    def command(self) -> Sequence[str]:
        """``ssh`` with every option, without a host: shared where the shared connection stands, else by itself."""
        return ["ssh", *self._options(), "-o", "ControlMaster=no"]

    def _options(self) -> list[str]:
        target = self._target
        options = [
            f"HostName={target.host}",
            f"Port={target.port}",
            f"User={target.user}",
            f"HostKeyAlias={target.instance}",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={self._folder}/known_hosts",
            "GlobalKnownHostsFile=/dev/null",
            "UpdateHostKeys=no",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "BatchMode=yes",
            "ConnectTimeout=20",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=3",
            "LogLevel=ERROR",
            "Compression=no",
            # Twice as quick as OpenSSH's first choice where the processor knows AES, as every cloud's does.
            "Ciphers=^aes128-gcm@openssh.com",
            f"ControlPath={self._folder}/m",
        ]
        words = ["-F", "/dev/null", "-x", "-a", "-T"]
        for option in options:
            words += ["-o", option]
        for key in self._keys:
            words += ["-i", str(key)]
        return words

    def share(self) -> None:
        """Begin the shared connection in the background, so that transfers need no handshake of their own. Never raises."""
        if self._master is not None and self._master.poll() is None:
            return
        self._end_master()
        with suppress(OSError):
            self._master = subprocess.Popen(
                ["ssh", *self._options(), "-o", "ControlMaster=yes", "-o", "ControlPersist=no", HOST, MASTER_COMMAND],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _end_master(self) -> None:
        master, self._master = self._master, None
        if master is None:
            return
        if master.stdin is not None:
            with suppress(OSError):
                master.stdin.close()
        if master.poll() is None:
            master.terminate()
        try:
            master.wait(2.0)
        except subprocess.TimeoutExpired:
            master.kill()
            master.wait()
        with suppress(OSError):
            (self._folder / "m").unlink()

    def close(self) -> None:
        """End the shared connection and remove the folder. Never raises."""
        self._end_master()
        shutil.rmtree(self._folder, ignore_errors=True)
