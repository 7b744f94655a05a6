"""The receipt: the final statement about the instance, with the observations that prove it; to and from JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jetrun.guarantee.power import ABSENT, Disposition, Observation, RequestId, is_down


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What jetrun states about the instance at the end of a run.

    Attributes:
        verified: proven down. Cannot be True without two observations on the disposition's allow-list, the second
            at least ``gap_s`` after the first (invariant 3).
        disposition: what was reached or tried; may differ from what the job asked for, then ``notes`` says why.
        status: the last one read, None when nothing could be read.
        reason: why not verified (a word of ``ladder.Reason``), empty when verified.
        request_ids: this run's requests about the instance, oldest first.
        blamed: the request to name to the cloud's staff, where one is to blame.
        gap_s: the gap between the two reads that was demanded.
        notes: sentences for people: a fallback, leftovers that could not be removed.
    """

    verified: bool
    disposition: Disposition
    status: str | None
    requested_at: datetime | None
    verified_at: datetime | None
    request_ids: tuple[RequestId, ...] = ()
    observations: tuple[Observation, ...] = ()
    reason: str = ""
    blamed: RequestId | None = None
    gap_s: float = 5.0
    shelved_is_down: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a receipt that says more than its evidence.

        Raises:
            ValueError: verified without two reads that prove it.
        """
        if not self.verified:
            return
        if self.gap_s <= 0:
            raise ValueError("a receipt's two reads must be apart")
        if len(self.observations) < 2:
            raise ValueError("a verified receipt needs two observations")
        first, last = self.observations[0], self.observations[-1]
        if (last.at - first.at).total_seconds() < self.gap_s:
            raise ValueError("the observations of a receipt must be at least verify_gap_s apart")
        for read in (first, last):
            if not is_down(read, self.disposition, shelved_is_down=self.shelved_is_down):
                raise ValueError(f"{read.status} does not prove {self.disposition}")

    def to_dict(self) -> dict[str, Any]:
        """The receipt as the ``--json`` document and the journal hold it."""
        return {
            "verified": self.verified,
            "disposition": self.disposition.value,
            "status": self.status,
            "requested_at": _text(self.requested_at),
            "verified_at": _text(self.verified_at),
            "request_ids": list(self.request_ids),
            "observations": [
                {
                    "at": _text(read.at),
                    "status": read.status,
                    "vm_state": read.vm_state,
                    "task_state": read.task_state,
                    "power_state": read.power_state,
                }
                for read in self.observations
            ],
            "reason": self.reason,
            "blamed_request_id": self.blamed,
            "gap_s": self.gap_s,
            "shelved_is_down": self.shelved_is_down,
            "notes": list(self.notes),
        }


def from_dict(data: Mapping[str, Any]) -> Receipt:
    """The receipt that ``to_dict`` wrote.

    Raises:
        ValueError: it claims more than its observations prove.
    """
    reads: Sequence[Mapping[str, Any]] = data["observations"]
    return Receipt(
        verified=data["verified"],
        disposition=Disposition(data["disposition"]),
        status=data["status"],
        requested_at=_instant(data["requested_at"]),
        verified_at=_instant(data["verified_at"]),
        request_ids=tuple(RequestId(word) for word in data["request_ids"]),
        observations=tuple(
            Observation(
                at=datetime.fromisoformat(read["at"]),
                status=read["status"],
                vm_state=read["vm_state"],
                task_state=read["task_state"],
                power_state=read["power_state"],
            )
            for read in reads
        ),
        reason=data["reason"],
        blamed=RequestId(data["blamed_request_id"]) if data.get("blamed_request_id") else None,
        gap_s=data["gap_s"],
        shelved_is_down=data["shelved_is_down"],
        notes=tuple(data["notes"]),
    )


def summary(receipt: Receipt) -> str:
    """One sentence: whether the instance is proven down, and by what."""
    if receipt.verified and receipt.verified_at is not None:
        first, last = receipt.observations[0], receipt.observations[-1]
        word = "gone" if last.status == ABSENT else last.status
        return f"verified down: {word}, read at {_clock(first.at)} and {_clock(last.at)}"
    return f"NOT VERIFIED DOWN ({receipt.reason}): last read {receipt.status or 'never'}"


def _text(at: datetime | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, None for None."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds")


def _clock(at: datetime) -> str:
    """The time of day in UTC."""
    return at.astimezone(UTC).strftime("%H:%M:%SZ")


def _instant(text: str | None) -> datetime | None:
    """The instant that ``_text`` wrote."""
    return None if text is None else datetime.fromisoformat(text)
