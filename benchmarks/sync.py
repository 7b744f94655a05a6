"""A9: inputs by jetrun and by plain rsync with the same ssh options, to a real OpenSSH server, in turn."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from figures import Figure, in_turn, insist, timed
from runs import Desk
from sshd import Sshd

from jetrun.engine.stage import WATCH_S, upload_of
from jetrun.guarantee.power import InstanceId, RunId
from jetrun.remote.interface import Target, TransferState
from jetrun.remote.openssh import HOST, OpenSsh
from jetrun.remote.ssh import SshRemote

FILES, FILE_BYTES = 3000, 4096
BIG_BYTES = 300_000_000
FIRST, AGAIN, SLACK_S = 1.15, 1.2, 0.2
"""Bounds of the project's acceptance, A9: times plain rsync, or so many seconds more."""

INSTANCE = InstanceId("6f1c0000-0000-4000-8000-00000000cafe")


def syncing(desk: Desk, rounds: int) -> Iterator[Figure]:
    """Both loads, sent and sent again."""
    if shutil.which("sshd", path="/usr/sbin:/usr/bin") is None:
        return
    folder = Path(tempfile.mkdtemp(prefix="jb", dir=_quiet_disk(desk.folder)))
    small, big = folder / "small", folder / "big"
    small.mkdir()
    big.mkdir()
    for number in range(FILES):
        (small / f"file{number:04}").write_bytes(os.urandom(FILE_BYTES))
    (big / "file").write_bytes(os.urandom(BIG_BYTES))
    server = Sshd(folder / "sshd")
    server.start()
    try:
        with closing(_Way(server, folder)) as way:
            yield from _both(way, small, f"{FILES} files of {FILE_BYTES // 1024} KiB", rounds)
            yield from _both(way, big, f"one file of {BIG_BYTES // 1_000_000} MB", rounds)
    finally:
        server.stop()
        shutil.rmtree(folder)


def _quiet_disk(folder: Path) -> Path:
    """Where files are made: in memory where there is room, because a disk that others use makes more noise than what is measured."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private folder in it
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 5 * BIG_BYTES else folder


def _both(way: _Way, source: Path, what: str, rounds: int) -> Iterator[Figure]:
    """One load: first sent where there is nothing, then with nothing changed."""

    def fresh(send: Callable[[Path], None]) -> float:
        way.forget()
        return timed(lambda: send(source))

    plain, ours = in_turn(rounds, lambda: fresh(way.plain), lambda: fresh(way.jetrun))
    yield from _pair(what, plain, ours, FIRST)
    way.forget()
    way.plain(source)
    way.jetrun(source)
    plain, ours = in_turn(rounds, lambda: timed(lambda: way.plain(source)), lambda: timed(lambda: way.jetrun(source)))
    yield from _pair(f"{what}, unchanged", plain, ours, AGAIN)


def _pair(what: str, plain: list[float], ours: list[float], times: float) -> Iterator[Figure]:
    """Both figures, ours bounded by theirs."""
    theirs = Figure(what=f"{what}: rsync", values=plain)
    bound = max(theirs.median * times, theirs.median + SLACK_S)
    yield theirs
    yield Figure(what=f"{what}: jetrun", values=ours, bound=bound, why=f"{times} x, or + {SLACK_S} s")


class _Way:
    """The two ways to one server."""

    def __init__(self, server: Sshd, folder: Path) -> None:
        self._home = server.home
        target = Target(
            instance=INSTANCE, host="127.0.0.1", port=server.port, user=server.user, identities=[server.identity]
        )
        self._remote = SshRemote(RunId("bench"), host_keys=folder / "host_keys")
        self._remote.connect(target, within_s=20)
        self._remote.facts()
        # The handshake of a person's own rsync, with the same options.
        self._ssh = OpenSsh(target, next((folder / "host_keys").iterdir()))

    def plain(self, source: Path) -> None:
        """Rsync as a person types it."""
        words = [
            "rsync",
            "-a",
            "-e",
            " ".join(self._ssh.command()),
            f"{source}/",
            f"{HOST}:{self._home}/plain/{source.name}/",
        ]
        (self._home / "plain").mkdir(exist_ok=True)
        subprocess.run(words, check=True)

    def jetrun(self, source: Path) -> None:
        """What phase ``stage_in`` does, watched as it watches."""
        self._remote.prepare(b"#!/bin/sh\n", "job.sh")
        transfer = self._remote.upload([upload_of(str(source))], excludes=())
        while (reading := transfer.poll()).state is TransferState.RUNNING:
            time.sleep(WATCH_S)
        insist(reading.state is TransferState.DONE, reading)

    def forget(self) -> None:
        """Neither has sent anything; what is still to be written to the disk is written, so that no round pays for another's."""
        shutil.rmtree(self._home / "plain", ignore_errors=True)
        shutil.rmtree(self._home / ".jetrun", ignore_errors=True)
        os.sync()

    def close(self) -> None:
        """End the connections."""
        self._remote.close()
        self._ssh.close()
