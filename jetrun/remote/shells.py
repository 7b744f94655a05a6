"""A shell on the instance that stays: programs go through it one after the other, each in a subshell of its own.

A session of its own for each would cost a just-booted guest a tenth of a second, and a fifth as root, each time (measured on
a real Nova under emulation). Nothing else changes: a program is parsed whole before any of it runs, reads nothing, leaves
nothing behind in the shell, and has its own deadline. An answer ends with a mark that no program can know.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jetrun.remote import programs

if TYPE_CHECKING:
    from paramiko import Channel  # type: ignore[import-untyped]  # it has no types

PARKED_S = 60.0
"""A shell that nobody needed for this long is closed: none stays behind a script that runs for hours."""

CHUNK_BYTES = 64 * 1024

LATE_S = 1.0
"""How long what has arrived in time may take to be read; a flood must not outlast its deadline."""


@contextmanager
def plain_errors() -> Iterator[None]:
    """Paramiko's own errors as what they are: the connection broke.

    Raises:
        OSError: in their place.
    """
    import paramiko  # noqa: PLC0415 - slow to import, and not needed for --help

    try:
        yield
    except (paramiko.SSHException, EOFError) as error:
        raise OSError(str(error) or type(error).__name__) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a program on the instance answered.

    Attributes:
        output: what stands behind the answer's mark; begun: the mark came, so that some of the program ran.
        exit_code: -1 where the shell ended without a word, as with a broken connection.
    """

    exit_code: int
    output: bytes
    errors: str
    begun: bool = True

    @property
    def errors_tail(self) -> str:
        """The end of what it complained about, for messages."""
        return self.errors.strip()[-400:]


class Shell:
    """One parked shell.

    Args:
        channel: a session whose command is :data:`programs.COMMAND` or the root one.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._used_at = time.monotonic()
        self._nonce = ""
        self._came = bytearray()

    @property
    def is_stale(self) -> bool:
        """Nobody needed it for a while, or it has ended."""
        return bool(self._channel.closed) or time.monotonic() - self._used_at > PARKED_S

    def send(self, program: bytes, until: float) -> None:
        """Send a program; :meth:`receive` has its answer.

        Raises:
            OSError: the session has ended, or does not take it in time.
        """
        self._nonce = f"@jetrun-over-{secrets.token_hex(8)}@"
        over = f"printf '\\n%s%s\\n' '{self._nonce}' \"$?\"\nprintf '\\n%s\\n' '{self._nonce}' >&2\n"
        self._came = bytearray()
        self._channel.settimeout(max(0.1, until - time.monotonic()))
        with plain_errors():
            self._channel.sendall(b"(\n" + program + b"\n)\n" + over.encode())

    def receive(self, until: float) -> Reply:
        """The answer of what was sent.

        Raises:
            TimeoutError: it is not there in time; the shell is then of no more use.
            OSError: the connection broke.
        """
        with plain_errors():
            output, code = self._to_mark(self._channel.recv, self._came, until)
            errors, _ = self._to_mark(self._channel.recv_stderr, bytearray(), until)
        self._used_at = time.monotonic()
        if code is None:
            # The shell itself ended: no root, a login that runs nothing, a connection that broke, somebody's kill.
            if not self._channel.status_event.wait(max(0.0, until - time.monotonic())):
                raise TimeoutError
            exit_code = int(self._channel.exit_status)
            self.close()
        else:
            exit_code = int(code)
        before, mark, answer = output.partition(programs.MARK)
        # Without the mark all of it is a stranger's word, for the message.
        complaint = errors.decode(errors="replace")
        return Reply(exit_code=exit_code, output=answer if mark else before, errors=complaint, begun=bool(mark))

    @property
    def strange_words(self) -> str:
        """What came instead of an answer, when none has begun: a menu, a greeting, a question."""
        return "" if programs.MARK in self._came else self._came.decode(errors="replace").strip()[-300:]

    def _to_mark(self, receive: Callable[[int], bytes], came: bytearray, until: float) -> tuple[bytes, str | None]:
        """Everything up to the mark that ends this answer, and what stands behind that; None where the stream ended first.

        Args:
            came: takes what comes.

        Raises:
            TimeoutError: neither in time. What has arrived by then is still read.
        """
        mark = f"\n{self._nonce}".encode()
        while True:
            # Only what is new is searched, and what of it may have begun before.
            at = came.find(mark, max(0, len(came) - CHUNK_BYTES - len(mark)))
            end = came.find(b"\n", at + len(mark)) if at >= 0 else -1
            if end >= 0:
                return bytes(came[:at]), came[at + len(mark) : end].decode()
            left_s = until - time.monotonic()
            if left_s < -LATE_S:
                raise TimeoutError
            self._channel.settimeout(max(0.0, left_s))
            part = receive(CHUNK_BYTES)
            if not part:
                return bytes(came), None
            came += part

    def close(self) -> None:
        """End it. Never raises."""
        with suppress(Exception):
            self._channel.close()
