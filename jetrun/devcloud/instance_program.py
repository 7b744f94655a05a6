"""A program of a session, started on pipes or on a terminal: its pid and our ends of them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncssh import EXTENDED_DATA_STDERR

from jetrun.devcloud.instance_children import Children, Ended

_PIPE_SIZE = 1 << 20


@dataclass(slots=True, kw_only=True)
class Program:
    """A running program; the descriptors do not block, and are closed by whoever has them.

    Attributes:
        stdin: -1 once it is closed. outputs: descriptor -> the channel's data type.
        terminal: our end of it, which is among the outputs too; -1 without one, or once it is closed.
    """

    pid: int
    stdin: int
    outputs: dict[int, int | None]
    terminal: int = -1

    def resize(self, size: tuple[int, int, int, int]) -> None:
        """Tell the program how large its terminal is: columns, rows, and pixels of both."""
        if self.terminal >= 0:
            _set_size(self.terminal, size)


def start_on_pipes(
    children: Children, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, on_end: Ended
) -> Program:
    """Start a program on three pipes.

    Raises:
        OSError: it cannot be started.
    """
    (theirs_in, ours_in), (ours_out, theirs_out), (ours_err, theirs_err) = (_pipe() for _ in range(3))
    try:
        pid = children.start(
            argv, env=env, cwd=cwd, stdin=theirs_in, stdout=theirs_out, stderr=theirs_err, on_end=on_end
        )
    except OSError:
        _close(ours_in, ours_out, ours_err)
        raise
    finally:
        _close(theirs_in, theirs_out, theirs_err)
    return _unblocked(Program(pid=pid, stdin=ours_in, outputs={ours_out: None, ours_err: EXTENDED_DATA_STDERR}))


def start_on_terminal(
    children: Children,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    on_end: Ended,
    size: tuple[int, int, int, int],
) -> Program:
    """Start a program on a terminal of its own.

    Raises:
        OSError: it cannot be started.
    """
    ours, theirs = os.openpty()
    _set_size(ours, size)
    try:
        pid = children.start(
            argv,
            env={**env, "SSH_TTY": os.ttyname(theirs)},
            cwd=cwd,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            on_end=on_end,
            has_terminal=True,
        )
    except OSError:
        _close(ours)
        raise
    finally:
        _close(theirs)
    return _unblocked(Program(pid=pid, stdin=os.dup(ours), outputs={ours: None}, terminal=ours))


def _unblocked(program: Program) -> Program:
    for descriptor in (program.stdin, *program.outputs):
        os.set_blocking(descriptor, False)
    return program


def _set_size(descriptor: int, size: tuple[int, int, int, int]) -> None:
    width, height, width_px, height_px = size
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, width_px, height_px))


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _pipe() -> tuple[int, int]:
    """A pipe with room for what one turn of the loop can bring."""
    read, write = os.pipe()
    with contextlib.suppress(OSError):  # the machine may allow less
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    return read, write
