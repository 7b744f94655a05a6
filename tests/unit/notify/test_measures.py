"""Times, sizes and costs as people read them."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from jetrun.notify.measures import amount, between, clock, duration, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "not known"),
        (-3, "0.0 s"),
        (0.42, "0.4 s"),
        (42, "42 s"),
        (59.9, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (5000, "1 h 23 min"),
        (200000, "2 d 7 h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_980, "100 kB"),
        (5_000_000, "5.0 MB"),
        (10**13, "10.0 TB"),
    ],
)
def test_a_size_is_in_powers_of_ten(count: int | None, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not known"),
        (0.0, "0 SU"),
        (16.0, "16 SU"),
        (3.4721, "3.47 SU"),
        (0.5, "0.5 SU"),
        (0.0042, "0.0042 SU"),
        (100.0, "100 SU"),
    ],
)
def test_a_cost_keeps_the_digits_that_matter(value: float | None, text: str) -> None:
    assert amount(value, "SU") == text


def test_a_tiny_cost_is_not_shown_as_nothing() -> None:
    assert amount(0.00001, "SU") == "under 0.0001 SU"


def test_a_time_in_utc_has_the_readers_time_beside_it() -> None:
    text = "2026-11-20T15:03:22+01:00"
    assert clock(text, UTC) == "14:03:22Z"
    assert clock(text, ZoneInfo("Asia/Kolkata"), date=True) == "2026-11-20 14:03:22Z (19:33 IST)"
    assert clock(None, UTC) == "a time not known"


def test_a_length_between_unknown_instants_is_unknown() -> None:
    assert between(None, "2026-11-20T15:03:22+01:00") is None
    assert between("2026-11-20T15:03:22+01:00", "2026-11-20T14:04:22+00:00") == 60
