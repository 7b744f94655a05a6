"""Picks the files that go with a mail: matches of the job's patterns below its output folder, small ones only.

The outputs came from the instance, so a name may be anything and a link may point anywhere: what lies outside the
output folder once all links are followed is never sent.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from jetrun.notify.measures import size
from jetrun.notify.outgoing import MAX_ATTACHED_BYTES, Attachment, InlineImage

MAX_FILES = 20
"""In one mail: more are not looked at one by one."""

_MAX_MATCHES = 5000
"""Looked at: a pattern like ``**/*`` over a million files must not hold up the end of a run."""

_PICTURES = ((b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"))
"""First bytes of what every mail program shows. An SVG can carry scripts and most programs refuse it: attached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """What goes with the mail, and a sentence about each file that does not."""

    images: tuple[InlineImage, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    left_out: tuple[str, ...] = ()


def pick(folder: Path, patterns: Sequence[str]) -> Picked:
    """The files below *folder* that match *patterns*, in the patterns' order, until the limits are reached.

    Effects: reads the folder and the first bytes of each picture. Never raises for what it finds there.
    """
    images: list[InlineImage] = []
    attachments: list[Attachment] = []
    left_out: list[str] = []
    left_bytes = MAX_ATTACHED_BYTES
    unnamed = 0
    for path, name in _matches(folder, patterns):
        size_bytes, why = _measure(path)
        if not why and size_bytes > left_bytes:
            why = size(size_bytes)
        if not why and len(images) + len(attachments) >= MAX_FILES:
            why = f"more than {MAX_FILES} files"
        if why:
            unnamed += len(left_out) >= MAX_FILES
            left_out += [f"{name} ({why}): {path}"] if len(left_out) < MAX_FILES else []
            continue
        left_bytes -= size_bytes
        if _is_picture(path):
            images.append(InlineImage(cid=f"picture-{len(images) + 1}@jetrun", path=str(path), name=name))
        else:
            attachments.append(Attachment(path=str(path), name=name))
    more = [f"and {unnamed} more files below {folder}"] if unnamed else []
    return Picked(images=tuple(images), attachments=tuple(attachments), left_out=(*left_out, *more))


def _matches(folder: Path, patterns: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """The matching files by their real paths, each once, with their names below *folder*."""
    root = Path(os.path.realpath(folder))
    seen: set[Path] = set()
    for pattern in patterns:
        for match in _glob(root, pattern):
            real = Path(os.path.realpath(match))
            if real in seen or not real.is_relative_to(root) or not real.is_file():
                continue
            seen.add(real)
            yield real, str(match.relative_to(root))


def _glob(root: Path, pattern: str) -> list[Path]:
    """What a pattern matches, sorted; nothing for a pattern that is none, and a folder means what is in it."""
    try:
        found = sorted(islice(root.glob(pattern.strip()), _MAX_MATCHES))
    except (OSError, ValueError, NotImplementedError, IndexError):
        return []
    files = [path for path in found if ".." not in path.parts]
    return [one for path in files for one in (_listed(path) if path.is_dir() else [path])]


def _listed(folder: Path) -> list[Path]:
    """The files directly in *folder*, sorted."""
    try:
        return sorted(islice((path for path in folder.iterdir() if not path.is_dir()), _MAX_MATCHES))
    except OSError:
        return []


def _measure(path: Path) -> tuple[int, str]:
    """The file's size, and why it cannot be sent where it cannot."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        return 0, getattr(error, "strerror", None) or "cannot be read"
    if not stat.S_ISREG(status.st_mode):
        return 0, "no regular file"
    return status.st_size, "" if os.access(path, os.R_OK) else "cannot be read"


def _is_picture(path: Path) -> bool:
    """Whether every mail program shows it: the content decides, and the name must not say otherwise."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return False
    ending = path.suffix.lower().replace(".jpeg", ".jpg")
    return any(head.startswith(magic) and ending == usual for magic, usual in _PICTURES)
