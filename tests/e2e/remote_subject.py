"""What the tests of remote/ share: a server, a remote on it, and hostile names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sshd import Sshd

from jetrun.guarantee.power import InstanceId, RunId
from jetrun.remote.interface import (
    ScriptReading,
    ScriptSpec,
    ScriptState,
    Switch,
    Target,
    Transfer,
    TransferReading,
    TransferState,
)
from jetrun.remote.ssh import SshRemote

INSTANCE = InstanceId("6f1c0000-0000-4000-8000-00000000cafe")
RUN = RunId("run-1")

HOSTILE = [
    "a b",
    "it's",
    'say "hi"',
    "$HOME `id` $(id)",
    "line\nbreak",
    "ends in newline\n",
    "-rf",
    "--help",
    "naïve 試験 🧪",
    "back\\slash",
    "semi;colon & pipe|",
    "*?[a]{b}",
    "!bang #hash ~tilde %percent",
    "host:path",
    "x" * 250,
    "tab\there",
    "@jetrun-answer@",
]


def target(server: Sshd, **changes: object) -> Target:
    settings = {
        "instance": INSTANCE,
        "host": "127.0.0.1",
        "port": server.port,
        "user": server.user,
        "identities": [server.identity],
    }
    return Target(**{**settings, **changes})  # type: ignore[arg-type]


@contextmanager
def connected(server: Sshd, folder: Path, run: str = RUN) -> Iterator[SshRemote]:
    remote = SshRemote(RunId(run), host_keys=folder / "host_keys")
    try:
        remote.connect(target(server), within_s=10)
        yield remote
    finally:
        remote.close()


def finished(transfer: Transfer, within_s: float = 60) -> TransferReading:
    """The last reading of a transfer, watched as the engine watches it."""
    until = time.monotonic() + within_s
    try:
        while (reading := transfer.poll()).state is TransferState.RUNNING:
            assert time.monotonic() < until, reading
            time.sleep(0.01)
        return reading
    finally:
        transfer.cancel()


def eventually(claim: Callable[[], bool], within_s: float = 10) -> None:
    """Waits for what another process does."""
    until = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def ended(remote: SshRemote, within_s: float = 20) -> ScriptReading:
    """The reading of the script once it runs no more."""
    until = time.monotonic() + within_s
    while (reading := remote.read_script()).state is ScriptState.RUNNING:
        assert time.monotonic() < until
        time.sleep(0.02)
    return reading


def run_script(remote: SshRemote, text: str, **env: str) -> ScriptReading:
    """Send a script and start it."""
    remote.prepare(f"#!/bin/sh\n{text}\n".encode(), "script.sh")
    return remote.start_script(ScriptSpec(command=["../script/script.sh"], env=env))


def switch(*, lasts_s: float = 3600, generation: int = 5, tick_s: float = 60, run: str = RUN) -> Switch:
    return Switch(
        instance=INSTANCE,
        run=RunId(run),
        generation=generation,
        deadline_at=datetime.now(UTC) + timedelta(seconds=lasts_s),
        countdown_s=lasts_s,
        orphan_s=1800,
        tick_s=tick_s,
        gap_s=600,
    )


def followed(remote: SshRemote, offset: int = 0, within_s: float = 30) -> bytes:
    """The log from *offset* to its end."""
    until = time.monotonic() + within_s
    follower = remote.follow(offset)
    parts = []
    try:
        while not follower.ended:
            assert time.monotonic() < until
            parts.append(follower.read(65536, 0.5))
    finally:
        follower.close()
    return b"".join(parts)
