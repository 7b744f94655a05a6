"""Makes ``world`` importable beside the tests, and keeps them in virtual time."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _only_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation that really waits, or opens a socket, fails."""

    def forbidden(*args: object, **more: object) -> None:
        raise AssertionError("a simulation neither sleeps nor opens sockets")

    monkeypatch.setattr(time, "sleep", forbidden)
    monkeypatch.setattr(socket, "socket", forbidden)
