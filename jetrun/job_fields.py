"""Reads a table that a person wrote, and names every mistake by its key's path. Pure; for ``job.py`` and ``config.py``.

Each access checks one type; each error says what was found, what is expected and the line to write.
"""

from __future__ import annotations

import difflib
import re
import shlex
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence

from jetrun.errors import UsageError

Schema = Mapping[str, Mapping[str, str]]
"""Every key by section (``""`` is the top), each with a value as a person would write it."""

Origin = Callable[[str], str]
"""Where a key was given, by its path: ``job.toml:7``, ``--timeout``. Of an absent key: the file that lacks it."""

LONGEST_S = 366 * 86400.0
"""No time is longer: a lease of years is an unlimited one by another name."""

_PIECE = re.compile(r"(\d+(?:\.\d+)?)([dhms])")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_ENDLESS = frozenset({"unlimited", "none", "never", "inf", "infinite", "infinity", "forever"})


class Table:
    """One table of what was given.

    Args:
        data: as TOML gives it. path: of the section, empty for the top.

    Raises:
        UsageError: it holds a key that *schema* does not know.
    """

    def __init__(self, data: Mapping[str, object], path: str, *, schema: Schema, origin: Origin) -> None:
        self.data = data
        self._path = path
        self._schema = schema
        self._origin = origin
        for key in data:
            if key not in schema[path]:
                raise self._unknown(key)

    def __contains__(self, key: str) -> bool:
        """Whether *key* is given."""
        return key in self.data

    def section(self, key: str) -> Table:
        """The table *key*, empty where it is not given."""
        return Table(self.table(key), self.path(key), schema=self._schema, origin=self._origin)

    def table(self, key: str) -> Mapping[str, object]:
        """The table *key* with keys of the user's own, empty where it is not given."""
        found = self.data.get(key, {})
        if not isinstance(found, Mapping):
            raise self.mistyped(key, found, "a table")
        return found

    def path(self, key: str) -> str:
        """The key's path from the top."""
        return f"{self._path}.{key}" if self._path else key

    def line(self, key: str, value: str | None = None) -> str:
        """The line to write for *key*, with where it goes; where a flag gave it, that flag."""
        shown = self._schema[self._path].get(key, '"..."') if value is None else value
        flag = self._origin(self.path(key))
        if flag.startswith("--"):
            return f"{flag} {_word(shown)}".rstrip()
        return f"{key} = {shown}" + (f"   # under [{self._path}]" if self._path else "")

    def wrong(self, key: str, what: str, line: str | None = None) -> UsageError:
        """The error about *key*; *line* stands for the schema's own example."""
        path = self.path(key)
        told = self.line(key) if line is None else line
        return UsageError(code="job-invalid", what=f"{self._origin(path)}: {path}: {what}", next=told)

    def mistyped(self, key: str, found: object, expected: str) -> UsageError:
        """The error about a value of the wrong kind."""
        return self.wrong(key, f"found {shown(found)}, expected {expected}")

    def text(self, key: str) -> str | None:
        """A text, None where it is not given."""
        found = self.data.get(key)
        if found is None:
            return None
        if not isinstance(found, str):
            raise self.mistyped(key, found, "a text in quotes")
        self._check(key, found)
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; one text stands for a list of one."""
        found = self.data.get(key, ())
        many = (found,) if isinstance(found, str) else found
        if not isinstance(many, Sequence):
            raise self.mistyped(key, found, "a list of texts")
        for one in many:
            if not isinstance(one, str):
                raise self.mistyped(key, one, "a list of texts, each in quotes")
            self._check(key, one)
        return tuple(many)

    def choice(self, key: str, allowed: Sequence[str]) -> str | None:
        """One of *allowed*, None where it is not given."""
        found = self.data.get(key)
        if found is None:
            return None
        if not isinstance(found, str) or found not in allowed:
            listed = ", ".join(f'"{one}"' for one in allowed)
            near = nearest(str(found), allowed)
            raise self.wrong(key, f"found {shown(found)}, expected one of {listed}", self.line(key, f'"{near}"'))
        return found

    def boolean(self, key: str, *, default: bool) -> bool:
        """True or false."""
        found = self.data.get(key, default)
        if not isinstance(found, bool):
            raise self.mistyped(key, found, "true or false, without quotes")
        return found

    def integer(self, key: str, lowest: int, highest: int) -> int | None:
        """A whole number in a range, None where it is not given."""
        found = self.data.get(key)
        if found is None:
            return None
        if not isinstance(found, int) or isinstance(found, bool) or not lowest <= found <= highest:
            raise self.mistyped(key, found, f"a whole number from {lowest} to {highest}")
        return found

    def duration(self, key: str) -> float | None:
        """A time in seconds, more than none and a year at most; None where it is not given."""
        found = self.data.get(key)
        if found is None:
            return None
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            number = f"{abs(found):g}" if abs(found) > 0 else "6"
            raise self.wrong(
                key,
                f"found the number {found}, expected a time with its unit",
                noted(self.line(key, f'"{number}h"'), f"or {number}m, {number}s, {number}d"),
            )
        if not isinstance(found, str):
            raise self.mistyped(key, found, "a time such as 6h or 90m, in quotes")
        if found.strip().lower() in _ENDLESS:
            raise self.wrong(
                key,
                f"found {shown(found)}; a time without end is not offered: an instance that nobody ends is what jetrun is against",
                self.line(key, '"7d"'),
            )
        try:
            value_s = seconds(found)
        except ValueError:
            raise self.wrong(key, f"found {shown(found)}, expected a time such as 45s, 90m, 6h or 1d12h") from None
        if not 0 < value_s <= LONGEST_S:
            raise self.wrong(key, f"found {shown(found)}, expected more than no time and 366 days at most")
        return value_s

    def _check(self, key: str, text: str) -> None:
        """Refuse an empty text and a NUL byte, which no name can hold. A newline is legal in a name.

        Raises:
            UsageError: it is empty or holds one.
        """
        if not text:
            raise self.wrong(key, 'found "", expected a text that is not empty')
        if "\0" in text:
            raise self.wrong(key, f"found a NUL byte in {shown(text)}, expected a text without one")

    def _unknown(self, key: str) -> UsageError:
        """The error about a key that does not exist: the same name elsewhere, or the nearest name here or anywhere."""
        names = [(section, name) for section, keys in self._schema.items() for name in keys]
        same = [where for where in names if where[1] == key]
        spelled = {".".join(filter(None, where)): where for where in names}
        here = difflib.get_close_matches(key, [name for section, name in names if section == self._path], n=1)
        if same:
            section, name = same[0]
        elif here:
            section, name = self._path, here[0]
        else:
            section, name = spelled[nearest(self.path(key), spelled)]
        if not section and name in self._schema:
            return self.wrong(key, f"unknown key; did you mean {name}?", f"[{name}]")
        value = toml_text(self.data[key]) or self._schema[section][name]
        under = f"   # under [{section}]" if section else "   # at the top, before any [section]" if self._path else ""
        path = ".".join(filter(None, (section, name)))
        return self.wrong(key, f"unknown key; did you mean {path}?", f"{name} = {value}{under}")


def seconds(text: str) -> float:
    """The seconds, to a thousandth, that a duration such as ``6h``, ``1d12h`` or ``90m`` means.

    Raises:
        ValueError: it is none.
    """
    joined = text.replace(" ", "")
    pieces = _PIECE.findall(joined)
    if not joined.isascii() or not pieces or "".join(number + unit for number, unit in pieces) != joined:
        raise ValueError(f"not a duration: {text!r}")
    return round(sum(float(number) * _SECONDS[unit] for number, unit in pieces), 3)


def exact_text(value_s: float) -> str:
    """*value_s* so that ``seconds`` gives the same number back."""
    return f"{value_s:.3f}".rstrip("0").rstrip(".") + "s"


def duration_text(value_s: float) -> str:
    """*value_s* as a person writes it, rounded up: to whole minutes above an hour, to whole seconds below."""
    step = 60 if value_s >= 3600 else 1
    whole = -int(-value_s // step) * step
    parts = ((whole // 86400, "d"), (whole % 86400 // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def noted(line: str, note: str) -> str:
    """*line* with a remark that neither a shell nor TOML reads."""
    return f"{line}; {note}" if "   # " in line else f"{line}   # {note}"


def nearest(word: str, names: Collection[str]) -> str:
    """The name most like *word*; *names* is not empty."""
    found = difflib.get_close_matches(word, names, n=1, cutoff=0.0)
    return found[0] if found else next(iter(names))


def shown(value: object) -> str:
    """A value as it looks in TOML, cut to 60 characters."""
    text = toml_text(value) or ("a table" if isinstance(value, Mapping) else repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def toml_text(value: object) -> str:
    """A text, number, truth value or list of these as TOML writes it; empty for anything else."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return '"' + "".join(one if one.isprintable() else _escape(one) for one in escaped) + '"'
        case int() | float():
            return str(value)
        case list() | tuple():
            return "[" + ", ".join(toml_text(one) or "..." for one in value) + "]"
        case _:
            return ""


def _word(value: str) -> str:
    """A TOML value as a shell takes it after a flag: of a list or a table the first; nothing for a truth value."""
    try:
        found: object = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return "..."
    match found:
        case bool():
            return ""
        case list():
            found = found[0] if found else "..."
        case dict():
            found = "=".join(str(part) for part in next(iter(found.items()), ("NAME", "VALUE")))
        case _:
            pass
    return shlex.quote(str(found))


def _escape(character: str) -> str:
    """A character that cannot be printed, as TOML escapes it."""
    code = ord(character)
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character) or (
        f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )
