"""Unit files and timers as values: what systemd reads in them, and when it would fire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetrun.devcloud.instance_orders import until_s
from jetrun.devcloud.instance_timers import Marks, next_elapse_s, read
from jetrun.devcloud.instance_unit_files import BadUnit, calendar, commands, environment, parse, quote, span, split

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WORDS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from("\n\t\r")
)


@given(st.lists(WORDS, min_size=1))
def test_any_argv_is_read_back_from_its_line(argv):
    unit = parse("x.service", f"[Service]\nExecStart={quote(argv)}\n")
    (command,) = commands(unit, {"HOME": "wrong"})
    assert command.argv == argv


THING = """\
# remark
; another
[Unit]
Description = two  words\x20
[Service]
Environment=A=1 "B=x y"
Environment=C=100%%
ExecStart=/bin/lost
ExecStart=
ExecStart=-/bin/echo \\
  one \\
  $B '${A}-$A' $$A %n
nonsense
[Install]
WantedBy=a.target b.target
"""


def test_file_is_read_as_systemd_reads_it():
    unit = parse("x.service", THING)
    assert unit.last("Unit", "Description") == "two  words"
    assert environment(unit) == {"A": "1", "B": "x y", "C": "100%"}
    (command,) = commands(unit, environment(unit))
    assert command.argv == ["/bin/echo", "one", "x", "y", "1-$A", "$A", "x.service"]
    assert command.may_fail
    assert unit.wanted_by == ["a.target", "b.target"]
    assert unit.last("Service", "Type", "simple") == "simple"
    assert not unit.is_oneshot


@pytest.mark.parametrize(("line", "words"), [
    ("a  'b c' d\"e f\"g", ["a", "b c", "de fg"]), (r"a\ b \"x \\", ["a b", '"x', "\\"]), (r'"a\nb" ""', ["a\nb", ""]), ("", []),
])  # fmt: skip
def test_line_is_split_by_systemds_quoting(line, words):
    assert split(line) == words


def test_open_quote_is_an_error():
    with pytest.raises(BadUnit, match="not closed"):
        split("'a")


@pytest.mark.parametrize(("text", "seconds"), [
    ("5", 5), ("0.2", 0.2), ("1min 30s", 90), ("2h", 7200), ("250ms", 0.25), ("1d12h", 129_600), ("1 week", 604_800), ("5 min", 300),
])  # fmt: skip
def test_span_is_read(text, seconds):
    assert span(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", " ", "soon", "5 parsecs", "1min x", "-5"])
def test_what_is_no_span_is_an_error(text):
    with pytest.raises(BadUnit, match="time span"):
        span(text)


@pytest.mark.parametrize("text", ["2026-11-20 12:00:00 UTC", "2026-11-20 12:00", "@1795176000"])
def test_absolute_instant_is_read(text):
    assert calendar(text) == NOW


@pytest.mark.parametrize("text", ["hourly", "*-*-* 12:00", "2026-02-30 12:00:00 UTC", "2026-11-20 12:00:00 CET", ""])
def test_other_calendar_forms_are_refused_aloud(text):
    with pytest.raises(BadUnit, match="calendar"):
        calendar(text)


def wait_s(lines, *, now=100.0, **marks):
    """Seconds until a timer elapses; booted at 0, started at 90."""
    known = {
        "booted": 0.0,
        "started": 90.0,
        "unit_started": None,
        "unit_ended": None,
        "triggered_at": None,
        "is_initial": True,
    }
    timer = read(parse("t.timer", "[Timer]\n" + lines))
    return next_elapse_s(timer, Marks(**{**known, **marks}), now=now, now_at=NOW)


@pytest.mark.parametrize(("lines", "marks", "expected"), [
    ("OnActiveSec=30", {}, 20), ("OnBootSec=130", {}, 30), ("OnBootSec=10", {}, 0), ("OnBootSec=10", {"is_initial": False}, None),
    ("OnActiveSec=5", {"is_initial": False}, None), ("OnActiveSec=30\nOnBootSec=110", {}, 10),
    ("OnUnitActiveSec=60", {}, None), ("OnUnitActiveSec=60", {"unit_started": 70.0}, 30),
    ("OnUnitActiveSec=60", {"unit_started": 1.0}, 0),
    ("OnUnitInactiveSec=60", {"unit_started": 50.0, "unit_ended": 80.0}, 40),
    ("OnBootSec=10\nOnUnitActiveSec=60", {"unit_started": 100.0, "is_initial": False}, 60), ("", {}, None),
    ("OnCalendar=2026-11-20 12:01:00 UTC", {}, 60), ("OnCalendar=2026-11-20 11:59:00 UTC", {}, None),
    ("OnCalendar=2026-11-20 11:59:00 UTC\nPersistent=true", {"triggered_at": NOW - timedelta(hours=1)}, 0),
    ("OnCalendar=2026-11-20 11:59:00 UTC\nPersistent=true", {"triggered_at": NOW - timedelta(seconds=30)}, None),
])  # fmt: skip
def test_timer_elapses_when_systemds_would(lines, marks, expected):
    assert wait_s(lines, **marks) == expected


def test_timer_names_its_unit():
    assert read(parse("t.timer", "[Timer]\n")).unit == "t.service"
    assert read(parse("t.timer", "[Timer]\nUnit=other.service\n")).unit == "other.service"


@pytest.mark.parametrize(("text", "expected"), [
    ("now", 0), ("+0", 0), ("+2", 120), ("3", 180), ("12:30", 1800), ("11:59", 86_340), ("later", None), ("25:00", None), ("-5", None),
])  # fmt: skip
def test_time_of_a_shutdown_is_read(text, expected):
    assert until_s(text, NOW) == expected
