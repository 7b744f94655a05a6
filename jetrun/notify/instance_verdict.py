"""What is known about the instance at the end of a run, and what it costs now: one title, a few lines. Pure.

Read from the receipt alone: an outcome of "succeeded" never colours an instance that is not proven down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from enum import StrEnum
from typing import Any

from jetrun.notify.clean import one_line
from jetrun.notify.measures import amount, between, clock, duration

_REASONS = {
    "cloud-unreachable": "the cloud does not answer",
    "credentials-refused": "the cloud refuses the credential",
    "locked": "it is locked",
    "stuck": "a task of the cloud's hangs on it",
    "refused": "the cloud refuses the request",
    "stopped-only": "powered off, but not shelved: its host is kept",
    "not-offloaded": "shelved, but still on its host",
    "corrupt-shelve": "its shelving broke off half-way",
    "action-failed": "the cloud took the request and did not carry it out",
    "needs-person": "in a state that only a person can resolve",
    "gone": "the cloud does not know it any more",
    "somebody-elses": "somebody started it after this run",
    "internal-error": "jetrun itself failed while bringing it down",
}
"""The words of ``ladder.Reason`` for people; a word that is not here is shown as it is."""


class Tone(StrEnum):
    """How a statement is to be taken."""

    GOOD = "good"
    PLAIN = "plain"
    WARN = "warn"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known about the instance.

    Attributes:
        title: in capitals, what is proven. lines: the evidence and the cost, one sentence each.
    """

    tone: Tone
    title: str
    lines: tuple[str, ...]


def is_unverified(document: Mapping[str, Any]) -> bool:
    """Whether the instance may be up: no receipt proves otherwise, and something was asked for."""
    receipt = document.get("receipt")
    if receipt is not None:
        return not receipt["verified"]
    return document.get("exit_code") == 119 or document.get("script") is not None


def verdict_of(document: Mapping[str, Any], zone: tzinfo | None) -> Verdict:
    """What is known about the instance, and what it costs now."""
    receipt = document.get("receipt")
    if receipt is not None and receipt["verified"]:
        return _proven(document, receipt, zone)
    if is_unverified(document):
        reason = str((receipt or {}).get("reason") or "no receipt was written")
        last = one_line(str((receipt or {}).get("status") or "nothing"), most=40)
        return Verdict(
            tone=Tone.ALARM,
            title="NOT VERIFIED DOWN",
            lines=(
                f"{name_of(document)} may still be running, or charged",
                f"last read: {last}; {_REASONS.get(reason) or one_line(reason, most=80)}",
                f"costs now: {rate_of(document)}",
            ),
        )
    if document.get("outcome") == "left to a person":
        return Verdict(
            tone=Tone.PLAIN,
            title="LEFT TO A PERSON",
            lines=(
                f"{name_of(document)} runs for somebody else, and jetrun does nothing to it",
                f"costs now: {rate_of(document)}",
            ),
        )
    return Verdict(
        tone=Tone.PLAIN,
        title="NOT TOUCHED",
        lines=("jetrun asked the cloud for nothing that spends",),
    )


def _proven(document: Mapping[str, Any], receipt: Mapping[str, Any], zone: tzinfo | None) -> Verdict:
    """The verdict of a verified receipt: the status, and when it was read."""
    status = one_line(str(receipt["status"]), most=40)
    reads = receipt["observations"]
    first, last = reads[0]["at"], reads[-1]["at"]
    word = "DELETED" if status == "ABSENT" else status
    how = "answered 404 twice" if status == "ABSENT" else "read twice"
    at = f"{how}, at {clock(first, UTC)} and {clock(last, zone)}"
    rate = (document.get("cost") or {}).get("now_per_hour")
    still = "; it is still charged" if rate else ""
    return Verdict(
        tone=Tone.WARN if rate else Tone.GOOD,
        title=f"PROVEN DOWN: {word}",
        lines=(f"{name_of(document)}: {at}", *_healed(document, zone), f"costs now: {rate_of(document)}{still}"),
    )


def _healed(document: Mapping[str, Any], zone: tzinfo | None) -> Iterable[str]:
    """Since when it had not been proven, and what that cost; nothing where it always was."""
    was = document.get("unproven")
    if was:
        took = duration(between(was["since_at"], was["until_at"]))
        price = "its cost is not known" if was["cost"] is None else f"{amount(was['cost'], str(was['unit']))} at most"
        yield f"not proven since {clock(was['since_at'], zone, date=True)}, for {took}: {price}"


def name_of(document: Mapping[str, Any], *, most: int = 80) -> str:
    """What to call the instance."""
    instance = document.get("instance") or {}
    return one_line(str(instance.get("name") or instance.get("id") or "the instance"), most=most)


def rate_of(document: Mapping[str, Any]) -> str:
    """What it costs now."""
    cost = document.get("cost") or {}
    rate = cost.get("now_per_hour")
    return "not known" if rate is None else f"{amount(rate, str(cost.get('unit') or ''))}/h"
