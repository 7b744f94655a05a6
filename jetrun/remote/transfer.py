"""Transfers as child processes that a loop polls: never blocking, their output read with bounds, their end told apart."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from jetrun.remote.interface import TransferReading, TransferState

SSH_FAILED = 255
NETWORK_CODES = frozenset({10, 12, 30, 35, SSH_FAILED})
"""rsync(1): 10 socket I/O, 12 protocol stream, 30 timeout in data, 35 timeout waiting for daemon; ssh(1): 255."""

VANISHED_CODE = 24
"""rsync(1): files vanished while it read. What a background process of the script removes is no failure."""

FULL = re.compile(r"\((?:28|122)\)|No space left on device|Disk quota exceeded", re.IGNORECASE)
"""rsync has no exit code for a full disk; it names ENOSPC (28) and EDQUOT (122) by number in every language."""

_PROGRESS = re.compile(rb"^\s*([\d,.]+)\s+(\d+)%\s+([\d.]+)([kMGT]?)B/s")
_SCALE = {b"": 1.0, b"k": 1e3, b"M": 1e6, b"G": 1e9, b"T": 1e12}
TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One child process of a transfer.

    Attributes:
        argv: what runs, without a shell. stdin: bytes for its standard input, empty for none; at most a pipe's worth.
        environment: added to ours.
    """

    argv: Sequence[str]
    cwd: Path | None = None
    environment: Mapping[str, str] | None = None
    before: Callable[[], None] | None = None


class ChildTransfer:
    """Steps that run one after the other; the first that fails ends the transfer.

    Args:
        done: what a transfer that succeeded reads as (with the outputs that are missing).
        local: the folder that receives, to see whether its disk is full; None when sending.
    """

    def __init__(self, steps: Sequence[Step], done: TransferReading, *, local: Path | None = None) -> None:
        self._steps = list(steps)
        self._done = done
        self._local = local
        self._child: subprocess.Popen[bytes] | None = None
        self._line = b""
        self._errors = b""
        self._before_bytes = 0
        self._reading = TransferReading(state=TransferState.RUNNING)
        self._next()

    def poll(self) -> TransferReading:
        """How it stands; never blocks."""
        while self._child is not None:
            self._listen(self._child)
            code = self._child.poll()
            if code is None:
                return self._reading
            self._listen(self._child)
            self._release(self._child)
            self._child = None
            if code not in (0, VANISHED_CODE):
                self._reading = self._failed(code)
                return self._reading
            self._before_bytes = self._reading.sent_bytes
            self._next()
        return self._reading

    def cancel(self) -> None:
        """End the child and all that it started, and wait for it, 5 s at most."""
        child, self._child = self._child, None
        if child is None:
            return
        for number, wait_s in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 3.0)):
            # Its process group is its own: ssh under rsync goes too.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, number)
            try:
                child.wait(wait_s)
                break
            except subprocess.TimeoutExpired:
                continue
        self._release(child)
        self._reading = replace(self._reading, state=TransferState.FAILED, failure="cancelled")

    def _next(self) -> None:
        """Begin the next step, or be done."""
        if not self._steps:
            self._reading = replace(
                self._reading, state=TransferState.DONE, rate_bytes_s=None, missing=self._done.missing
            )
            return
        step = self._steps.pop(0)
        try:
            if step.before is not None:
                step.before()
            self._child = subprocess.Popen(
                list(step.argv),
                cwd=step.cwd,
                env={**os.environ, "LC_ALL": "C", **(step.environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self._reading = TransferReading(
                state=TransferState.FAILED, failure=f"{step.argv[0]}: {error}", disk_full=bool(FULL.search(str(error)))
            )
            return
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)

    def _listen(self, child: subprocess.Popen[bytes]) -> None:
        """Take what the child has said so far; at most a few pipes' worth a poll."""
        for pipe, take in ((child.stdout, self._take_progress), (child.stderr, self._take_error)):
            for _ in range(16):
                try:
                    data = os.read(pipe.fileno(), 65536) if pipe is not None else b""
                except BlockingIOError:
                    break
                if not data:
                    break
                take(data)

    def _take_progress(self, data: bytes) -> None:
        lines = (self._line + data).replace(b"\n", b"\r").split(b"\r")
        self._line = lines.pop()[-200:]
        for line in lines:
            found = _PROGRESS.match(line)
            if found is not None:
                sent = int(re.sub(rb"\D", b"", found[1]))
                percent = int(found[2])
                self._reading = TransferReading(
                    state=TransferState.RUNNING,
                    sent_bytes=self._before_bytes + sent,
                    total_bytes=self._before_bytes + sent * 100 // percent if percent else None,
                    rate_bytes_s=float(found[3]) * _SCALE[found[4]],
                )

    def _take_error(self, data: bytes) -> None:
        self._errors = (self._errors + data)[-TAIL_BYTES:]

    def _release(self, child: subprocess.Popen[bytes]) -> None:
        for pipe in (child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()

    def _failed(self, code: int) -> TransferReading:
        said = self._errors.decode(errors="replace").strip()
        full = bool(FULL.search(said)) or (self._local is not None and _is_full(self._local))
        retryable = code in NETWORK_CODES and not full
        return TransferReading(
            state=TransferState.FAILED,
            sent_bytes=self._reading.sent_bytes,
            failure=("the disk is full: " if full else "") + (said[-600:] or f"exit code {code}"),
            retryable=retryable,
            disk_full=full,
        )


class FinishedTransfer:
    """A transfer that was over before anybody could look."""

    def __init__(self, reading: TransferReading) -> None:
        self._reading = reading

    def poll(self) -> TransferReading:
        """How it ended."""
        return self._reading

    def cancel(self) -> None:
        """Nothing is left to end."""


def _is_full(folder: Path) -> bool:
    """Whether less than 64 KiB is free where *folder* is, or will be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with suppress(OSError):
        disk = os.statvfs(folder)
        return disk.f_bavail * disk.f_frsize < 65536 or (disk.f_files > 0 and disk.f_favail == 0)
    return False
