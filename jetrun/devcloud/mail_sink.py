"""A real SMTP server on loopback that keeps every message as a file, and misbehaves when the fault book says so."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from jetrun.devcloud.faults import FaultBook


class _Keeper:
    """Takes messages."""

    def __init__(self, folder: Path, faults: FaultBook) -> None:
        self._folder = folder
        self._faults = faults

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep one message, or do what a fault says."""
        del session
        fault = self._faults.take("smtp.message", "mail-refused", "mail-hangs", "mail-disconnects")
        if fault is not None and fault.name == "mail-refused":
            return "550 5.7.1 refused"
        if fault is not None and fault.name == "mail-hangs":
            await asyncio.sleep(max(fault.seconds, 60.0))
        if fault is not None:
            transport = server.transport
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
            return "421 4.3.2 closing"
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.stem) for path in self._folder.glob("[0-9]*.eml")), default=0)
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        recipients = ", ".join(envelope.rcpt_tos).encode()
        new = self._folder / f".{number}.new"
        new.write_bytes(b"X-Envelope-To: " + recipients + b"\r\n" + content)
        os.replace(new, self._folder / f"{number:04}.eml")  # noqa: PTH105 - the atomic one
        return "250 OK: kept"


def _accept(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    """Any login is good, but for the password ``wrong``."""
    del server, session, envelope, mechanism
    password = getattr(data, "password", b"")
    return AuthResult(success=password != b"wrong")


async def serve(folder: Path, faults: FaultBook, *, port: int = 0) -> tuple[asyncio.Server, int]:
    """Start the sink on loopback: (the server, its port)."""
    keeper = _Keeper(folder, faults)

    def factory() -> SMTP:
        return SMTP(keeper, hostname="devcloud", authenticator=_accept, auth_require_tls=False, timeout=300)

    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", port)
    return server, server.sockets[0].getsockname()[1]
