"""How a connection is opened, through fabric, with its traps closed (each named where it is met)."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from jetrun.errors import RemoteRefused, RemoteUnreachable
from jetrun.remote import host_trust
from jetrun.remote.connection import SshConnection
from jetrun.remote.host_keys import HostKey, HostKeyFolder
from jetrun.remote.interface import Connected, Target

KEEPALIVE_S = 15
"""fabric sets none, and then a silent drop blocks for ever (fabric#1807)."""

SILENT_S = 45
"""Three keepalives without any acknowledgement: the kernel then breaks the connection (TCP_USER_TIMEOUT)."""


def connect(target: Target, folder: HostKeyFolder, *, within_s: float) -> tuple[SshConnection, Connected]:
    """Connect once.

    Raises:
        RemoteUnreachable: nothing answers in time, or what answers does not finish.
        RemoteRefused: the host key, or our key, is refused.

    Effects:
        Pins the host key, of the console log or of a first use, after the login has succeeded: a stranger at a reused
        address, who does not know our key, is never pinned.
    """
    import fabric  # type: ignore[import-untyped]  # noqa: PLC0415 - it has no types; slow to import, and not needed for --help
    import paramiko  # type: ignore[import-untyped]  # noqa: PLC0415

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
