"""Unit files as values: what systemd reads in them, as far as an instance of the embedded cloud knows it. Pure.

Source: systemd.syntax(7), systemd.service(5), systemd.timer(5), systemd.time(7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)")
_UNITS = {
    1e-6: "us usec", 1e-3: "ms msec", 1.0: "s sec second seconds", 60.0: "m min minute minutes",
    3600.0: "h hr hour hours", 86400.0: "d day days", 604800.0: "w week weeks",
}  # fmt: skip
_SECONDS = {name: seconds for seconds, names in _UNITS.items() for name in names.split()} | {"": 1.0}
_CALENDAR = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?(?: UTC)?|@(\d+)")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "s": " "}


class BadUnit(ValueError):  # noqa: N818 - says what it is
    """A unit that cannot be loaded: the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit file, read.

    Attributes:
        sections: section -> key -> values, in order; an empty assignment has cleared those before it.
    """

    name: str
    text: str
    sections: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def all(self, section: str, key: str) -> Sequence[str]:
        """All values of a key, oldest first; may be empty."""
        return self.sections.get(section, {}).get(key, [])

    def last(self, section: str, key: str, default: str = "") -> str:
        """The value that counts."""
        values = self.all(section, key)
        return values[-1] if values else default

    def is_yes(self, section: str, key: str) -> bool:
        """A boolean key; absent is no."""
        return self.last(section, key).lower() in {"1", "yes", "y", "true", "t", "on"}

    @property
    def is_oneshot(self) -> bool:
        """Whether a start waits for the end."""
        return self.last("Service", "Type", "simple") == "oneshot"

    @property
    def wanted_by(self) -> list[str]:
        """The targets that pull it in once it is enabled."""
        keys = ("WantedBy", "RequiredBy")
        return [target for key in keys for value in self.all("Install", key) for target in value.split()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One program of a service. may_fail: its exit code does not count (``-``)."""

    argv: Sequence[str]
    may_fail: bool


def parse(name: str, text: str) -> Unit:
    """Read a unit file; lines that mean nothing are passed over, as systemd does with a warning."""
    sections: dict[str, dict[str, list[str]]] = {}
    current = ""
    for line in _logical_lines(text):
        if line.startswith("[") and line.endswith("]"):
            current = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            values = sections.setdefault(current, {}).setdefault(key.strip(), [])
            if value.strip():
                values.append(value.strip())
            else:
                values.clear()
    return Unit(name=name, text=text, sections=sections)


def _logical_lines(text: str) -> list[str]:
    """Lines without comments, joined where a backslash ends one."""
    lines: list[str] = []
    joining = False
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not joining):
            continue
        goes_on = line.endswith("\\")
        part = line[:-1].rstrip() if goes_on else line
        if joining:
            lines[-1] += " " + part
        else:
            lines.append(part)
        joining = goes_on
    return lines


def commands(unit: Unit, environment: Mapping[str, str], key: str = "ExecStart") -> list[Command]:
    """The programs of a service with its variables put in.

    Raises:
        BadUnit: a line that cannot be split.
    """
    found = []
    for line in unit.all("Service", key):
        bare = line.lstrip("-@:+!")
        words = [expanded for word in split(bare) for expanded in _expand(word, unit.name, environment)]
        if words:
            found.append(Command(argv=words, may_fail="-" in line[: len(line) - len(bare)]))
    return found


def environment(unit: Unit) -> dict[str, str]:
    """What ``Environment=`` sets."""
    pairs = (word.partition("=") for line in unit.all("Service", "Environment") for word in split(line))
    return {key: value.replace("%%", "%") for key, _, value in pairs}


def split(line: str) -> list[str]:
    """Words of a command line with systemd's quoting.

    Raises:
        BadUnit: a quote is not closed.
    """
    words: list[str] = []
    word: str | None = None
    inside = ""
    letters = iter(line)
    for letter in letters:
        if letter == "\\":
            following = next(letters, "\\")
            word = (word or "") + _ESCAPES.get(following, following)
        elif inside:
            inside, word = ("", word) if letter == inside else (inside, (word or "") + letter)
        elif letter in "\"'":
            inside, word = letter, word or ""
        elif letter.isspace():
            words += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + letter
    if inside:
        raise BadUnit(f"{line!r}: a quote is not closed")
    return words + ([] if word is None else [word])


def quote(argv: Sequence[str]) -> str:
    """An argv as a line of ExecStart that :func:`commands` reads back unchanged."""
    table = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "%": "%%", "$": "$$"}
    return " ".join('"' + "".join(table.get(letter, letter) for letter in word) + '"' for word in argv)


def _expand(word: str, name: str, environment: Mapping[str, str]) -> list[str]:
    """A word with its variables and specifiers; ``$NAME`` alone becomes as many words as it has."""
    alone = re.fullmatch(r"\$([A-Za-z_]\w*)", word)
    if alone:
        return environment.get(alone[1], "").split()
    specifiers = {"%%": "%", "%n": name, "%N": name.rpartition(".")[0], "%p": name.rpartition(".")[0]}

    def put(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return environment.get(found[1], "") if found[1] else specifiers.get(found[0], found[0])

    return [re.sub(r"\$\$|\$\{([A-Za-z_]\w*)\}|%.", put, word)]


def span(text: str) -> float:
    """Seconds of a time span such as ``1min 30s``.

    Raises:
        BadUnit: it is none.
    """
    total, at = 0.0, 0
    while at < len(text.rstrip()):
        found = _SPAN.match(text, at)
        if found is None or found[2] not in _SECONDS:
            raise BadUnit(f"Failed to parse time span: {text}")
        total += float(found[1]) * _SECONDS[found[2]]
        at = found.end()
    if not text.strip():
        raise BadUnit("Failed to parse time span: it is empty")
    return total


def calendar(text: str) -> datetime:
    """An absolute UTC instant, ``2026-11-20 21:00:00 UTC`` or ``@1795208400``; of all calendar forms only these.

    Raises:
        BadUnit: another form, or no such day.
    """
    found = _CALENDAR.fullmatch(text.strip())
    if found is None:
        raise BadUnit(f"Failed to parse calendar specification: {text} (only an absolute UTC instant is known here)")
    if found[3]:
        return datetime.fromtimestamp(int(found[3]), UTC)
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}").replace(tzinfo=UTC)
    except ValueError as error:
        raise BadUnit(f"Failed to parse calendar specification: {text}") from error
