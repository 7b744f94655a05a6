"""Writing to a terminal or a pipe that nobody may be reading, without ever waiting for it.

A terminal held by Ctrl-S, or a full pipe, would stop the loop that watches the instance. So bytes are written only where
there is room for them; what has no room waits, up to a bound, and is then dropped: the whole log is kept elsewhere.
Source: pipe(7): a pipe that select calls writable takes PIPE_BUF bytes at once.
"""

from __future__ import annotations

import os
import select
import time

PIECE_BYTES = 4096
"""PIPE_BUF on Linux: so much is taken at once by whatever select calls writable."""

WAITING_BYTES = 8 << 20
"""How much waits for a reader before the oldest is dropped."""


class PatientWriter:
    """One file descriptor, written to as far as it takes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting = bytearray()
        self._gone = False
        self.dropped_bytes = 0

    def write(self, data: bytes) -> None:
        """Write *data*, or keep it until there is room. Never waits, never raises."""
        if self._gone:
            return
        self._waiting += data
        self._push()
        if len(self._waiting) > WAITING_BYTES:
            excess = len(self._waiting) - WAITING_BYTES // 2
            del self._waiting[:excess]
            self.dropped_bytes += excess

    def finish(self, within_s: float = 5.0) -> None:
        """Write what still waits, if a reader takes it in that time."""
        until = time.monotonic() + within_s
        while self._waiting and not self._gone and time.monotonic() < until:
            self._push(until - time.monotonic())

    def _push(self, wait_s: float = 0.0) -> None:
        """As many pieces as are taken at once."""
        try:
            while self._waiting and select.select([], [self._descriptor], [], max(0.0, wait_s))[1]:
                written = os.write(self._descriptor, self._waiting[:PIECE_BYTES])
                del self._waiting[:written]
        except (OSError, ValueError):
            # Nobody will ever read: a closed pipe, a terminal that is gone.
            self._gone = True
            self._waiting.clear()
