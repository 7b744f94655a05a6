"""The other way to copy, where rsync is missing: a child process that packs or unpacks tar, with ``ssh`` as its own child.

Run as ``python -m jetrun.remote.tarball send|fetch|copy SPEC``. It keeps the rules of rsync as sync.py calls it: the same
excludes, links that stay inside kept, links that lead out sent as what they mean (send) or left out (fetch). No deltas.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from jetrun.remote.programs import MARK

PARTIAL_CODE = 23
"""rsync's own code for some files that could not be transferred."""


def excluder(patterns: Sequence[str]) -> Any:
    """Whether a path is excluded, as rsync(1), "PATTERN MATCHING RULES", has it: ``(path, is_folder) -> bool``.

    A pattern with a ``/`` (other than at its end) or ``**`` is held against the whole path below the transfer's root, at its
    end unless it begins with ``/``; any other against the last name alone. ``*`` stops at ``/``; a ``/`` at the end means folders.
    """
    rules = []
    for pattern in patterns:
        body = pattern.rstrip("/")
        anchored = body.startswith("/")
        whole = "/" in body or "**" in body
        # A leading "**/" is held against the path with a slash before it, so it means the root too.
        expression = _expression(body.lstrip("/").removeprefix("**/"))
        rules.append(
            (re.compile(("" if anchored else "(?:.*/)?") + expression, re.DOTALL), whole, pattern.endswith("/"))
        )

    def excluded(path: str, *, is_folder: bool) -> bool:
        last = path.rsplit("/", 1)[-1]
        return any(
            (is_folder or not folders_only) and rule.fullmatch(path if whole else last) is not None
            for rule, whole, folders_only in rules
        )

    return excluded


def _expression(pattern: str) -> str:
    """A wildcard pattern as a regular expression."""
    if pattern.endswith("/***"):
        return f"{_expression(pattern[:-4])}(?:/.*)?"
    found = re.compile(r"\*\*+|\*|\?|\[[!^]?\]?[^\]/]*\]|\\.|.", re.DOTALL)
    parts = []
    for piece in found.findall(pattern):
        if piece.startswith("**"):
            parts.append(".*")
        elif piece == "*":
            parts.append("[^/]*")
        elif piece == "?":
            parts.append("[^/]")
        elif piece.startswith("[") and len(piece) > 1:
            inside = piece[1:-1].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"[^{inside[1:]}]" if inside[:1] in "!^" else f"[{inside}]")
        else:
            parts.append(re.escape(piece[-1] if piece.startswith("\\") and len(piece) > 1 else piece))
    return "".join(parts)


def leads_out(link: str, target: str) -> bool:
    """Whether a link at relative path *link* leads out of the root, as rsync's ``unsafe_symlink`` counts it."""
    if not target or target.startswith("/"):
        return True
    depth = link.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in ("", "."):
            depth += 1
    return False


def entries(source: Path, name: str, excludes: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Every (local file, name in the archive) of one input."""
    if not source.is_dir():
        if not excluder(excludes)(source.name, is_folder=False):
            yield source, name
        return
    excluded = excluder(excludes)
    yield source, name
    waiting = [(source, "")]
    while waiting:
        folder, below = waiting.pop()
        for entry in sorted(os.scandir(folder), key=lambda one: one.name):
            path = f"{below}{entry.name}"
            follows = entry.is_symlink() and leads_out(path, str(Path(entry.path).readlink()))
            is_folder = entry.is_dir(follow_symlinks=follows)
            if excluded(path, is_folder=is_folder):
                continue
            local = Path(entry.path)
            yield local.resolve() if follows else local, f"{name}/{path}"
            if is_folder:
                waiting.append((local, f"{path}/"))


def send(spec: dict[str, Any]) -> int:
    """Pack the inputs into the instance's ``tar -x``."""
    child = subprocess.Popen(spec["ssh"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert child.stdin is not None  # noqa: S101 - PIPE above
    failures = 0
    began, sent = time.monotonic(), 0
    try:
        with tarfile.open(fileobj=child.stdin, mode="w|", format=tarfile.PAX_FORMAT, bufsize=256 * 1024) as archive:
            for source, name in spec["entries"]:
                for local, inside in entries(Path(source), name, spec["excludes"]):
                    try:
                        sent += _add(archive, local, inside)
                    except (PermissionError, FileNotFoundError) as error:
                        print(f"{local}: {error.strerror}", file=sys.stderr)  # noqa: T201 - a program of its own
                        failures = PARTIAL_CODE
                    _progress(sent, began)
        child.stdin.close()
    except BrokenPipeError:
        pass  # its end says why
    return child.wait() or failures


def _add(archive: tarfile.TarFile, local: Path, inside: str) -> int:
    """Add one entry; what is neither file, folder nor link is left out. The bytes added."""
    info = archive.gettarinfo(str(local), arcname=inside)
    if info.islnk():  # a second name of a file is a file of its own there
        info.type, info.linkname = tarfile.REGTYPE, ""
        info.size = local.stat().st_size
    if info.isreg():
        with local.open("rb") as file:
            archive.addfile(info, file)
        return info.size
    if info.isdir() or info.issym():
        archive.addfile(info)
    return 0


def fetch(spec: dict[str, Any]) -> int:
    """Unpack what the instance packs."""
    child, stream = _answer(spec)
    into = Path(spec["into"])
    began, got = time.monotonic(), 0
    folders: list[tuple[Path, tarfile.TarInfo]] = []
    try:
        with child, tarfile.open(fileobj=stream, mode="r|", bufsize=256 * 1024) as archive:
            for info in archive:
                path = _place(info, into)
                if path is None:
                    continue
                got += _put(archive, info, path, into)
                if info.isdir():
                    folders.append((path, info))
                _progress(got, began)
            stream.read()
    except tarfile.ReadError as error:
        # Cut off: the connection broke, or the instance could not pack; ssh's own code tells which.
        print(f"the archive is not whole: {error}", file=sys.stderr)  # noqa: T201
        return child.returncode or PARTIAL_CODE
    for path, info in reversed(folders):
        path.chmod(stat.S_IMODE(info.mode))
        os.utime(path, (info.mtime, info.mtime))
    return child.returncode


def _place(info: tarfile.TarInfo, into: Path) -> Path | None:
    """Where an entry goes; None for what would lead out of *into*, by its name, its link, or a link on the way."""
    inside = os.path.normpath(info.name)
    link = os.path.normpath(info.linkname) if info.islnk() else "."
    if any(one.startswith(("/", "../")) or one == ".." for one in (inside, link)):
        return None
    if info.issym() and leads_out(inside, info.linkname):
        return None
    root = into.resolve()
    ways = [(into / inside).parent.resolve(), (into / link).resolve()]
    return into / inside if all(way.is_relative_to(root) for way in ways) else None


def _put(archive: tarfile.TarFile, info: tarfile.TarInfo, path: Path, into: Path) -> int:
    """Write one entry. The bytes written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if info.isdir():
        if path.is_symlink() or path.is_file():
            path.unlink()
        path.mkdir(exist_ok=True)
        return 0
    beside = path.with_name(".jetrun-new")
    if info.issym():
        beside.unlink(missing_ok=True)
        beside.symlink_to(info.linkname)
        beside.replace(path)
    elif info.islnk():
        shutil.copy2(into / os.path.normpath(info.linkname), beside)
        beside.replace(path)
    elif info.isreg():
        source = archive.extractfile(info)
        with beside.open("wb") as file:
            if source is not None:
                shutil.copyfileobj(source, file, 256 * 1024)
        beside.chmod(stat.S_IMODE(info.mode) & 0o777)
        os.utime(beside, (info.mtime, info.mtime))
        beside.replace(path)
        return info.size
    return 0


def copy(spec: dict[str, Any]) -> int:
    """Write what the instance prints into one file."""
    child, stream = _answer(spec)
    into = Path(spec["into"])
    beside = into.with_name(".jetrun-new")
    with child, beside.open("wb") as file:
        shutil.copyfileobj(stream, file, 256 * 1024)
    if child.returncode == 0:
        beside.replace(into)
    else:
        beside.unlink(missing_ok=True)
    return child.returncode


def _answer(spec: dict[str, Any]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """The ssh with its program, and its standard output from behind the answer's mark on."""
    with Path(spec["stdin"]).open("rb") as program:
        child = subprocess.Popen(spec["ssh"], stdin=program, stdout=subprocess.PIPE)
    assert child.stdout is not None  # noqa: S101 - PIPE above
    before = b""
    while not before.endswith(MARK):
        byte = child.stdout.read(1)
        if not byte:
            raise SystemExit(child.wait() or PARTIAL_CODE)
        before = before[-256:] + byte
    return child, child.stdout


_said = 0.0


def _progress(done: int, began: float) -> None:
    """A line as rsync's, now and then."""
    global _said  # noqa: PLW0603 - a program of its own, with one transfer
    now = time.monotonic()
    if now - _said >= 0.2:
        _said = now
        print(f"{done} 0% {done / max(1e-3, now - began) / 1e6:.2f}MB/s", flush=True)  # noqa: T201


def main(argv: Sequence[str]) -> int:
    """Do *argv*[0] as the spec file *argv*[1] says."""
    spec = json.loads(Path(argv[1]).read_text())
    try:
        return {"send": send, "fetch": fetch, "copy": copy}[argv[0]](spec)
    except OSError as error:
        print(f"{error.filename or 'the transfer'}: {error.strerror} ({error.errno})", file=sys.stderr)  # noqa: T201
        return 11


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
