"""The lease: a run's claim on an instance until an absolute deadline. Grant, extend, ending, expiry; to and from text. Pure.

The text is what stands in the description of the instance's Neutron port (255 characters at most), for example
``jetrun1 granted run=20261120T1923-ab12 gen=1795202580 until=2026-11-20T21:23:00Z end=shelve owner=ada@lab``.
What a person had written there before rides behind ``|`` and is put back at the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from jetrun.guarantee.power import Disposition, RequestId, RunId

MAX_TEXT = 255
"""Neutron's limit for a description, in characters. Source: Neutron API reference, ports, ``description``."""


class LeaseState(StrEnum):
    """Where a lease is in its life."""

    GRANTED = "granted"
    ENDING = "ending"
    REAPING = "reaping"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A run's claim on one instance.

    Attributes:
        generation: larger for every later lease of the same instance: the cloud time of the grant in Unix seconds.
        until_at: the deadline, cloud time.
        owner: user@host of the driver, for people.
        start: which start of the instance is the run's own: the first eight letters of its request id, ``-`` for none (it was
            running already), empty as long as that is not known.
        outputs_collected: False until the run knows that its outputs are safe (matters to ``delete``).
        previous: what stood in the port's description before, put back at the end.
    """

    run: RunId
    state: LeaseState
    generation: int
    until_at: datetime
    disposition: Disposition
    owner: str
    user_id: str
    start: str = ""
    outputs_collected: bool = False
    previous: str = ""


NO_START = "-"
"""The instance was running when the run took it."""


def short(request: RequestId) -> str:
    """A request id as a lease has room for: ``req-3f2a9c1b-...`` is ``3f2a9c1b``."""
    return request.removeprefix("req-")[:8]


def is_expired(lease: Lease, now_at: datetime, *, margin_s: float) -> bool:
    """Whether *lease* is past its deadline by more than the margin, in cloud time."""
    return now_at > lease.until_at + timedelta(seconds=margin_s)


def extended(lease: Lease, until_at: datetime) -> Lease:
    """*lease* with a later deadline; never an earlier one. Clears a reaper's mark.

    Raises:
        ValueError: the lease is ending: what is being shut down cannot be extended.
    """
    if lease.state is LeaseState.ENDING:
        raise ValueError("the run is ending")
    return replace(lease, until_at=max(lease.until_at, until_at), state=LeaseState.GRANTED)


def to_text(lease: Lease) -> str:
    """*lease* as the port's description, 255 characters at most.

    The previous text is cut, never the lease.
    """
    words = [
        "jetrun1",
        lease.state.value,
        f"run={lease.run}",
        f"gen={lease.generation}",
        f"until={lease.until_at.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}",
        f"end={lease.disposition.value}",
        f"outputs={'yes' if lease.outputs_collected else 'no'}",
        *([f"start={lease.start}"] if lease.start else []),
        f"user={_word(lease.user_id, 32)}",
        f"owner={_word(lease.owner, 48)}",
    ]
    text = " ".join(words)
    return f"{text} |{lease.previous}"[:MAX_TEXT] if lease.previous else text


def mirrored(lease: Lease, requests: Sequence[RequestId] = ()) -> dict[str, str]:
    """*lease* as metadata of the instance, for people who look in the web page; nothing reads it back.

    Args:
        requests: the run's own, oldest first; the newest are kept where not all fit into a value's 255 characters.
    """
    items = {
        "jetrun_run": lease.run,
        "jetrun_generation": str(lease.generation),
        "jetrun_until": lease.until_at.isoformat(),
        "jetrun_end": lease.disposition.value,
        "jetrun_owner": _word(lease.owner, 48),
    }
    shown = ",".join(requests[-MIRRORED_REQUESTS:])
    return {**items, "jetrun_requests": shown} if shown else items


MIRRORED_REQUESTS = 6
"""Of 40 characters each. Source for the limit: Nova API reference, servers, metadata: 255 characters a value."""


_TEXT = re.compile(
    r"jetrun1 (?P<state>granted|ending|reaping) run=(?P<run>\S+) gen=(?P<gen>\d+) until=(?P<until>\S+)"
    r" end=(?P<end>shelve|stop|delete) outputs=(?P<outputs>yes|no)(?: start=(?P<start>\S+))? user=(?P<user>\S*) owner=(?P<owner>\S*)"
    r"(?: \|(?P<previous>.*))?",
    re.DOTALL,
)


def from_text(text: str) -> Lease | None:
    """The lease in a port's description; None where the text is none of ours.

    Raises:
        ValueError: it begins like a lease and cannot be read (a later version, or damaged): never to be overwritten.
    """
    if re.match(r"jetrun\d+ ", text) is None:
        return None
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"not a lease this version can read: {text!r}")
    return Lease(
        run=RunId(found["run"]),
        state=LeaseState(found["state"]),
        generation=int(found["gen"]),
        until_at=datetime.strptime(found["until"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
        disposition=Disposition(found["end"]),
        owner=found["owner"],
        user_id=found["user"],
        start=found["start"] or "",
        outputs_collected=found["outputs"] == "yes",
        previous=found["previous"] or "",
    )


def _word(text: str, width: int) -> str:
    """*text* without spaces and control characters, cut to *width*."""
    return re.sub(r"[^\x21-\x7e]", "_", text)[:width]
