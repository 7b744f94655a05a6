"""Where a cloud's login comes from: the environment as it is, or an openrc file that takes its place."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jetrun.cloud.interface import OPENRC
from jetrun.cloud.openrc import Openrc, OpenrcError, parse
from jetrun.errors import UsageError

_FILES = ("OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE")
_asked: dict[str, str] = {}
"""What a person typed, by the file that asked: once for each process, and nowhere else."""


def typed() -> dict[str, str]:
    """What a person typed in this process, by what asked for it: for its guardian."""
    return dict(_asked)


def remember(typed: Mapping[str, str]) -> None:
    """What a person typed in an earlier process of the same run."""
    _asked.update(typed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An environment for openstacksdk's loader.

    Attributes:
        where: for messages. openrc: the cloud's name when it is a file, else empty. lines: of its variables.
        is_whole: the file holds its secret, so that another process can log in with it.
    """

    environ: Mapping[str, str] = field(repr=False)
    where: str = "the OS_* variables"
    openrc: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)
    is_whole: bool = False
    warnings: tuple[str, ...] = ()

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """The loader reads the process's own environment: it is this one meanwhile, and no child sees its secret."""
        if not self.openrc:
            yield
            return
        before = dict(os.environ)
        try:
            os.environ.clear()
            os.environ.update(self.environ)
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def named(path: str | Path) -> str:
    """The cloud's name of an openrc file."""
    return OPENRC + str(Path(path).expanduser().absolute())


def from_environment(environ: Mapping[str, str]) -> Source:
    """The environment as it is; a variable that no cloud can take is refused by its name.

    Raises:
        UsageError: an HTML escape in a variable.
    """
    for name, value in environ.items():
        if name.startswith("OS_") and any(sign in value for sign in ("&amp;", "&lt;", "&gt;", "&quot;", "&#39;")):
            raise UsageError(
                code="openrc-escaped",
                what=f"the variable {name} holds an HTML escape (such as &amp; for &), left by the web page that wrote your openrc",
                next="write the sign itself in the openrc file (& for &amp;), and source it again",
            )
    return Source(environ=environ)


def from_openrc(name: str, environ: Mapping[str, str], ask: Callable[[str], str]) -> Source:
    """The openrc file of a name that begins with ``openrc:``.

    Raises:
        UsageError: it cannot be read, a line of it cannot be taken (with its number), or nobody is there to give the password.
    """
    path = Path(name.removeprefix(OPENRC))
    try:
        said = parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            code="openrc-unreadable", what=f"{path}: cannot be read: {error.strerror}", next=f"ls -l {path}"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(code="openrc-unreadable", what=f"{path}: is no text", next=f"file {path}") from error
    except OpenrcError as error:
        raise UsageError(code="openrc-line", what=f"{path}:{error.line}: {error.why}", next=error.next) from error
    values = {**said.values, **{key: _answer(path, said, key, ask) for key in sorted(said.asked)}}
    stray = sorted(key for key in environ if key.startswith("OS_") and key not in _FILES)
    notes = [f"{path}: {warning}" for warning in said.warnings]
    if stray:
        notes.append(f"{path} is used; the environment's own {', '.join(stray)} count for nothing")
    # An entry of clouds.yaml must not be mixed in: the file stands alone.
    kept = {key: value for key, value in environ.items() if not key.startswith("OS_")}
    return Source(
        environ={**kept, **values},
        where=str(path),
        openrc=name,
        lines=said.lines,
        is_whole=not said.asked,
        warnings=tuple(notes),
    )


def _answer(path: Path, said: Openrc, key: str, ask: Callable[[str], str]) -> str:
    """What a person types for *key*; asked once."""
    place = f"{path}:{key}"
    if place not in _asked:
        who = said.values.get("OS_USERNAME") or "you"
        project = said.values.get("OS_PROJECT_NAME") or "your project"
        what = "password" if key == "OS_PASSWORD" else key
        _asked[place] = ask(f"{what} of {who} for {project} ({path.name}): ")
        if not _asked[place]:
            del _asked[place]
            raise UsageError(
                code="no-password", what=f"{path}:{said.lines[key]}: no password was typed", next="try again"
            )
    return _asked[place]


def ask_at_terminal(question: str) -> str:
    """A password, typed unseen.

    Raises:
        UsageError: nobody is there.
    """
    if not (sys.stdin is not None and sys.stdin.isatty()):
        raise UsageError(
            code="nobody-to-ask",
            what=f"a password is needed, and there is no terminal to ask at ({question.rstrip(': ')})",
            next="use an application credential: its openrc holds the secret and asks nobody "
            "(Horizon: Identity, Application Credentials)",
        )
    try:
        return getpass.getpass(question)
    except EOFError:
        return ""
