"""Which host key a connection may show, and what happens with one that was not expected. paramiko's side of host_keys.py."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jetrun.remote.host_keys import HostKey, HostKeyFolder, parse_key
from jetrun.remote.interface import Target

if TYPE_CHECKING:
    from paramiko import Transport  # type: ignore[import-untyped]  # it has no types


def expected(target: Target, folder: HostKeyFolder) -> tuple[Sequence[HostKey], str]:
    """The keys that may come, and why: pinned before, else from the console log, else any (empty)."""
    keys = folder.pinned(target.instance)
    if keys:
        return keys, "pinned"
    console = [key for line in target.console_host_keys if (key := parse_key(line)) is not None]
    if console:
        return console, "console"
    return (), "first-use"


def transport_factory(keys: Sequence[HostKey]) -> Any:
    """Makes transports that ask for the kinds of host key that are pinned, so that a second kind is no surprise."""
    import paramiko  # noqa: PLC0415

    def make(sock: socket.socket, **options: Any) -> Transport:
        transport = paramiko.Transport(sock, **options)
        if keys:
            kinds = {key.kind for key in keys}
            security = transport.get_security_options()
            wanted = [kind for kind in security.key_types if kind in kinds or ("ssh-rsa" in kinds and "rsa-" in kind)]
            security.key_types = (*wanted, *(kind for kind in security.key_types if kind not in wanted))
        return transport

    return make


def policy_for(target: Target, folder: HostKeyFolder, keys: Sequence[HostKey], until: float) -> Any:
    """The host key policy: asked for every connection, because paramiko itself is given no known hosts."""
    import paramiko  # noqa: PLC0415

    class Pinned(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # it has no types
        """Accepts a pinned key; any key where nothing is pinned, and keeps it."""

        came: HostKey | None = None

        def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
            """Refuse what is not pinned."""
            came = HostKey(kind=key.get_name(), blob=key.asbytes())
            if keys and came not in keys:
                raise folder.changed(target.instance, keys, came)
            self.came = came
            # The login gets what the key exchange left of the time.
            client.get_transport().auth_timeout = max(1.0, until - time.monotonic())

    return Pinned()
