"""A real SMTP server on loopback that keeps every message as a file, and misbehaves when the fault book says so."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from jetrun.devcloud.faults import FaultBook

HANG_S = 60.0
"""The least that a server hangs: longer than a client may be expected to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How the sink is entered.

    Attributes:
        user, password: the only login that is right; without a user any login is, but for the password ``wrong``. None is needed.
        certificate: for STARTTLS, or for TLS from the first byte with ``is_implicit``; None: no TLS.
    """

    user: str = ""
    password: str = ""
    certificate: ssl.SSLContext | None = None
    is_implicit: bool = False

    def is_right(self, user: bytes, password: bytes) -> bool:
        """Whether this login is good."""
        if not self.user:
            return password != b"wrong"
        return (user, password) == (self.user.encode(), self.password.encode())


class _Keeper:
    """Takes messages."""

    def __init__(self, folder: Path, faults: FaultBook) -> None:
        self._folder = folder
        self._faults = faults

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep one message, or do what a fault says."""
        del session
        fault = self._faults.take("smtp.message", "mail-refused", "mail-hangs")
        if fault is not None and fault.name == "mail-refused":
            return "550 5.7.1 refused"
        if fault is not None:
            await asyncio.sleep(max(fault.seconds, HANG_S))
            _cut(server)
            return "421 4.3.2 closing"
        self._keep(envelope)
        return "250 OK: kept"

    def _keep(self, envelope: Envelope) -> None:
        """Write a message beside its place, then put it there: whoever looks sees all of it or nothing."""
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.stem) for path in self._folder.glob("[0-9]*.eml")), default=0)
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        recipients = ", ".join(envelope.rcpt_tos).encode(errors="surrogateescape")
        new = self._folder / f".{number}.new"
        with new.open("wb") as file:
            file.write(b"X-Envelope-To: " + recipients + b"\r\n" + content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._folder / f"{number:04}.eml")


class _Server(SMTP):
    """aiosmtpd's server, which can also hang up while a message is on its way."""

    def __init__(self, *args: Any, faults: FaultBook, **more: Any) -> None:
        super().__init__(*args, **more)
        self._faults = faults

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        """Take a message; with ``mail-disconnects`` only its beginning."""
        ready = self.envelope is not None and bool(self.envelope.rcpt_tos) and not arg
        if ready and self._faults.take("smtp.message", "mail-disconnects") is not None:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            await self._reader.readline()
            _cut(self)
            return
        await super().smtp_DATA(arg)


def _cut(server: SMTP) -> None:
    """End the connection without a word."""
    if isinstance(server.transport, asyncio.WriteTransport):
        server.transport.abort()


def _authenticator(access: Access) -> Callable[..., AuthResult]:
    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        del server, session, envelope, mechanism
        login = data if isinstance(data, LoginPassword) else LoginPassword(login=b"", password=b"")
        return AuthResult(success=access.is_right(login.login, login.password), handled=False)

    return check


async def serve(
    folder: Path, faults: FaultBook, *, port: int = 0, access: Access | None = None
) -> tuple[asyncio.Server, int]:
    """Start the sink on loopback: (the server, its port).

    Args:
        folder: gets one file a message, ``0001.eml`` onwards. faults: asked for ``smtp.message``.
    """
    how = access if access is not None else Access()
    factory = partial(
        _Server,
        _Keeper(folder, faults),
        faults=faults,
        hostname="devcloud",
        authenticator=_authenticator(how),
        auth_require_tls=False,
        tls_context=None if how.is_implicit else how.certificate,
        timeout=300,
    )
    listening = how.certificate if how.is_implicit else None
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", port, ssl=listening)
    return server, server.sockets[0].getsockname()[1]
