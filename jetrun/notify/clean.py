"""Makes text from elsewhere fit to show: no control sequence, no hidden character, no endless line. Pure.

Job names, file names, logs and servers' answers are other people's text. A terminal would obey what is in them, a mail
header would break on it, and a bidirectional override would let a name read as another one.
"""

from __future__ import annotations

import re
import unicodedata

_SEQUENCES = re.compile(
    r"\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC: window titles, links; one that never ends takes its line at most
    r"|\x1b[PX^_][^\x1b\n]*(?:\x1b\\)?"  # DCS, SOS, PM, APC
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movements
    r"|\x1b[ -/]*[0-~]"  # the short ones
)
_JOINERS = frozenset("\u200c\u200d")  # hold Persian words and emoji together; they hide nothing
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ELLIPSIS = "…"


def one_line(text: str, *, most: int = 200) -> str:
    r"""*text* as one visible line of at most *most* characters; a newline shows as ``\n``, other hidden ones likewise."""
    if len(text) > most:
        text = text[: most - 1] + _ELLIPSIS
    shown = "".join(_shown(character) for character in text)
    return shown if len(shown) <= most else shown[: most - 1] + _ELLIPSIS


def tail_lines(text: str, *, lines: int, most: int = 400) -> list[str]:
    """The last *lines* lines of a program's output, without colours and cursor movements, blank ends removed.

    Of a line that a progress bar wrote over and over, the last state is kept, as a terminal would show it.
    """
    # A bound before the regular expressions: a log tail is small, but whoever calls may hand in more.
    recent = text[-(lines * most * 4) :]
    shown = []
    for line in _SEQUENCES.sub("", recent).rstrip().split("\n")[-lines:]:
        states = [state for state in line.split("\r") if state.strip()]
        shown.append(one_line(states[-1].expandtabs(4).rstrip() if states else "", most=most))
    while shown and not shown[0].strip():
        shown.pop(0)
    return shown


def cells(text: str) -> int:
    """How many columns of a terminal *text* fills: East Asian wide characters fill two, combining ones none."""
    return sum(_cells(character) for character in text)


def cut(text: str, width: int) -> str:
    """*text*, shortened to *width* columns where it is wider."""
    if cells(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += _cells(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + _ELLIPSIS


def file_name(text: str, *, most: int = 100) -> str:
    """*text* as the name of an attachment: one path component, no hidden character, the ending kept when it is cut."""
    name = "".join(
        "_" if character in '/\\:"<>|?*' or _is_hidden(character) else character for character in text
    ).strip(" .")
    if len(name) > most:
        stem, dot, ending = name.rpartition(".")
        keep = dot + ending if stem and len(ending) <= 10 else ""
        name = name[: most - len(keep)] + keep
    return name or "file"


def _shown(character: str) -> str:
    """The character, or an escape for one that would not be seen."""
    if not _is_hidden(character):
        return character
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if named is not None:
        return named
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _is_hidden(character: str) -> bool:
    """Whether the character moves, hides or reorders others instead of showing itself."""
    return unicodedata.category(character) in _HIDDEN and character not in _JOINERS


def _cells(character: str) -> int:
    """The columns of one character."""
    if unicodedata.combining(character) or character in _JOINERS or character == "\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
