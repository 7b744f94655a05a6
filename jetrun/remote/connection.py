"""One open SSH connection, and how programs run through it; opening.py opens it.

fabric's ``Connection.run`` is not used: it reads its standard input one character per 10 ms, starts three threads per command, and its
time limit only closes the channel. Programs go through two shells on the instance, one of them root's, each with its own deadline;
what lasts (the log, a transfer) has a session of its own.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from jetrun.errors import RemoteCommandFailed, RemoteUnreachable
from jetrun.remote import programs
from jetrun.remote.shells import Reply, Shell, plain_errors

if TYPE_CHECKING:
    from fabric import Connection  # type: ignore[import-untyped]  # it has no types
    from paramiko import Channel, Transport  # type: ignore[import-untyped]  # it has no types

FREED_S = 2.0
"""After sessions were closed: until the server must have seen their processes end, and gives their places away."""

LAST_EXIT = 128
"""A shell reports a larger exit code for what a signal ended."""


class SshConnection:
    """One open connection."""

    def __init__(self, connection: Connection, sock: socket.socket, where: str) -> None:
        self._connection = connection
        self._sock = sock
        self._where = where
        self._shells: dict[bool, Shell] = {}

    @property
    def _transport(self) -> Transport:
        transport = self._connection.transport
        if transport is None or not transport.is_active():
            raise self.broken("is gone")
        return transport

    @property
    def is_alive(self) -> bool:
        """Whether the connection is still thought to stand."""
        transport = self._connection.transport
        return transport is not None and transport.is_active()

    def broken(self, how: str) -> RemoteUnreachable:
        """The error for this connection having broken."""
        return RemoteUnreachable(what=f"the SSH connection to {self._where} {how}")

    def open(self, program: bytes, *, within_s: float, window_bytes: int | None = None) -> Channel:
        """A session in which *program* runs, its standard input sent and closed.

        Args:
            window_bytes: how much may come before anybody reads it; by default paramiko's 2 MiB.

        Raises:
            RemoteUnreachable: not within *within_s*, or the connection broke.
        """
        until = time.monotonic() + within_s
        channel = self._session(programs.COMMAND, until, window_bytes)
        try:
            channel.settimeout(max(0.1, until - time.monotonic()))
            with plain_errors():
                channel.sendall(program)
                channel.shutdown_write()
        except OSError as error:
            _close_quietly(channel)
            raise self.broken(f"gives no session: {str(error) or type(error).__name__}") from error
        return channel

    def _session(self, command: str, until: float, window_bytes: int | None = None) -> Channel:
        """A session in which *command* runs.

        A server that takes few sessions on one connection (sshd_config, MaxSessions) gets the parked ones back for it.

        Raises:
            RemoteUnreachable: not in time, or the connection broke.
        """
        import paramiko  # noqa: PLC0415 - slow to import, and not needed for --help

        freed_by = 0.0
        while True:
            try:
                return self._opened(command, until, window_bytes)
            except paramiko.ChannelException as error:
                if self._shells:
                    freed_by = min(until, time.monotonic() + FREED_S)
                    self._close_shells(lambda _: True)
                if time.monotonic() >= freed_by:
                    raise self.broken(f"gives no session: {error}") from error
                time.sleep(0.05)

    def _close_shells(self, which: Callable[[Shell], bool]) -> None:
        """End parked shells."""
        for rights, parked in tuple(self._shells.items()):
            if which(parked):
                self._shells.pop(rights).close()

    def _opened(self, command: str, until: float, window_bytes: int | None) -> Channel:
        """One try at a session.

        Raises:
            RemoteUnreachable: not in time, or the connection broke.
            paramiko.ChannelException: the server does not give one.
        """
        import paramiko  # noqa: PLC0415

        channel: Channel | None = None
        try:
            # fabric's own open_session may wait an hour (fabric#1384).
            channel = self._transport.open_session(window_size=window_bytes, timeout=max(0.1, until - time.monotonic()))
            channel.settimeout(max(0.1, until - time.monotonic()))
            # exec_command waits for the server's word without any limit of its own.
            channel.event = _Until(until, channel.close)
            channel.exec_command(command)
        except paramiko.ChannelException:
            raise
        except (paramiko.SSHException, OSError, EOFError) as error:
            if channel is not None:
                _close_quietly(channel)
            raise self.broken(f"gives no session: {error or type(error).__name__}") from error
        return channel

    def run(self, program: bytes, *, within_s: float, as_root: bool = False) -> Reply:
        """Run *program* to its end.

        Raises:
            RemoteUnreachable: no answer within *within_s*, or the connection broke on the way (an exit status of -1).
            RemoteCommandFailed: something else answered than the program.
        """
        return self.begin(program, within_s=within_s, as_root=as_root)()

    def begin(self, program: bytes, *, within_s: float, as_root: bool = False) -> Callable[[], Reply]:
        """As :meth:`run`, in two parts: the program is on its way, and what is returned waits for its answer.

        Nothing else may run with the same rights before that was called.

        Raises:
            RemoteUnreachable, RemoteCommandFailed: as :meth:`run`.
        """
        until = time.monotonic() + within_s
        self._close_shells(lambda parked: parked.is_stale)
        shell = self._shells.pop(as_root, None)
        if shell is not None:
            try:
                shell.send(program, until)
            except OSError:
                shell.close()
                shell = None
        if shell is not None:
            return lambda: self._answer(shell, until, program, as_root=as_root)
        fresh = self._sent_to_new(program, until, as_root=as_root)
        return lambda: self._answer(fresh, until, None, as_root=as_root)

    def _answer(self, shell: Shell, until: float, again: bytes | None, *, as_root: bool) -> Reply:
        """The answer to what was sent to *shell*, which is parked again if it still stands.

        Args:
            again: the program, where the shell had been parked, and may have been ended since.

        Raises:
            RemoteUnreachable, RemoteCommandFailed: as :meth:`run`.
        """
        try:
            reply = shell.receive(until)
            if again is not None and not reply.begun:
                # Nothing of the program ran.
                shell = self._sent_to_new(again, until, as_root=as_root)
                reply = shell.receive(until)
        except TimeoutError as error:
            said = shell.strange_words
            shell.close()
            if said:
                raise self._refused(said, -1) from error
            raise self.broken("is silent for too long") from error
        except OSError as error:
            shell.close()
            raise self.broken("broke while a command ran") from error
        if reply.exit_code == -1 or (reply.begun and reply.exit_code > LAST_EXIT):
            # None of our programs ends with such a code; somebody killed it, and whether it had done its work nobody knows.
            raise self.broken("broke while a command ran")
        if not reply.begun and not as_root:
            said = (reply.errors or reply.output.decode(errors="replace")).strip()[-300:]
            raise self._refused(said, reply.exit_code)
        if not shell.is_stale:
            self._shells[as_root] = shell
        return reply if reply.begun else replace(reply, output=b"")

    def _refused(self, said: str, exit_code: int) -> RemoteCommandFailed:
        """The error for a login that runs no commands."""
        return RemoteCommandFailed(
            what=f"{self._where} lets nobody run a command: {said or 'no answer'}",
            command_exit_code=exit_code,
            stderr_tail=said,
        )

    def _sent_to_new(self, program: bytes, until: float, *, as_root: bool) -> Shell:
        """A new shell that has *program* to run.

        Raises:
            RemoteUnreachable: not in time, or the connection broke.
        """
        command = programs.ROOT_COMMAND if as_root else programs.COMMAND
        channel = self._session(command, until)
        shell = Shell(channel)
        try:
            shell.send(program, until)
        except OSError as error:
            shell.close()
            raise self.broken(f"gives no session: {str(error) or type(error).__name__}") from error
        return shell

    def close(self) -> None:
        """Close. Never raises, never hangs: the socket goes first, so that paramiko's reader ends at once."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        with suppress(Exception):
            self._connection.close()
        transport = self._connection.transport
        if transport is not None:
            transport.join(1.0)
        with suppress(OSError):
            self._sock.close()


class _Until(threading.Event):
    """An event that is waited for until a moment and no longer; then *give_up* is called, which sets it."""

    def __init__(self, until: float, give_up: Callable[[], None]) -> None:
        super().__init__()
        self._until = until
        self._give_up = give_up

    def wait(self, timeout: float | None = None) -> bool:
        """As ever, but for the limit."""
        left_s = max(0.0, self._until - time.monotonic())
        if not super().wait(left_s if timeout is None else min(timeout, left_s)):
            self._give_up()
        return self.is_set()


def _close_quietly(channel: Channel) -> None:
    """Close a session; a connection that is gone already has closed it."""
    with suppress(Exception):
        channel.close()
