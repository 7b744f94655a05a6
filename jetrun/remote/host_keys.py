"""Host keys, pinned per instance id: one small known_hosts file each, which paramiko's side and OpenSSH both obey.

Per instance and never per address, because floating IPs are given to the next instance. A pin comes from the console log, which
the cloud's authenticated API gave us, or from the first successful login. A key that differs from the pin is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jetrun.errors import RemoteRefused
from jetrun.guarantee.power import InstanceId

_KEY = re.compile(r"\b(ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa) ([A-Za-z0-9+/]{60,}={0,2})")
_BLOCK = re.compile(r"-----BEGIN SSH HOST KEY KEYS-----(.*?)-----END SSH HOST KEY KEYS-----", re.DOTALL)
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """A public host key.

    Attributes:
        kind: ``ssh-ed25519`` and so on. blob: the key in SSH's wire format.
    """

    kind: str
    blob: bytes

    @property
    def line(self) -> str:
        """``ssh-ed25519 AAAA...``, as a console log and a known_hosts file have it."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """``SHA256:...``, as ``ssh-keygen -l`` prints it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"SHA256:{digest}"


def parse_key(text: str) -> HostKey | None:
    """The key in *text*, None where there is none or where its inside does not say what its outside says."""
    found = _KEY.search(text)
    if found is None:
        return None
    try:
        blob = base64.b64decode(found[2], validate=True)
    except binascii.Error:
        return None
    length = int.from_bytes(blob[:4], "big")
    return HostKey(kind=found[1], blob=blob) if blob[4 : 4 + length] == found[1].encode() else None


def parse_console(text: str) -> Sequence[str]:
    """Host keys that cloud-init wrote to a console log.

    Returns:
        ``ssh-ed25519 AAAA...`` lines of the newest whole block (a rebuilt instance has several), may be empty. A block that
        the log's end cuts off is not believed.
    """
    blocks = _BLOCK.findall(text)
    if not blocks:
        return ()
    keys = (parse_key(line) for line in blocks[-1].splitlines())
    return tuple(key.line for key in keys if key is not None)


class HostKeyFolder:
    """The pins of one user's instances."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, instance: InstanceId) -> Path:
        """The known_hosts file of *instance*, which may not exist yet.

        Raises:
            RemoteRefused: the id cannot be a file name, so it is no instance's id.
        """
        if not _SAFE_NAME.fullmatch(instance):
            raise RemoteRefused(code="instance-id-odd", what=f"{instance!r} is not the id of an instance")
        return self._folder / instance

    def pinned(self, instance: InstanceId) -> Sequence[HostKey]:
        """The pinned keys of *instance*, may be empty.

        Raises:
            RemoteRefused: the file is there and holds no key: somebody damaged it, and trust is not given anew in silence.
        """
        path = self.path(instance)
        try:
            text = path.read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return ()
        keys = tuple(key for line in text.splitlines() if (key := parse_key(line)) is not None)
        if not keys:
            raise RemoteRefused(
                code="host-key-file-damaged",
                what=f"the pinned host keys of instance {instance} cannot be read",
                next=self.forget_command(instance),
            )
        return keys

    def pin(self, instance: InstanceId, keys: Sequence[HostKey]) -> None:
        """Pin *keys*.

        Effects:
            Writes the file, mode 0600, beside its target, fsynced, renamed.

        Raises:
            RemoteRefused: it cannot be written.
        """
        path = self.path(instance)
        beside = ""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, beside = tempfile.mkstemp(dir=self._folder, prefix=f".{instance}.")
            with os.fdopen(descriptor, "w") as file:
                file.write("".join(f"{instance} {key.line}\n" for key in keys))
                file.flush()
                os.fsync(file.fileno())
            Path(beside).replace(path)
        except OSError as error:
            if beside:
                Path(beside).unlink(missing_ok=True)
            raise RemoteRefused(
                code="host-key-not-kept",
                what=f"the host key of instance {instance} cannot be pinned in {self._folder}: {error.strerror}",
                next=f"df -h {shlex.quote(str(self._folder))}",
            ) from error

    def forget_command(self, instance: InstanceId) -> str:
        """What to paste to forget the pin."""
        return f"rm {shlex.quote(str(self.path(instance)))}"

    def changed(self, instance: InstanceId, pinned: Sequence[HostKey], came: HostKey) -> RemoteRefused:
        """The error for a host key that is not the pinned one."""
        known = ", ".join(f"{key.kind} {key.fingerprint}" for key in pinned)
        return RemoteRefused(
            code="host-key-changed",
            what=(
                f"instance {instance} shows host key {came.kind} {came.fingerprint}, pinned is {known}: "
                "it was rebuilt, or something else answers at its address"
            ),
            next=f"{self.forget_command(instance)}   (only if you know that it was rebuilt)",
        )
