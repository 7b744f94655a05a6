"""Says on which line of a TOML text each key stands, for messages. Pure.

``tomllib`` has read the text already and gives no positions; so this follows brackets, strings and comments only, and a
key that it does not find (inside an inline table) is told by the line of the table around it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_KEY = re.compile(rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")
_HEADER = re.compile(rf"\s*\[\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*\]\s*(?:#.*)?$")
_TOKEN = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\])*"|\'[^\']*\'|#|[\[{\]}]')
_ENDS = {'"""': re.compile(r'(?:\\.|[^\\])*?"{3}'), "'''": re.compile(r".*?'{3}")}


def key_lines(text: str) -> dict[str, int]:
    """The line, counted from 1, of every key and every table of *text*, by its path such as ``instance.on``."""
    found: dict[str, int] = {}
    table, depth, inside = "", 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        rest = line
        if not inside and depth == 0:
            if header := _HEADER.match(line):
                table = _path(header[1])
                found.setdefault(table, number)
                continue
            if key := _KEY.match(line):
                found.setdefault(f"{table}.{_path(key[1])}" if table else _path(key[1]), number)
                rest = line[key.end() :]
        depth, inside = _follow(rest, depth, inside)
    return found


def teller(name: str, lines: Mapping[str, int]) -> Callable[[str], str]:
    """Where a key was given: ``job.toml:7``; of a key that is not there, just the file."""

    def where(path: str) -> str:
        wanted = path
        while wanted:
            if wanted in lines:
                return f"{name}:{lines[wanted]}"
            wanted = wanted.rpartition(".")[0]
        return name

    return where


def _path(spelled: str) -> str:
    """A dotted key without its quotes and spaces."""
    return ".".join(part.strip("\"'") for part in re.findall(_NAME, spelled))


def _follow(rest: str, depth: int, inside: str) -> tuple[int, str]:
    """The depth of brackets and the open multi-line string (its quotes, or empty) after *rest*."""
    at = 0
    while at <= len(rest):
        if inside:
            end = _ENDS[inside].match(rest, at)
            if end is None:
                return depth, inside
            at, inside = end.end(), ""
        token = _TOKEN.search(rest, at)
        if token is None or token[0] == "#":
            return depth, ""
        at = token.end()
        match token[0]:
            case '"""' | "'''":
                inside = token[0]
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth -= 1
            case _:
                pass
    return depth, inside
