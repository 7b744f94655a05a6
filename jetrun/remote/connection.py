"""One SSH connection through fabric, with its traps closed (each named where it is met). The only importer of fabric and paramiko.

``Connection.run`` is not used: it reads its standard input one character per 10 ms, starts three threads per command, and its
time limit only closes the channel. Commands go through sessions of the same connection, each with its own deadline.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetrun.errors import RemoteCommandFailed, RemoteRefused, RemoteUnreachable
from jetrun.remote import host_trust, programs
from jetrun.remote.host_keys import HostKey, HostKeyFolder
from jetrun.remote.interface import Connected, Target

if TYPE_CHECKING:
    from fabric import Connection  # type: ignore[import-untyped]  # it has no types
    from paramiko import Channel, Transport  # type: ignore[import-untyped]  # it has no types

KEEPALIVE_S = 15
"""fabric sets none, and then a silent drop blocks for ever (fabric#1807)."""

SILENT_S = 45
"""Three keepalives without any acknowledgement: the kernel then breaks the connection (TCP_USER_TIMEOUT)."""

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a program on the instance answered."""

    exit_code: int
    output: bytes
    errors: str

    @property
    def errors_tail(self) -> str:
        """The end of what it complained about, for messages."""
        return self.errors.strip()[-400:]


class SshConnection:
    """One open connection."""

    def __init__(self, connection: Connection, sock: socket.socket, where: str) -> None:
        self._connection = connection
        self._sock = sock
        self._where = where

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

    def open(
        self, program: bytes, *, within_s: float, command: str = programs.COMMAND, window_bytes: int | None = None
    ) -> Channel:
        """A session in which *program* runs, its standard input sent and closed.

        Args:
            window_bytes: how much may come before anybody reads it; by default paramiko's 2 MiB.

        Raises:
            RemoteUnreachable: not within *within_s*, or the connection broke.
        """
        import paramiko  # noqa: PLC0415 - slow to import, and not needed for --help

        until = time.monotonic() + within_s
        channel: Channel | None = None
        try:
            # fabric's own open_session may wait an hour (fabric#1384).
            channel = self._transport.open_session(window_size=window_bytes, timeout=max(0.1, within_s))
            channel.settimeout(max(0.1, until - time.monotonic()))
            channel.exec_command(command)
            channel.sendall(program)
            channel.shutdown_write()
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
        until = time.monotonic() + within_s
        command = programs.ROOT_COMMAND if as_root else programs.COMMAND
        channel = self.open(program, within_s=within_s, command=command)
        try:
            output = self._read(channel.recv, channel, until)
            errors = self._read(channel.recv_stderr, channel, until)
            if not channel.status_event.wait(max(0.0, until - time.monotonic())):
                raise self.broken(f"did not say how a command ended within {within_s:.0f} s")
            exit_code = channel.exit_status
        finally:
            _close_quietly(channel)
        if exit_code == -1:
            raise self.broken("broke while a command ran")
        _, mark, answer = output.partition(programs.MARK)
        complaint = errors.decode(errors="replace")
        if not mark and not as_root:
            said = (complaint or output.decode(errors="replace")).strip()[-300:]
            raise RemoteCommandFailed(
                what=f"{self._where} lets nobody run a command: {said or 'no answer'}",
                command_exit_code=exit_code,
                stderr_tail=said,
            )
        return Reply(exit_code=exit_code, output=answer, errors=complaint)

    def _read(self, receive: Any, channel: Channel, until: float) -> bytes:
        """Everything up to the end of one stream."""
        parts: list[bytes] = []
        while True:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise self.broken("is silent for too long")
            channel.settimeout(left_s)
            try:
                part = receive(CHUNK_BYTES)
            except TimeoutError as error:
                raise self.broken("is silent for too long") from error
            if not part:
                return b"".join(parts)
            parts.append(part)

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


def _close_quietly(channel: Channel) -> None:
    """Close a session; a connection that is gone already has closed it."""
    with suppress(Exception):
        channel.close()


def connect(target: Target, folder: HostKeyFolder, *, within_s: float) -> tuple[SshConnection, Connected]:
    """Connect once.

    Raises:
        RemoteUnreachable: nothing answers in time, or what answers does not finish.
        RemoteRefused: the host key, or our key, is refused.

    Effects:
        Pins the host key, of the console log or of a first use, after the login has succeeded: a stranger at a reused
        address, who does not know our key, is never pinned.
    """
    import fabric  # noqa: PLC0415 - slow to import, and not needed for --help
    import paramiko  # noqa: PLC0415

    logging.getLogger("paramiko").addHandler(logging.NullHandler())  # its tracebacks are not for the terminal
    until = time.monotonic() + within_s
    where = f"{target.user}@{target.host} port {target.port}"
    identities = _readable(target)
    keys, trust = host_trust.expected(target, folder)
    sock = _dial(target, where, within_s)
    left_s = max(1.0, until - time.monotonic())
    policy = host_trust.policy_for(target, folder, keys, until)
    connection = fabric.Connection(
        target.host,
        user=target.user,
        port=target.port,
        # No ~/.ssh/config, no /etc/fabric.yml: the same run everywhere. No agent: a stale one hangs (fabric#2306).
        config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig()),
        connect_timeout=max(1, round(left_s)),  # of the key exchange: the socket is ours
        connect_kwargs={
            "sock": sock,
            "key_filename": [str(path) for path in identities],
            "allow_agent": False,
            "look_for_keys": False,
            "compress": False,
            "banner_timeout": left_s,
            "auth_timeout": left_s,
            "channel_timeout": left_s,
            "transport_factory": host_trust.transport_factory(keys),
        },
    )
    # fabric hard-codes AutoAddPolicy, which trusts anybody (fabric#2071).
    connection.client.set_missing_host_key_policy(policy)
    opened = SshConnection(connection, sock, where)
    try:
        connection.open()
        connection.transport.set_keepalive(KEEPALIVE_S)
        came: HostKey = policy.came
        if trust != "pinned":
            folder.pin(target.instance, keys or [came])
    except BaseException as error:
        # Asked before the close: a connection that still stands when the login fails was refused, not lost.
        transport = connection.client.get_transport()
        stands = transport is not None and transport.is_active()
        opened.close()
        if isinstance(error, (paramiko.SSHException, OSError, EOFError)):
            raise _translated(error, target, where, stands=stands) from error
        raise
    return opened, Connected(host_key_trust=trust, host_key_fingerprint=came.fingerprint)


def _readable(target: Target) -> Sequence[Path]:
    """The identities that can be read.

    Raises:
        RemoteRefused: none of them.
    """
    readable, problems = [], []
    for path in target.identities:
        try:
            with path.open("rb"):
                readable.append(path)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    if not readable:
        raise RemoteRefused(
            code="no-key",
            what=f"there is no private key to log in with ({'; '.join(problems) or 'none was given'})",
            next="jetrun doctor",
        )
    return readable


def _dial(target: Target, where: str, within_s: float) -> socket.socket:
    """A TCP connection; ours, so that a dead peer is noticed and small packets are not held back.

    Raises:
        RemoteUnreachable: nobody answers.
    """
    try:
        sock = socket.create_connection((target.host, target.port), timeout=within_s)
    except OSError as error:
        raise RemoteUnreachable(what=f"{where} does not answer: {error}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_S * 1000)
    return sock


def _translated(error: Exception, target: Target, where: str, *, stands: bool) -> RemoteUnreachable | RemoteRefused:
    """A vendor's exception as ours."""
    import paramiko  # noqa: PLC0415

    names = ", ".join(str(path) for path in target.identities)
    if isinstance(error, paramiko.PasswordRequiredException):
        return RemoteRefused(
            code="key-has-a-passphrase",
            what=f"a private key is protected by a passphrase, and nobody is there to type it ({names})",
            next="jetrun init   (makes a key pair of jetrun's own)",
        )
    if isinstance(error, paramiko.AuthenticationException) and stands:
        return RemoteRefused(
            code="login-refused",
            what=f"{where} refuses our key ({names}): {error}",
            next="check [ssh] user in the job file, and the key pair of the instance",
        )
    if isinstance(error, paramiko.IncompatiblePeer):
        return RemoteRefused(code="ssh-incompatible", what=f"{where} offers nothing that we accept: {error}")
    return RemoteUnreachable(what=f"{where} does not finish the SSH handshake: {str(error) or type(error).__name__}")
