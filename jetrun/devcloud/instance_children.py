"""Processes inside an instance: started, waited for, and collected, also those that were left behind by their parents.

The instance is a subreaper, so that every orphan becomes its child. One handler of SIGCHLD collects them all: asyncio's own
subprocesses are not used, because they start a thread a child, and a process that forks has no business with threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jetrun.devcloud.processes import descendants_of, kill_below, state_of

Ended = Callable[[int], None]


class Children:
    """The processes of one instance; made inside its running loop."""

    def __init__(self) -> None:
        self._started: dict[int, tuple[subprocess.Popen[bytes], Ended]] = {}
        self._quiet = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._collect)

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdin: int,
        stdout: int,
        stderr: int,
        on_end: Ended,
        has_terminal: bool = False,
    ) -> int:
        """Start a program in a session of its own: its pid.

        Args:
            stdin, stdout, stderr: descriptors, which stay the caller's to close.
            on_end: called in the loop with the exit code, negative for a signal.
            has_terminal: stdin is a terminal and becomes the session's own.

        Raises:
            OSError: it cannot be executed.
        """
        child = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=_take_terminal if has_terminal else None,  # noqa: PLW1509 - this process has no threads
        )
        self._started[child.pid] = (child, on_end)
        return child.pid

    def _collect(self) -> None:
        """Collect whatever has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            child, on_end = self._started.pop(pid, (None, None))
            if child is not None and on_end is not None:
                child.returncode = os.waitstatus_to_exitcode(status)
                on_end(child.returncode)
        self._quiet.set()

    async def end_all(self, *, grace_s: float) -> None:
        """End everything inside: SIGTERM, as systemd does at a shutdown, and SIGKILL to what is left after *grace_s*."""
        until = asyncio.get_running_loop().time() + grace_s
        if grace_s > 0:
            for pid in descendants_of(os.getpid()):
                signal_quietly(pid, signal.SIGTERM)
                signal_quietly(pid, signal.SIGCONT)
        while (left_s := until - asyncio.get_running_loop().time()) > 0 and has_living(os.getpid()):
            self._quiet.clear()
            with contextlib.suppress(TimeoutError):
                # Grandchildren end without a word to us: looked at again, seldom.
                await asyncio.wait_for(self._quiet.wait(), min(left_s, 0.02))
        kill_below(os.getpid())


def has_living(pid: int) -> bool:
    """Whether a process below *pid* still runs."""
    return any(state_of(one) not in {"", "Z", "X"} for one in descendants_of(pid))


def signal_quietly(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _take_terminal() -> None:
    """In the child: its stdin is the controlling terminal of its session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
