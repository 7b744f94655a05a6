"""SMTP that ends by a deadline, whatever the server does.

Problem: smtplib's timeout is for each read of the socket. A server that sends one byte every few seconds, or lines
without end, holds a client for ever. A watchdog thread, an alarm signal (the driver's signals are spoken for) and a
child process were rejected; instead every read and write on the socket is given what is left until the deadline, and
what a server may say altogether is bounded.

Not bounded by it: the system's name resolution, which ends by the resolver's own settings.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

MOST_REPLY_BYTES = 1_000_000
"""Of all replies in one session; a real one is a few kB."""


class Deadline:
    """A moment in monotonic time, and a number of bytes, that one SMTP session must not pass."""

    def __init__(self, timeout_s: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._ends = now() + timeout_s
        self._received = 0
        self.timeout_s = timeout_s

    def is_over(self) -> bool:
        """Whether it has passed."""
        return self._now() >= self._ends

    def remaining_s(self) -> float:
        """Seconds left, more than 0.

        Raises:
            TimeoutError: none are left.
        """
        left = self._ends - self._now()
        if left <= 0:
            raise TimeoutError(f"not done within {self.timeout_s:g} s")
        return left

    def shorten(self, most_s: float) -> None:
        """Let it be *most_s* from now, unless it ends earlier anyway."""
        self._ends = min(self._ends, self._now() + most_s)

    def received(self, count: int) -> None:
        """Count what the server said.

        Raises:
            ConnectionError: more than any real server says.
        """
        self._received += count
        if self._received > MOST_REPLY_BYTES:
            raise ConnectionError("the server sends without end")


class _PlainSocket(socket.socket):
    """A socket each of whose reads and writes ends by the deadline."""

    deadline: Deadline

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(self.deadline.remaining_s())
        count = super().recv_into(*args, **kwargs)
        self.deadline.received(count)
        return count

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self.settimeout(self.deadline.remaining_s())
        super().sendall(*args, **kwargs)


def _tls_socket_class(limit: Deadline) -> type[ssl.SSLSocket]:
    """The same over TLS. ``ssl`` makes its sockets itself, so the deadline is bound to the class."""

    class TlsSocket(ssl.SSLSocket):
        def do_handshake(self, *args: Any, **kwargs: Any) -> None:
            self.settimeout(limit.remaining_s())
            super().do_handshake(*args, **kwargs)

        def recv_into(self, *args: Any, **kwargs: Any) -> int:
            self.settimeout(limit.remaining_s())
            count = super().recv_into(*args, **kwargs)
            limit.received(count)
            return count

        def send(self, *args: Any, **kwargs: Any) -> int:
            self.settimeout(limit.remaining_s())
            return super().send(*args, **kwargs)

    return TlsSocket


def tls_context(limit: Deadline, *, ca_file: str | None = None) -> ssl.SSLContext:
    """A context that verifies certificate and host name, and whose sockets keep the deadline.

    Args:
        ca_file: certificates to trust besides the system's.
    """
    context = ssl.create_default_context()
    # Said outright: what the default is depends on the Python and on the system's own configuration of OpenSSL.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    context.sslsocket_class = _tls_socket_class(limit)
    return context


class BoundedSMTP(smtplib.SMTP):
    """An SMTP session that ends by a deadline.

    Args:
        tls: for TLS from the first byte; None for a plain start (STARTTLS may follow).
    """

    def __init__(self, host: str, port: int, *, deadline: Deadline, tls: ssl.SSLContext | None = None) -> None:
        self._deadline = deadline
        self._tls = tls
        # A literal, as mail programs send: smtplib would ask the resolver for this machine's name, which can take long
        # and tells the name to the server.
        super().__init__(host, port, local_hostname="[127.0.0.1]", timeout=deadline.timeout_s)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - smtplib's signature
        """A connected socket; every address of *host* is tried within the deadline."""
        sock = self._connected(host, port)
        return sock if self._tls is None else self._tls.wrap_socket(sock, server_hostname=host)

    def _connected(self, host: str, port: int) -> socket.socket:
        """Connected to the first address that answers."""
        failure: OSError = ConnectionError(f"{host} has no address")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for tried, (family, kind, protocol, _, address) in enumerate(found):
            sock = _PlainSocket(family, kind, protocol)
            sock.deadline = self._deadline
            try:
                # A share each: the first may be an IPv6 address whose packets go nowhere.
                sock.settimeout(self._deadline.remaining_s() / (len(found) - tried))
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise failure
