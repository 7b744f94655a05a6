"""Who may log in to an instance, and how bytes go between a client and a program inside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncssh

if TYPE_CHECKING:
    from jetrun.devcloud.instance import Instance


class Login(asyncssh.SSHServer):
    """Who may log in: anybody but root, with a key of the instance's."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._connection: Any = None

    def connection_made(self, conn: Any) -> None:
        """Keep count of connections, to cut them when that is asked."""
        self._connection = conn
        self._instance._connections.add(conn)  # noqa: SLF001 - one unit with the instance

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        del exc
        self._instance._connections.discard(self._connection)  # noqa: SLF001

    def begin_auth(self, username: str) -> bool:
        """A key is always needed."""
        del username
        return True

    def public_key_auth_supported(self) -> bool:
        """Only keys."""
        return True

    def validate_public_key(self, username: str, key: Any) -> bool:
        """Whether *key* is one of the instance's."""
        allowed = {" ".join(line.split()[:2]) for line in self._instance.spec.public_keys}
        return username != "root" and " ".join(key.export_public_key().decode().split()[:2]) in allowed


async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A host that accepts and is silent."""
    del reader
    await asyncio.sleep(3600)
    writer.close()


async def feed(process: Any, child: asyncio.subprocess.Process) -> None:
    """The client's bytes to the program."""
    sink = child.stdin
    assert sink is not None  # noqa: S101 - it was asked for
    try:
        while data := await process.stdin.read(1 << 17):
            sink.write(data)
            await sink.drain()
    except (OSError, asyncssh.Error):
        pass
    finally:
        sink.close()


async def pump(source: asyncio.StreamReader | None, sink: Any) -> None:
    """The program's bytes to the client, as fast as the client takes them."""
    assert source is not None  # noqa: S101 - it was asked for
    while data := await source.read(1 << 17):
        sink.write(data)
        await sink.drain()
