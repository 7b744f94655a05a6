"""Which loopback addresses an embedded cloud has for its instances: 127.NET.0.0/16, with a NET that no other one holds."""

from __future__ import annotations

import json
import socket
from pathlib import Path

FIRST, LAST = 20, 239


def kept_net(state_file: Path) -> int | None:
    """The second byte that the cloud had when it was last up."""
    try:
        net = json.loads(state_file.read_text(encoding="utf-8"))["network"]["net"]
    except (OSError, ValueError, KeyError):
        return None
    return int(net)


def claim_net(kept: int | None, port: int) -> tuple[int, socket.socket]:
    """A second byte, the *kept* one where it is free, and the socket that holds it."""
    for net in [*([] if kept is None else [kept]), *range(FIRST, LAST + 1)]:
        holder = socket.socket()
        try:
            holder.bind((f"127.{net}.255.254", port))
            holder.listen(1)
        except OSError:
            holder.close()
        else:
            return net, holder
    raise SystemExit(f"no free loopback addresses: {LAST - FIRST + 1} embedded clouds are running")
