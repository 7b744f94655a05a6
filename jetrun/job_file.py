"""Reads job files, and lays the command line over the job file over the user's defaults.

Paths of a job file are relative to its folder, those of a command line to the current one. What the paths lead to is asked
by ``job_disk.py``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jetrun.errors import UsageError
from jetrun.job import Job, from_mapping
from jetrun.job_disk import check_files
from jetrun.job_fields import Origin
from jetrun.job_rules import LAUNCH_ONLY
from jetrun.toml_lines import key_lines, teller

_AT_LINE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
LARGEST_BYTES = 1 << 20
"""A job file is written by hand; a file of more than 1 MiB is something else given by mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one place says about a job.

    Attributes:
        data: as TOML gives it; not validated yet. where: says where a key was given, by its path.
        lacks: a key that nobody gives is missing here, in the job file, rather than on the command line.
    """

    data: Mapping[str, Any]
    where: Origin
    lacks: bool = False


def load(
    path: Path | None,
    *,
    command_line: Mapping[str, Any] | None = None,
    flags: Mapping[str, str] | None = None,
    defaults: Layer | None = None,
    folder: Path,
) -> Job:
    """The job of a job file, a command line, or both, its files looked at; paths in it are absolute.

    Args:
        path: of the job file, None where there is none.
        command_line: what flags said, in the shape of a job file. flags: the flag of each key's path, for messages.
        defaults: the user's own. folder: the current one.

    Raises:
        UsageError: the first mistake; no instance was touched.
    """
    layers = [defaults] if defaults is not None else []
    base = folder
    if path is not None:
        base = (folder / path).parent
        layers.append(read_layer(folder / path, shown=str(path)))
    if command_line is not None:
        layers.append(command_line_layer(command_line, flags=flags or {}, folder=folder))
    merged = merge(*layers)
    given = merged.data if "output_dir" in merged.data else {"output_dir": "out/{run}"} | dict(merged.data)
    job = from_mapping(_anchored(given, base), origin=merged.where)
    check_files(job, origin=merged.where)
    return job


def read_layer(path: Path, *, shown: str) -> Layer:
    """A job file, not validated yet, its paths made absolute.

    Raises:
        UsageError: it cannot be read or is not TOML.
    """
    data, where = read_toml(path, shown=shown, next="jetrun init   # writes a job.toml to start from")
    return Layer(data=_anchored(data, path.parent), where=where, lacks=True)


def read_toml(path: Path, *, shown: str, next: str) -> tuple[dict[str, Any], Origin]:  # noqa: A002 - the error's own word
    """A TOML file, and where each of its keys stands.

    Args:
        shown: how the user spelled the path. next: what to do where there is no such file.

    Raises:
        UsageError: it cannot be read or is not TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(code="file-missing", what=f"{shown}: there is no such file", next=next) from None
    except OSError as error:
        raise UsageError(
            code="file-unreadable", what=f"{shown}: cannot be read: {error.strerror}", next=f"ls -ld {shown}"
        ) from error
    if len(content) > LARGEST_BYTES:
        raise UsageError(
            code="toml-invalid", what=f"{shown}: more than 1 MiB, not a file written by hand", next=f"head {shown}"
        )
    try:
        text = content.decode()
        data = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(
            code="toml-invalid", what=f"{shown}:{line}: not UTF-8", next=f"iconv -t utf-8 {shown}"
        ) from error
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = int(found[1]) if found and found[1] else len(text.splitlines())
        written = (text.splitlines() or [""])[line - 1].strip()[:80] if line else ""
        raise UsageError(
            code="toml-invalid",
            what=f"{shown}:{line}: {_AT_LINE.sub('', str(error))}: {written}",
            next=f'correct line {line} of {shown}; a text stands in quotes: name = "train"',
        ) from error
    return data, teller(shown, key_lines(text))


def command_line_layer(data: Mapping[str, Any], *, flags: Mapping[str, str], folder: Path) -> Layer:
    """What the flags of a command line said, its paths made absolute."""

    def where(path: str) -> str:
        return flags.get(path, "command line")

    return Layer(data=_anchored(data, folder), where=where)


def merge(*layers: Layer) -> Layer:
    """The layers as one; of two that give the same key the later wins; tables are joined key by key, lists replaced.

    A later layer's choice removes the other choice of an earlier one: ``on`` removes a launch, ``script`` a command.
    """
    data: dict[str, Any] = {}
    given: dict[str, Origin] = {}
    for layer in layers:
        _drop_other_choice(data, layer.data)
        for key, value in layer.data.items():
            given[key] = layer.where
            if isinstance(value, Mapping):
                before = data.get(key)
                data[key] = {**before, **value} if isinstance(before, Mapping) else dict(value)
                given |= {f"{key}.{inner}": layer.where for inner in value}
            else:
                data[key] = value
    fallback = next((layer.where for layer in layers if layer.lacks), layers[-1].where)

    def where(path: str) -> str:
        wanted = path
        while wanted and wanted not in given:
            wanted = wanted.rpartition(".")[0]
        return given.get(wanted, fallback)(path)

    return Layer(data=data, where=where)


def schema_example() -> str:
    """The commented job file that shows every key; docs/job.toml is the same file."""
    return resources.files("jetrun").joinpath("job_example.toml").read_text(encoding="utf-8")


def _drop_other_choice(data: dict[str, Any], later: Mapping[str, Any]) -> None:
    """Remove from *data* what *later* chooses against."""
    for one, other in (("script", "command"), ("command", "script")):
        if one in later and other not in later:
            data.pop(other, None)
    before, instance = data.get("instance"), later.get("instance")
    if isinstance(before, dict) and isinstance(instance, Mapping):
        if "on" in instance:
            data["instance"] = {key: value for key, value in before.items() if key not in LAUNCH_ONLY}
        elif "image" in instance or "flavor" in instance:
            data["instance"] = {key: value for key, value in before.items() if key != "on"}


def _anchored(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """*data* with its local paths made absolute; what is not a path yet is left for the validation."""
    whole = dict(data)
    for key in ("script", "inputs", "output_dir"):
        if key in whole:
            whole[key] = absolute(whole[key], folder)
    ssh = whole.get("ssh")
    if isinstance(ssh, Mapping) and "keys" in ssh:
        whole["ssh"] = {**ssh, "keys": absolute(ssh["keys"], folder)}
    return whole


def absolute(found: Any, folder: Path) -> Any:
    """A path, or a list of paths, absolute and without ``..``; ``~/`` is the user's home. ``..`` follows links."""
    if isinstance(found, list):
        return [absolute(one, folder) for one in found]
    if not isinstance(found, str) or not found or "\0" in found:
        return found
    path = folder / (os.path.expanduser(found) if found == "~" or found.startswith("~/") else found)  # noqa: PTH111 - "~x" is a name
    return str(path.resolve() if ".." in path.parts else path.absolute())
