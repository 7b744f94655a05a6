"""``jetrun`` with following off: the script's log is not read before its end. Only to measure what following costs (output.py)."""

from __future__ import annotations

import time

from jetrun.__main__ import main
from jetrun.remote.ssh import SshRemote


class Deaf:
    """A follower that hears nothing; the engine finds the script's end by its own looks at the exit file."""

    ended = False

    def read(self, max_bytes: int, wait_s: float) -> bytes:  # noqa: ARG002 - the interface's
        """Nothing, in the time asked for."""
        time.sleep(wait_s)
        return b""

    def close(self) -> None:
        """Nothing to close."""


if __name__ == "__main__":
    SshRemote.follow = lambda self, offset: Deaf()  # type: ignore[method-assign]
    main()
