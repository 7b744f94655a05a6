"""Asks this machine's disk whether a job's files are what the job says, before anything is begun. Changes nothing."""

from __future__ import annotations

import base64
import binascii
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from jetrun.errors import UsageError
from jetrun.job import Job
from jetrun.job_fields import Origin, toml_text

LEAST_FREE_BYTES = 64 << 20
"""Room that the output folder must have: a log, a manifest and small results fit in 64 MiB; less is a full disk."""

_KEY_TYPE = b"openssh-key-v1\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What will be sent: how many files, and how much in all."""

    files: int
    size_bytes: int


def free_bytes(folder: Path) -> int:
    """Room for this user on the disk of *folder*."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def check_files(job: Job, *, origin: Origin, free: Callable[[Path], int] = free_bytes) -> Found:
    """See that the script, inputs, keys and output folder of *job* can be used.

    Returns:
        What will be sent, the script included.

    Raises:
        UsageError: the first that cannot, with its key.
    """
    asked = _Disk(origin)
    script_bytes = asked.script(Path(job.script)) if job.script else 0
    sizes = [size for one in job.inputs for size in asked.sizes(Path(one), job.excludes)]
    for key in job.ssh.keys:
        asked.private_key(Path(key))
    asked.output_dir(job, free)
    return Found(files=len(sizes) + bool(job.script), size_bytes=sum(sizes) + script_bytes)


@dataclass(frozen=True, slots=True)
class _Disk:
    """The questions, each with an error that names its key."""

    origin: Origin

    def wrong(self, key: str, code: str, what: str, line: str) -> UsageError:
        """The error about *key*."""
        return UsageError(code=code, what=f"{self.origin(key)}: {key}: {what}", next=line)

    def reach(self, key: str, path: Path) -> os.stat_result:
        """What *path* leads to, readable.

        Raises:
            UsageError: nothing, or nothing that may be read.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise self.wrong(key, "file-missing", f"{_told(path)}: {error.strerror}", _neighbours(path)) from error
        needed = os.R_OK | os.X_OK if stat.S_ISDIR(found.st_mode) else os.R_OK
        if not os.access(path, needed, effective_ids=True):
            raise self.wrong(key, "file-unreadable", f"{_told(path)}: may not be read", f"chmod u+r {_quoted(path)}")
        return found

    def script(self, path: Path) -> int:
        """The script's size; it says itself what runs it.

        Raises:
            UsageError: it is no file, or the instance could not execute it.
        """
        found = self.reach("script", path)
        if not stat.S_ISREG(found.st_mode):
            raise self.wrong(
                "script",
                "script-unusable",
                f"{_told(path)} is not a file",
                'command = ["make", "all"] and inputs = ["folder/"]',
            )
        with path.open("rb") as file:
            first = file.readline(256)
        if first.startswith(b"#!") and first.rstrip(b"\n").endswith(b"\r"):
            raise self.wrong(
                "script",
                "script-unusable",
                f"{_told(path)} has Windows line ends, so that no interpreter is found for it",
                f"sed -i 's/\\r$//' {_quoted(path)}",
            )
        if not first.startswith((b"#!", b"\x7fELF")):
            word = {".py": "python3", ".r": "Rscript", ".jl": "julia", ".pl": "perl"}.get(path.suffix.lower(), "bash")
            raise self.wrong(
                "script",
                "script-unusable",
                f"{_told(path)} does not say what runs it: its first line does not begin with #!",
                f"sed -i '1i #!/usr/bin/env {word}' {_quoted(path)}"
                if first
                else f"an empty file: write {_quoted(path)}",
            )
        return found.st_size

    def sizes(self, path: Path, excludes: tuple[str, ...]) -> Iterator[int]:
        """The size of each file of an input.

        Raises:
            UsageError: one is missing or may not be read.
        """
        found = self.reach("inputs", path)
        if not stat.S_ISDIR(found.st_mode):
            yield found.st_size
            return
        for folder, folders, files in os.walk(path):
            folders[:] = [name for name in folders if not _is_excluded(name, excludes)]
            for name in folders:
                self._readable(Path(folder, name), os.R_OK | os.X_OK)
            for name in files:
                one = Path(folder, name)
                if not _is_excluded(name, excludes) and not one.is_symlink():
                    self._readable(one, os.R_OK)
                    yield one.stat().st_size

    def _readable(self, path: Path, needed: int) -> None:
        """Refuse what is below an input and may not be read."""
        if not path.is_symlink() and not os.access(path, needed, effective_ids=True):
            raise self.wrong(
                "inputs", "file-unreadable", f"{_told(path)}: may not be read", f"chmod u+r {_quoted(path)}"
            )

    def private_key(self, path: Path) -> None:
        """Refuse a key that could only fail, or that others can read.

        Raises:
            UsageError: it is no private key without a passphrase, for this user alone.
        """
        found = self.reach("ssh.keys", path)
        text = path.read_bytes()[:65536] if stat.S_ISREG(found.st_mode) else b""
        if not text.lstrip().startswith(b"-----BEGIN"):
            public = path.suffix == ".pub"
            line = f'keys = ["{path.with_suffix("")}"]' if public else 'keys = ["~/.ssh/id_ed25519"]'
            raise self.wrong(
                "ssh.keys", "key-unusable", f"{_told(path)} is {'a public' if public else 'not a private'} key", line
            )
        if found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise self.wrong(
                "ssh.keys",
                "key-unsafe",
                f"{_told(path)} can be read by others (mode {mode:04o})",
                f"chmod 600 {_quoted(path)}",
            )
        if _is_encrypted(text):
            raise self.wrong(
                "ssh.keys",
                "key-unusable",
                f"{_told(path)} needs a passphrase, and nothing asks for one during a run",
                "ssh-keygen -t ed25519 -N '' -f ~/.ssh/jetrun   # a key for jetrun alone",
            )

    def output_dir(self, job: Job, free: Callable[[Path], int]) -> None:
        """See that outputs have a place to go.

        Raises:
            UsageError: the folder cannot be made or written, or its disk is full.
        """
        path = Path(job.output_folder("0"))
        there = next(one for one in (path, *path.parents) if os.path.exists(one))  # noqa: PTH110 - Path.exists raises where this says no
        if not there.is_dir():
            raise self.wrong(
                "output_dir", "output-dir-unusable", f"{_told(there)} is a file", 'output_dir = "out/{run}"'
            )
        if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
            raise self.wrong(
                "output_dir", "output-dir-unusable", f"{_told(there)} may not be written", f"chmod u+w {_quoted(there)}"
            )
        left = free(there)
        if left < LEAST_FREE_BYTES:
            what = f"the disk of {_told(there)} has {left / 1e6:.0f} MB left, at least {LEAST_FREE_BYTES / 1e6:.0f} MB are needed"
            raise self.wrong("output_dir", "disk-full", what, f"df -h {_quoted(there)}")


def _is_excluded(name: str, excludes: tuple[str, ...]) -> bool:
    """Whether a pattern surely keeps *name* back; the transfer itself decides about the others."""
    return any(fnmatch(name, pattern.strip("/")) for pattern in excludes)


def _is_encrypted(text: bytes) -> bool:
    """Whether a private key asks for a passphrase."""
    if b"ENCRYPTED" in text:
        return True
    blob = re.search(rb"BEGIN OPENSSH PRIVATE KEY-----(.*?)-----END", text, re.DOTALL)
    try:
        content = base64.b64decode(blob[1]) if blob else b""
    except binascii.Error:
        return False
    return content.startswith(_KEY_TYPE) and not content[len(_KEY_TYPE) :].startswith(b"\0\0\0\x04none")


def _neighbours(path: Path) -> str:
    """The command that shows what there is, in the nearest folder that exists."""
    there = next((one for one in path.parents if one.is_dir()), Path("/"))
    return f"ls {_quoted(there)}"


def _told(path: Path) -> str:
    """*path* on one line, whatever its name holds."""
    text = str(path)
    return text if text.isprintable() else toml_text(text)


def _quoted(path: Path) -> str:
    """*path* as a shell takes it."""
    return shlex.quote(str(path))
