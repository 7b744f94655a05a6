"""The rules of the tar way, held to rsync's own."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile

import pytest

from jetrun.remote.tarball import excluder, fetch, leads_out

PATHS = [
    "a",
    "a.tmp",
    "d/a.tmp",
    "d/e/a",
    "foo/bar",
    "x/foo/bar",
    "foo/barn",
    "[x]",
    "x",
    "é.tmp",
    "d e/f",
    "build/x",
    "d/build/x",
    "b*",
]
PATTERNS = [
    "*.tmp",
    "/a",
    "a",
    "foo/bar",
    "/foo/bar",
    "d/",
    "d/**",
    "**/a",
    "**a",
    "d/*/a",
    "build/",
    "[!x]",
    "[[]x]",
    "\\[x\\]",
    "b\\*",
    "?",
    "foo/***",
    "/d/build",
]


@pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_excludes_are_those_of_rsync(tmp_path, pattern):
    source = tmp_path / "in"
    for path in PATHS:
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        if not (source / path).exists():
            (source / path).touch()
    subprocess.run(["rsync", "-a", f"--exclude={pattern}", f"{source}/", tmp_path / "out"], check=True)
    excluded = excluder([pattern])
    kept = set()
    for folder, folders, files in os.walk(source):
        below = os.path.relpath(folder, source)
        prefix = "" if below == "." else f"{below}/"
        folders[:] = [name for name in folders if not excluded(prefix + name, is_folder=True)]
        kept |= {prefix + name for name in folders}
        kept |= {prefix + name for name in files if not excluded(prefix + name, is_folder=False)}
    theirs = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*")}
    assert kept == theirs


@pytest.mark.parametrize(
    ("link", "target", "out"),
    [
        ("l", "x", False),
        ("l", "../x", True),
        ("d/l", "../x", False),
        ("d/l", "../../x", True),
        ("d/l", "/x", True),
        ("l", "a/../..", True),
        ("l", "", True),
        ("d/e/l", "../../x/../y", False),
    ],
)
def test_links_that_lead_out(link, target, out):
    assert leads_out(link, target) is out


def _archive(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, value in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode = 0o644
            if kind == tarfile.REGTYPE:
                info.size = len(value)
                archive.addfile(info, io.BytesIO(value))
            else:
                info.linkname = value
                archive.addfile(info)
    return buffer.getvalue()


def _fetched(tmp_path, data):
    """What ``fetch`` makes of an archive; a cat stands for ssh."""
    (tmp_path / "stream").write_bytes(b"Welcome\n@jetrun-answer@\n" + data)
    into = tmp_path / "into"
    into.mkdir()
    return fetch({"ssh": ["cat"], "stdin": str(tmp_path / "stream"), "into": str(into)}), into


def test_archive_of_a_hostile_instance_stays_inside(tmp_path):
    """Absolute names, names with .., links out, and files through such links."""
    code, into = _fetched(
        tmp_path,
        _archive(
            ("../evil", tarfile.REGTYPE, b"x"),
            (str(tmp_path / "absolute"), tarfile.REGTYPE, b"x"),
            ("out", tarfile.SYMTYPE, ".."),
            ("out/evil", tarfile.REGTYPE, b"x"),
            ("hard", tarfile.LNKTYPE, "../stream"),
            ("pipe", tarfile.FIFOTYPE, ""),
            ("fine", tarfile.REGTYPE, b"fine"),
        ),
    )
    assert code == 0
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "absolute").exists()
    assert (into / "fine").read_bytes() == b"fine"
    assert not (into / "pipe").exists()
    assert not (into / "hard").exists()


def test_archive_through_a_link_that_was_here_before_stays_inside(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    data = _archive(("way/x", tarfile.REGTYPE, b"x"))
    (tmp_path / "stream").write_bytes(b"@jetrun-answer@\n" + data)
    (tmp_path / "into").mkdir()
    (tmp_path / "into/way").symlink_to(tmp_path / "elsewhere")
    fetch({"ssh": ["cat"], "stdin": str(tmp_path / "stream"), "into": str(tmp_path / "into")})
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_archive_that_is_cut_off_is_a_failure(tmp_path):
    code, _ = _fetched(tmp_path, _archive(("fine", tarfile.REGTYPE, os.urandom(100_000)))[:50_000])
    assert code != 0
