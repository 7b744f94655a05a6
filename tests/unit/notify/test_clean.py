"""Other people's text is made fit to show."""

from __future__ import annotations

import unicodedata

import pytest
from documents import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from jetrun.notify.clean import cells, cut, file_name, one_line, tail_lines

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT, st.integers(2, 300))
def test_one_line_holds_no_hidden_character_and_keeps_its_bound(text: str, most: int) -> None:
    shown = one_line(text, most=most)
    assert len(shown) <= most
    assert not {unicodedata.category(c) for c in shown if c not in "\u200c\u200d"} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("safe\u202egnp.exe", "safe\\u202egnp.exe"),
        ("caf\udce9", "caf\\xe9"),
        ("Größe 温度 👩‍🔬", "Größe 温度 👩‍🔬"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_one_line_escapes_what_would_not_be_seen_and_nothing_else(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize(
    ("log", "lines"),
    [
        ("\x1b[1;32mok\x1b[0m done\n", ["ok done"]),
        ("10%\r50%\r100%\n", ["100%"]),
        ("windows\r\nlines\r\n", ["windows", "lines"]),
        ("\x1b]0;a title\x07text", ["text"]),
        ("\x1b]8;;http://example.org\x1b\\link\x1b]8;;\x1b\\", ["link"]),
        ("\x1b(Bplain\x1b=", ["plain"]),
        ("a\tb", ["a   b"]),
        ("\x1b]0;never ends\nnext line", ["next line"]),
        ("bell\x07", ["bell\\x07"]),
        ("\n\n\nonly this\n\n", ["only this"]),
        ("", []),
    ],
)
def test_the_tail_of_a_log_reads_as_on_a_terminal(log: str, lines: list[str]) -> None:
    assert tail_lines(log, lines=5) == lines


def test_the_tail_keeps_the_last_lines() -> None:
    assert tail_lines("".join(f"{n}\n" for n in range(100)), lines=3) == ["97", "98", "99"]


@given(ANY_TEXT)
def test_the_tail_of_any_log_is_bounded_and_visible(log: str) -> None:
    lines = tail_lines(log, lines=4, most=50)
    assert len(lines) <= 4
    assert all(len(line) <= 50 and "\x1b" not in line and "\n" not in line for line in lines)


@given(ANY_TEXT, st.integers(1, 40))
def test_cut_never_exceeds_the_width(text: str, width: int) -> None:
    assert cells(cut(text, width)) <= width


def test_wide_characters_fill_two_columns() -> None:
    assert cells("温度 ok") == 7
    assert cells("e\u0301") == 1


@given(ANY_TEXT)
def test_a_file_name_is_one_plain_component(text: str) -> None:
    name = file_name(text)
    assert name
    assert name not in {".", ".."}
    assert not set(name) & set('/\\\r\n\x00":<>|?*')
    assert len(name) <= 100
    name.encode("utf-8")


def test_a_file_name_keeps_its_ending_when_it_is_cut() -> None:
    assert file_name("x" * 300 + ".png").endswith("x.png")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_stay_recognisable(text: str) -> None:
    letters = [c for c in text if c.isalnum() and c.isascii()]
    shown = one_line(text, most=400)
    assert all(c in shown for c in letters)
