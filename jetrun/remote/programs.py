"""The programs that run on the instance: fixed POSIX sh, read by ``sh -s`` from its standard input.

Nothing of a run ever stands in a command line there: the command is the same few words each time, so no login shell (fish, csh)
can misread it and no process list shows a value. Values become quoted positional parameters of a shell function, payloads become
here-documents. The whole program is parsed before any of it runs, so a connection that breaks half-way starts nothing.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from functools import cache
from importlib import resources

COMMAND = "exec /bin/sh -s"
"""What is executed on the instance, as its user."""

ROOT_COMMAND = "exec /bin/sh -c 'command -v sudo >/dev/null && exec sudo -n /bin/sh -s; exec /bin/sh -s'"
"""The same as root: by ``sudo`` where there is one; without it only root itself gets further."""

MARK = b"@jetrun-answer@\n"
"""Stands before the answer: whatever a login script of the user printed is in front of it."""

_END = "@jetrun-end@"


@cache
def text(name: str) -> str:
    """The source of the guest program *name*."""
    return resources.files("jetrun.remote").joinpath("guest", f"{name}.sh").read_text(encoding="ascii")


def encode(value: str) -> bytes:
    """A name or value as the instance gets it: the bytes that this machine has for it."""
    return value.encode("utf-8", "surrogateescape")


def decode(value: bytes) -> str:
    """The reverse of :func:`encode`."""
    return value.decode("utf-8", "surrogateescape")


def build(
    names: Sequence[str],
    arguments: Sequence[str] = (),
    *,
    payload: bytes | None = None,
    supervisor: Sequence[str] = (),
) -> bytes:
    """What goes to the standard input of :data:`COMMAND`.

    Args:
        names: guest programs to put together, the one that acts last.
        arguments: its positional parameters; any bytes but NUL.
        payload: what its function ``payload`` prints; binary.
        supervisor: guest programs that its function ``supervisor`` prints.
    """
    body = "".join(text(name) for name in names)
    return assemble(body, arguments, payload=payload, supervisor=supervisor)


def assemble(
    body: str, arguments: Sequence[str] = (), *, payload: bytes | None = None, supervisor: Sequence[str] = ()
) -> bytes:
    """As :func:`build`, from the text of a program."""
    parts = []
    if payload is not None:
        lines = base64.encodebytes(payload).decode("ascii")
        parts.append(f"payload() {{\nbase64 -d <<'{_END}'\n{lines}{_END}\n}}\n")
    if supervisor:
        source = "".join(text(name) for name in supervisor)
        parts.append(f"supervisor() {{\ncat <<'{_END}'\n{source}{_END}\n}}\n")
    mark = MARK.decode().rstrip("\n")
    words = " ".join(shlex.quote(argument) for argument in arguments)
    parts.append(f'main() {{\n{body}}}\nset -- {words}\necho {mark}\nmain "$@" </dev/null\nexit\n')
    return encode("".join(parts))


def quote(value: str) -> str:
    """*value* as one word for a POSIX shell."""
    return shlex.quote(value)


def environment(values: dict[str, str]) -> bytes:
    """A file that exports *values* when a shell reads it; names are checked by the caller."""
    return b"".join(encode(f"export {name}={shlex.quote(value)}\n") for name, value in values.items())


def pairs(answer: bytes) -> dict[str, str]:
    """The ``key=value`` lines of an answer; of a repeated key the last."""
    found = {}
    for line in decode(answer).splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found[key] = value.strip()
    return found


def relative_name(name: str) -> str:
    """*name* as a clean path below a folder, without leading ``./`` and trailing ``/``.

    Raises:
        ValueError: it is absolute, empty, has a ``..`` or a NUL.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or not name:
        raise ValueError(f"{name!r} leads out")
    return "/".join(parts) or "."
