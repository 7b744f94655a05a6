"""Inputs to the instance and outputs back: rsync through OpenSSH, only differences; tar where rsync is missing on either side.

Names travel as arguments, as NUL-ended lists or inside archives, never through a remote shell. Each input folder is a transfer
of its own root, so excludes mean the same whatever the folder is called, and a link that leads out of it is sent as what it
means; outputs are never followed out of the work folder.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jetrun.errors import RemoteRefused
from jetrun.guarantee.power import RunId
from jetrun.remote import programs
from jetrun.remote.connection import SshConnection
from jetrun.remote.execution import failed
from jetrun.remote.interface import TransferReading, TransferState, Upload
from jetrun.remote.openssh import HOST, OpenSsh
from jetrun.remote.transfer import ChildTransfer, FinishedTransfer, Step

EXPAND_S = 60.0
"""For finding the outputs: a glob over a hundred thousand files takes seconds."""

SMALL_LOG_BYTES = 1024 * 1024
"""A log up to this size comes over the connection that stands; measured: 5 ms against 60 ms for a child process."""

PARTIAL = ".jetrun-partial"
"""Where rsync keeps what a broken connection left of a file, to go on from there."""

UNPACK = (
    'exec /bin/sh -c \'tar -xpof - -C "$0" || { code=$?; df -Pk "$0" | tail -n 1 | { read -r _ _ _ free _; '
    'test "$free" -gt 64 || echo "No space left on device (28)" >&2; }; exit $code; }\''
)
"""Unpacks into the folder named behind it; GNU tar does not say when the disk is full, so that is looked at."""


class Sync:
    """Transfers of one run over one connection."""

    def __init__(
        self, connection: SshConnection, ssh: OpenSsh, run: RunId, base: str, *, guest_has_rsync: bool
    ) -> None:
        self._connection = connection
        self._ssh = ssh
        self._run = run
        self._base = base
        self._rsync = shutil.which("rsync") if guest_has_rsync else None

    def upload(self, uploads: Sequence[Upload], *, excludes: Sequence[str]) -> ChildTransfer:
        """Start copying inputs into the work folder.

        Raises:
            RemoteRefused: a name that leads out of the work folder.
            RemoteUnreachable, RemoteCommandFailed: its folders could not be made.
        """
        entries = [(_plain(one.source), _clean(one.name)) for one in uploads]
        parents = sorted({str(Path(name).parent) for _, name in entries} - {"."})
        if parents:
            reply = self._connection.run(programs.build(("prepare",), [self._run, "", *parents]), within_s=EXPAND_S)
            if reply.exit_code != 0:
                raise failed("making folders for the inputs", reply)
        done = TransferReading(state=TransferState.DONE)
        if self._rsync is None:
            spec = {"entries": [(str(source), name) for source, name in entries], "excludes": list(excludes)}
            return ChildTransfer([self._tar("send", spec, "")], done)
        return ChildTransfer(self._upload_steps(entries, excludes), done)

    def _upload_steps(self, entries: Sequence[tuple[Path, str]], excludes: Sequence[str]) -> Sequence[Step]:
        """One rsync for all files that keep their name, one for each folder and each renamed file."""
        options = ["--copy-unsafe-links", *(f"--exclude={pattern}" for pattern in excludes)]
        same = [str(source) for source, name in entries if not source.is_dir() and source.name == name]
        steps = [self._step([*options, *same, self._work("")])] if same else []
        for source, name in entries:
            if source.is_dir():
                steps.append(self._step([*options, f"{source}/", self._work(f"{name}/")]))
            elif source.name != name:
                steps.append(self._step([*options, str(source), self._work(name)]))
        return steps

    def download(self, outputs: Sequence[str], into: Path) -> ChildTransfer | FinishedTransfer:
        """Start fetching *outputs* into the local folder *into*.

        Raises:
            RemoteRefused: an output that leads out of the work folder.
            RemoteUnreachable, RemoteCommandFailed: the outputs could not be looked for.
        """
        patterns = [_clean(pattern) for pattern in outputs]
        reply = self._connection.run(programs.build(("expand",), [self._run, *patterns]), within_s=EXPAND_S)
        if reply.exit_code != 0:
            raise failed("looking for the outputs", reply)
        records = [record for record in reply.output.split(b"\0") if record]
        found = list(dict.fromkeys(record[1:] for record in records if record[:1] == b"F"))
        missing = tuple(programs.decode(record[1:]) for record in records if record[:1] == b"M")
        done = TransferReading(state=TransferState.DONE, missing=missing)
        if not found:
            return FinishedTransfer(done)
        into.mkdir(parents=True, exist_ok=True)
        if self._rsync is None:
            program = programs.build(("pack",), [self._run, *(f"./{programs.decode(path)}" for path in found)])
            return ChildTransfer([self._tar("fetch", {"into": str(into)}, program)], done, local=into)
        listed = self._keep("outputs", b"".join(path + b"\0" for path in found))
        options = ["--safe-links", "-r", "--from0", f"--files-from={listed}"]
        return ChildTransfer([self._step([*options, self._work(""), f"{into.absolute()}/"])], done, local=into)

    def download_log(self, into: Path) -> ChildTransfer | FinishedTransfer:
        """Start fetching the whole log to the local file *into*.

        Raises:
            RemoteUnreachable: the connection broke.
        """
        done = TransferReading(state=TransferState.DONE)
        limit = str(SMALL_LOG_BYTES)
        reply = self._connection.run(programs.build(("log",), [self._run, limit]), within_s=EXPAND_S)
        if reply.exit_code == 4:  # there is none: the script was never started
            return FinishedTransfer(done)
        if reply.exit_code == 0:
            return FinishedTransfer(_written(into, reply.output))
        if self._rsync is None:
            program = programs.build(("log",), [self._run, ""])
            return ChildTransfer([self._tar("copy", {"into": str(into)}, program)], done, local=into.parent)
        step = self._step([f"{HOST}:{self._base}/log", str(into.absolute())])
        return ChildTransfer([step], done, local=into.parent)

    def _work(self, name: str) -> str:
        return f"{HOST}:{self._base}/work/{name}"

    def _step(self, words: Sequence[str]) -> Step:
        """An rsync."""
        argv = [
            self._rsync or "rsync",
            "-a",
            # Not even root here makes devices, or files of somebody else's number.
            "--no-D",
            "--no-owner",
            "--no-group",
            "--secluded-args",
            f"--partial-dir={PARTIAL}",
            "--timeout=60",
            "--info=progress2",
            "--no-human-readable",
            "--outbuf=L",
            "-e",
            # Every word is ours and free of blanks and quotes (openssh.py).
            " ".join(self._ssh.command()),
            *words,
        ]
        return Step(argv=argv)

    def _tar(self, act: str, spec: dict[str, object], program: bytes | str) -> Step:
        """A transfer by tar: a child process of ours that packs or unpacks, with ssh as its own child."""
        stdin = self._keep("program", program) if isinstance(program, bytes) else ""
        remote = programs.COMMAND if stdin else f"{UNPACK} {programs.quote(f'{self._base}/work')}"
        spec = {**spec, "ssh": [*self._ssh.command(), HOST, remote], "stdin": stdin}
        path = self._keep("spec", json.dumps(spec).encode())
        return Step(argv=[sys.executable, "-m", "jetrun.remote.tarball", act, path])

    def _keep(self, name: str, data: bytes) -> str:
        """A private file for a child process, removed with the connection."""
        with tempfile.NamedTemporaryFile(dir=self._ssh.folder, prefix=f"{name}.", delete=False) as file:
            file.write(data)
        return file.name


def _plain(source: Path) -> Path:
    """The input itself where it is a link: what it means is wanted, not the link."""
    return source.resolve() if source.is_symlink() else source.absolute()


def _clean(name: str) -> str:
    """A name below the work folder.

    Raises:
        RemoteRefused: it leads out of it.
    """
    try:
        return programs.relative_name(name)
    except ValueError as error:
        raise RemoteRefused(
            code="path-leads-out",
            what=f"{name!r} is not a path below the work folder (no leading /, no ..)",
            next="write it relative to where the script runs",
        ) from error


def _written(into: Path, data: bytes) -> TransferReading:
    """Write a small file beside its target, then put it in its place."""
    beside = into.with_name(f".{into.name}.new")
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(data)
        beside.replace(into)
    except OSError as error:
        beside.unlink(missing_ok=True)
        full = error.errno in (28, 122)
        return TransferReading(state=TransferState.FAILED, failure=str(error), disk_full=full)
    return TransferReading(state=TransferState.DONE, sent_bytes=len(data), total_bytes=len(data))
