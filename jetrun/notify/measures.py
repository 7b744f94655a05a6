"""Times, sizes and costs as people read them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from jetrun.notify.clean import one_line


def duration(seconds: float | None) -> str:
    """A length of time as people say it, two units at most."""
    if seconds is None:
        return "not known"
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def size(count: int | None) -> str:
    """A size in bytes as people say it, in powers of ten."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.95 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def clock(text: str | None, zone: tzinfo | None, *, date: bool = False) -> str:
    """An instant in UTC, with the reader's time beside it where that differs."""
    if not text:
        return "a time not known"
    at = datetime.fromisoformat(text)
    local = at.astimezone(zone)
    there = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ" if date else "%H:%M:%SZ")
    if local.utcoffset() == UTC.utcoffset(None):
        return there
    return f"{there} ({one_line(local.strftime('%H:%M %Z'), most=20)})"


def amount(value: float | None, unit: str) -> str:
    """A cost, with the digits that matter."""
    if value is None:
        return "not known"
    if 0 < abs(value) < 0.0001:
        return f"under {amount(0.0001, unit)}"
    digits = f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) >= 0.01 or value == 0 else f"{value:.4f}".rstrip("0")
    return f"{digits or '0'} {one_line(unit, most=20)}".strip()


def between(began: str | None, ended: str | None) -> float | None:
    """Seconds from one instant to another, None where one is missing."""
    if not began or not ended:
        return None
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
