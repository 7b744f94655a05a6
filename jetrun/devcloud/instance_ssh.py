"""The SSH face of an instance: who may log in, and at which addresses it listens."""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

from jetrun.devcloud.instance_session import Session

if TYPE_CHECKING:
    from jetrun.devcloud.instance import Instance

_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_CIPHERS = ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"]
_RETRY_S = 0.05
_BACKLOG = 100


class Login(asyncssh.SSHServer):
    """Who may log in: anybody but root, with one of the instance's keys."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._connection: Any = None

    def connection_made(self, conn: Any) -> None:
        """Keep count of connections, to cut them when that is asked."""
        self._connection = conn
        self._instance.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        del exc
        self._instance.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        """A key is always needed."""
        del username
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys only: asyncssh offers a password only where it is told to."""
        return True

    def validate_public_key(self, username: str, key: Any) -> bool:
        """Whether *key* stands in the file of authorized keys as it is now; root never logs in."""
        if username == "root" or not _NAME.fullmatch(username):
            return False
        return bare_key(key.export_public_key().decode()) in authorized_keys(self._instance.authorized_keys)

    def session_requested(self) -> Session:
        """Any number of sessions a connection."""
        return Session(self._instance)


def authorized_keys(path: Path) -> set[str]:
    """Type and key of each line of an authorized_keys file, without options and remarks; empty without a file."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    return {bare_key(line) for line in lines if line.strip() and not line.lstrip().startswith("#")}


def bare_key(line: str) -> str:
    """The type and the key of a public key's line."""
    words = line.split()
    at = next((i for i, word in enumerate(words) if word.startswith(("ssh-", "ecdsa-", "sk-"))), 0)
    return " ".join(words[at : at + 2])


class Listeners:
    """The addresses of one instance; each is served as soon as nobody else holds it.

    A socket stays bound while what answers on it changes: a connection that comes in between waits, and is not reset.
    """

    def __init__(self, instance: Instance, host_key: Path, port: int) -> None:
        self._instance = instance
        self._host_key = asyncssh.read_private_key(str(host_key))
        self._port = port
        self._bound: dict[str, socket.socket] = {}
        self._open: dict[str, Any] = {}
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._silent = False
        self._changing = asyncio.Lock()

    async def set(self, addresses: list[str], *, silent: bool) -> None:
        """Listen on these addresses and no others; *silent* accepts and says nothing."""
        async with self._changing:
            for task in self._waiting.values():
                task.cancel()
            self._waiting.clear()
            for address in [one for one in self._bound if one not in addresses]:
                self._bound.pop(address).close()
                if address in self._open:
                    self._open.pop(address).close()
            for address in [one for one in self._open if silent != self._silent]:
                self._open.pop(address).close()
            self._silent = silent
            for address in addresses:
                if address not in self._open and not await self._try(address):
                    self._waiting[address] = asyncio.ensure_future(self._insist(address))

    async def _insist(self, address: str) -> None:
        """An address that another instance is giving up, such as a floating one, becomes free in a moment."""
        while not await self._try(address):  # noqa: ASYNC110 - nobody tells when an address becomes free
            await asyncio.sleep(_RETRY_S)

    async def _try(self, address: str) -> bool:
        """Whether it listens there now."""
        bound = self._bound.get(address)
        if bound is None:
            bound = socket.socket()
            try:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bound.bind((address, self._port))
                bound.listen(_BACKLOG)
            except OSError as error:
                bound.close()
                if error.errno not in {errno.EADDRINUSE, errno.EADDRNOTAVAIL}:
                    raise
                return False
            bound.setblocking(False)
            self._bound[address] = bound
        self._open[address] = await self._serve(bound.dup())
        return True

    async def _serve(self, bound: socket.socket) -> Any:
        if self._silent:
            return await asyncio.get_running_loop().create_server(_Mute, sock=bound)
        return await asyncssh.listen(
            sock=bound,
            server_host_keys=[self._host_key],
            server_factory=lambda: Login(self._instance),
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
            allow_scp=False,
            compression_algs=None,
            encryption_algs=_CIPHERS,
        )


class _Mute(asyncio.Protocol):
    """A host that accepts and is silent."""
