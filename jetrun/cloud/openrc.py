"""An openrc file as Horizon writes it, read and never run: its variables, and every line that a shell would take otherwise. Pure.

What the file asks of a shell that is not a plain assignment (``if``, a function, a command's output) is refused with its line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|#0?39|#x27);", re.IGNORECASE)
_EMPTY_TEST = re.compile(r"""if \[ -z "?\$\{?(\w+)\}?"? \]; then unset (\w+); fi$""")
_PROMPT = re.compile(r"read (?:-\w+ )*(?:-p ('[^']*'|\"[^\"]*\") )?(?:-\w+ )*(\w+)$")
_REPLACED = "~{}!*?["
_SMART = "“”„‟‘’‚‛«»"  # noqa: RUF001 - these very signs
_CUTS = {"&": "runs what is before it in the background", "|": "begins another command", "<": "reads a file",
         ">": "writes a file", "(": "begins a subshell", ")": "ends a subshell", "`": "runs a command"}  # fmt: skip


class OpenrcError(ValueError):
    """A line that cannot be taken as it stands.

    Attributes:
        line: its number, from 1. why: without any value of the file. next: what to write instead.
    """

    def __init__(self, line: int, why: str, next: str) -> None:  # noqa: A002 - as in every error
        super().__init__(why)
        self.line, self.why, self.next = line, why, next


@dataclass(frozen=True, slots=True, kw_only=True)
class Openrc:
    """What an openrc says.

    Attributes:
        values: OS_* variables. lines: where each was set, from 1. asked: variables that the file asks a person for.
        warnings: sentences, without values.
    """

    values: Mapping[str, str]
    lines: Mapping[str, int]
    asked: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


@dataclass
class _Reading:
    """How far the reading is."""

    values: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    exported: set[str] = field(default_factory=set)

    def unset(self, name: str) -> None:
        self.values.pop(name, None)
        self.lines.pop(name, None)
        self.asked.discard(name)
        self.exported.discard(name)

    def set(self, name: str, value: str, line: int, *, asked: bool, exported: bool = False) -> None:
        exported = exported or name in self.exported
        self.unset(name)
        self.exported |= {name} if exported else set()
        self.values[name] = value
        self.lines[name] = line
        if asked:
            self.asked.add(name)


def parse(text: str) -> Openrc:
    """The variables of an openrc's *text*.

    Raises:
        OpenrcError: a line that a shell would take otherwise than it looks, or that is none of an openrc.
    """
    warnings = []
    if text.startswith("\ufeff"):
        text = text.removeprefix("\ufeff")
        warnings.append("begins with a byte order mark, which a shell takes for a command")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        warnings.append("has Windows line ends; jetrun reads it all the same, a shell would not")
    reading = _Reading()
    for number, line in enumerate(text.split("\n"), 1):
        _read(line.strip(" \t"), number, reading)
    kept = {
        name: reading.values[name] for name in reading.values if name.startswith("OS_") and name in reading.exported
    }
    asked = frozenset(name for name in reading.asked if name in kept)
    lines = {name: reading.lines[name] for name in kept}
    _check(kept, lines, asked)
    return Openrc(values=kept, lines=lines, asked=asked, warnings=tuple(warnings))


def _read(line: str, number: int, reading: _Reading) -> None:
    """One line."""
    if not line or line.startswith(("#", "echo ", "printf ", "set ")):
        return
    empty, prompt = _EMPTY_TEST.fullmatch(line), _PROMPT.fullmatch(line)
    if empty is not None:
        if not reading.values.get(empty[1]) and empty[1] not in reading.asked:
            reading.unset(empty[2])
        return
    if prompt is not None:
        reading.set(prompt[2], "", number, asked=True)
        return
    if line == "unset ${!OS_*}":
        for name in [name for name in reading.values if name.startswith("OS_")]:
            reading.unset(name)
        return
    for words in _statements(line, number, reading):
        _obey(words, number, reading)


@dataclass
class _Word:
    """One word of a line. ``asked``: it holds what a person was asked for."""

    text: str = ""
    asked: bool = False
    quoted: bool = False


def _obey(words: list[_Word], number: int, reading: _Reading) -> None:
    """One statement: assignments, ``export`` of them, ``unset``."""
    verb = words[0].text
    if verb == "unset":
        for word in words[1:]:
            if not word.text.startswith("-"):
                reading.unset(word.text)
        return
    exporting = verb in {"export", "declare", "typeset"}
    rest = words[1:] if exporting else words
    name = ""
    for word in rest:
        before, equals, value = word.text.partition("=")
        if not equals and exporting and _NAME.fullmatch(before) and (not name or before in reading.values):
            reading.exported.add(before)
            continue
        if not equals or not _NAME.fullmatch(before):
            if name:
                why = f"{name}: its value ends at a space, because it is not in quotes"
                raise OpenrcError(number, why, f"{name}='...'   # the whole value between single quotes")
            why = "is neither an assignment, export, unset nor a question for a password; jetrun reads an openrc and never runs it"
            raise OpenrcError(number, why, "remove the line, or source the file yourself and leave --openrc away")
        name = before
        if value[:1] in tuple(_SMART) or value[-1:] in tuple(_SMART):
            why = f"{name}: typographic quotes, which a shell takes as part of the value"
            raise OpenrcError(number, why, f"{name}='...'   # straight quotes")
        reading.set(name, value, number, asked=word.asked, exported=exporting)


def _statements(line: str, number: int, reading: _Reading) -> Iterator[list[_Word]]:
    """The statements of a line, their words with quotes and variables resolved, as a shell does it.

    One after the other, because each may use what the one before it has set.
    """
    words: list[_Word] = []
    word: _Word | None = None
    at, quote = 0, ""
    while at < len(line):
        sign = line[at]
        at += 1
        if quote:
            if sign == quote:
                quote = ""
            elif quote == '"' and sign == "\\" and line[at : at + 1] in {'"', "\\", "$", "`"}:
                word = _add(word, line[at])
                at += 1
            elif quote == '"' and sign in {"$", "`"}:
                word, at = _expand(word, line, at, number, reading, sign)
            else:
                word = _add(word, sign)
        elif sign in {"'", '"'}:
            word = word or _Word()
            word.quoted, quote = True, sign
        elif sign in {" ", "\t"}:
            words += [word] if word else []
            word = None
        elif sign == "#" and word is None:
            _refuse_cut_secret(words, number)
            break
        elif sign == ";":
            words += [word] if word else []
            if words:
                yield words
            words, word = [], None
        elif sign == "\\" and at < len(line):
            word = _add(word, line[at])
            at += 1
        elif sign == "$":
            word, at = _expand(word, line, at, number, reading, sign)
        elif sign in _CUTS:
            raise _cut(word, words, sign, line[at - 1 :], number)
        elif sign in _REPLACED or (sign == "\\" and at == len(line)):
            name = _name_of(word, words)
            why = f"{name}: the value holds {sign} outside quotes, which a shell may replace"
            raise OpenrcError(number, why, f"{name}='...'   # the whole value between single quotes")
        else:
            word = _add(word, sign)
    if quote:
        raise OpenrcError(number, f"a quote ({quote}) is opened and not closed", f"end the value with {quote}")
    words += [word] if word else []
    if words:
        yield words


def _add(word: _Word | None, sign: str) -> _Word:
    word = word or _Word()
    word.text += sign
    return word


def _name_of(word: _Word | None, words: list[_Word]) -> str:
    """The variable that is being set."""
    text = next((one.text for one in (word, *reversed(words)) if one is not None and "=" in one.text), "")
    name = text.partition("=")[0]
    return name if _NAME.fullmatch(name) else "the line"


def _refuse_cut_secret(words: list[_Word], number: int) -> None:
    """A secret with a space and a # in it, and no quotes: a shell takes the rest for a comment."""
    name = _name_of(None, words)
    if name.endswith(("_SECRET", "_PASSWORD")) and not words[-1].quoted:
        why = f"{name}: its value ends before the #, because it is not in quotes"
        raise OpenrcError(number, why, f"{name}='...'   # the whole value between single quotes")


def _cut(word: _Word | None, words: list[_Word], sign: str, rest: str, number: int) -> OpenrcError:
    name = _name_of(word, words)
    if _ENTITY.match(rest):
        return _escaped(name, number)
    why = f"{name}: the value holds {sign} outside quotes, which {_CUTS[sign]} in a shell"
    return OpenrcError(number, why, f"{name}='...'   # the whole value between single quotes")


def _expand(word: _Word | None, line: str, at: int, number: int, reading: _Reading, sign: str) -> tuple[_Word, int]:
    """A variable's value in the place of its name."""
    word = word or _Word()
    found = re.compile(r"\{(\w+)\}|(\w+)").match(line, at) if sign == "$" else None
    name = (found[1] or found[2]) if found is not None else ""
    if found is not None and name in reading.values:
        word.text += reading.values[name]
        word.asked = word.asked or name in reading.asked
        return word, found.end()
    target = _name_of(word, [])
    what = "a backquote" if sign == "`" else "a dollar sign"
    why = f"{target}: the value holds {what}, and a shell would put something else in its place"
    raise OpenrcError(number, why, f"{target}='...'   # the whole value between single quotes")


def _escaped(name: str, line: int) -> OpenrcError:
    return OpenrcError(
        line,
        f"{name}: holds an HTML escape (such as &amp; for &), left there by the web page that wrote the file",
        f"{name}='...'   # with the sign itself: & for &amp;, < for &lt;, > for &gt;, \" for &quot;",
    )


def _check(values: Mapping[str, str], lines: Mapping[str, int], asked: frozenset[str]) -> None:
    """What no cloud can take.

    Raises:
        OpenrcError: the first such line.
    """
    for name, value in sorted(values.items(), key=lambda item: lines[item[0]]):
        if _ENTITY.search(value):
            raise _escaped(name, lines[name])
    url = values.get("OS_AUTH_URL", "")
    if not url:
        raise OpenrcError(
            1, "sets no OS_AUTH_URL: it is no openrc", "export OS_AUTH_URL=https://cloud.example.org:5000/v3"
        )
    if not re.match(r"https?://[^/\s]+", url):
        raise OpenrcError(
            lines["OS_AUTH_URL"],
            "OS_AUTH_URL is no web address",
            "export OS_AUTH_URL=https://cloud.example.org:5000/v3",
        )
    kind = values.get("OS_AUTH_TYPE", "password").removeprefix("v3")
    if kind == "applicationcredential":
        stray = sorted((lines[name], name) for name in values if name in SCOPE_VARIABLES and values[name])
        if stray:
            line, name = stray[0]
            why = f"{name}: an application credential has its own project, and is refused (401) with another scope beside it"
            raise OpenrcError(line, why, f"remove line {line}")
        name = "OS_APPLICATION_CREDENTIAL_SECRET"
        if not values.get(name) and name not in asked:
            raise OpenrcError(lines.get(name, 1), f"{name} is missing or empty", f"export {name}='...'")


SCOPE_VARIABLES = {
    "OS_PROJECT_ID", "OS_PROJECT_NAME", "OS_TENANT_ID", "OS_TENANT_NAME", "OS_DOMAIN_ID", "OS_DOMAIN_NAME", "OS_SYSTEM_SCOPE",
}  # fmt: skip
"""Variables that ask for a scope."""
