"""The path of an instance's control socket, short enough whatever the folder: a socket's path holds 107 bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def listening_path(folder: Path) -> Iterator[str]:
    """A path for ``control`` in *folder* that goes through an open descriptor of it. Source: unix(7), proc(5)."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/control"
    finally:
        os.close(descriptor)
