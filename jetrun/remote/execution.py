"""The script on the instance: started detached and once, read, followed, signalled. Its truth is files on the instance."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jetrun.errors import RemoteCommandFailed, RemoteRefused, Secret
from jetrun.guarantee.power import RunId
from jetrun.remote import programs
from jetrun.remote.connection import SshConnection
from jetrun.remote.interface import ScriptReading, ScriptSpec, ScriptState
from jetrun.remote.shells import Reply

if TYPE_CHECKING:
    from paramiko import Channel  # type: ignore[import-untyped]  # it has no types

START_S = 30.0
READ_S = 20.0
"""Deadlines of one command each: a guest under load answers within a second; a suspended one never does."""

WINDOW_BYTES = 256 * 1024
"""How much of the log may come before it is read: over a fifth of a second there and back still a megabyte a second."""

LAST_SIGNAL = 64
"""Of Linux. A shell reports a script that signal n ended as 128 + n."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_READONLY = frozenset({"PPID", "UID", "EUID", "GROUPS", "BASHOPTS", "BASH_VERSINFO", "SHELLOPTS"})
"""Names that some shell refuses to set; the script would not start."""


def failed(act: str, reply: Reply) -> RemoteCommandFailed:
    """The error for a guest program that ended with a code of its own."""
    said = reply.errors_tail
    return RemoteCommandFailed(
        what=f"{act} failed on the instance (exit code {reply.exit_code}): {said or 'it said nothing'}",
        command_exit_code=reply.exit_code,
        stderr_tail=said,
    )


def start(connection: SshConnection, run: RunId, spec: ScriptSpec) -> ScriptReading:
    """Start the script, or find it started.

    Raises:
        RemoteUnreachable: no answer; calling again finds out and starts nothing twice.
        RemoteCommandFailed: the instance cannot start it (disk full, no work folder).
        RemoteRefused: a name in the environment that no shell takes.
    """
    program = programs.build(
        ("process", "reading", "start"),
        [run, *spec.command],
        payload=programs.environment(_revealed(spec.env)),
        supervisor=("process", "supervisor"),
    )
    reply = connection.run(program, within_s=START_S)
    if reply.exit_code != 0:
        raise failed("starting the script", reply)
    return parse(reply)


def _revealed(env: Mapping[str, str | Secret]) -> dict[str, str]:
    values = {}
    for name, value in env.items():
        text = value.reveal() if isinstance(value, Secret) else value
        if not _ENV_NAME.fullmatch(name) or name in _READONLY or "\0" in text:
            raise RemoteRefused(
                code="env-refused",
                what=f"env: {name!r} cannot be set in a shell (letters, digits and _, not a shell's own, and no NUL in its value)",
                next="rename it in the job file",
            )
        values[name] = text
    return values


def read(connection: SshConnection, run: RunId) -> ScriptReading:
    """One look at the script.

    Raises:
        RemoteUnreachable: no answer.
    """
    reply = connection.run(programs.build(("process", "reading", "read"), [run]), within_s=READ_S)
    if reply.exit_code != 0:
        raise failed("reading the script", reply)
    return parse(reply)


def send_signal(connection: SshConnection, run: RunId, signal: int) -> None:
    """Send *signal* to the script and all of its processes that can be found.

    Raises:
        RemoteUnreachable: no answer.
        RemoteCommandFailed: the program itself failed.
    """
    reply = connection.run(programs.build(("process", "signal"), [run, str(int(signal))]), within_s=READ_S)
    if reply.exit_code != 0:
        raise failed("signalling the script", reply)


def parse(reply: Reply) -> ScriptReading:
    """The reading that the guest program ``reading`` printed.

    Raises:
        RemoteCommandFailed: it printed something else.
    """
    found = programs.pairs(reply.output)
    try:
        state = ScriptState(found.get("state", ""))
        code = int(found["code"]) if state is ScriptState.ENDED else None
        began = found.get("began") or found.get("started")
        ended = found.get("ended")
        return ScriptReading(
            state=state,
            exit_code=code,
            signal=code - 128 if code is not None and 128 < code <= 128 + LAST_SIGNAL else None,
            started_at=datetime.fromtimestamp(int(began), UTC) if began else None,
            ended_at=datetime.fromtimestamp(int(ended), UTC) if ended else None,
            log_size_bytes=int(found.get("log", "0")),
        )
    except (KeyError, ValueError) as error:
        raise failed("reading the script", reply) from error


class SshLogFollower:
    """The script's log from an offset on: one session in which ``tail`` waits for more; back-pressure is SSH's own window."""

    def __init__(self, connection: SshConnection, run: RunId, offset: int) -> None:
        program = programs.build(("process", "follow"), [run, str(offset)])
        self._connection = connection
        self._channel: Channel = connection.open(program, within_s=READ_S, window_bytes=WINDOW_BYTES)
        self._before = b""
        self._begun = False
        self._ended = False
        self._kept = b""

    @property
    def ended(self) -> bool:
        """The script has ended and everything that was in the log has been read."""
        return self._ended

    def read(self, max_bytes: int, wait_s: float) -> bytes:
        """New bytes, in order.

        Raises:
            RemoteUnreachable: the connection broke; follow again from the offset reached.
        """
        until = time.monotonic() + wait_s
        while not self._kept:
            left_s = until - time.monotonic()
            if self._ended:
                # Asked again after the end: the caller's pace is kept, and no loop runs hot.
                time.sleep(max(0.0, left_s))
                return b""
            data = self._receive(max_bytes, max(0.0, left_s))
            if data is None:
                return b""
            if not data:
                self._end()
                return b""
            self._kept = data if self._begun else self._after_mark(data)
        data, self._kept = self._kept[:max_bytes], self._kept[max_bytes:]
        return data

    def _receive(self, max_bytes: int, wait_s: float) -> bytes | None:
        """Some bytes, empty at the end, None when there are none in time."""
        self._channel.settimeout(wait_s)
        try:
            data: bytes = self._channel.recv(max_bytes)
        except TimeoutError:
            if not self._connection.is_alive:
                raise self._connection.broken("broke while the log was followed") from None
            return None
        except OSError as error:
            raise self._connection.broken("broke while the log was followed") from error
        return data

    def _after_mark(self, data: bytes) -> bytes:
        """What stands behind the answer's mark; what a login script printed before it is dropped."""
        self._before += data
        before, mark, after = self._before.partition(programs.MARK)
        if mark:
            self._begun, self._before = True, b""
            return after
        self._before = before[-4096:]
        return b""

    def _end(self) -> None:
        """The session is over: by the script's end, or by a broken connection?"""
        channel = self._channel
        if not channel.status_event.wait(5.0) or channel.exit_status == -1 or not self._begun:
            raise self._connection.broken("broke while the log was followed")
        self._ended = True

    def close(self) -> None:
        """Stop following. Never raises."""
        with suppress(Exception):
            self._channel.close()
