"""What the tests of the faults share: a job on its way, what it must have said, and one line for each in a table (``faults.tsv``)."""

from __future__ import annotations

import time
from collections.abc import Callable
from email import message_from_bytes
from email.policy import default
from typing import Any

import truth
from desk import QUICK, Desk, Ended, tells_the_truth
from lab import place
from machine import Machine

MAIL = ("--email", "me@uni.edu")
STOP = ("--disposition", "stop")
"""Where the fault is not about the shelve: a snapshot less to make and to wake from."""


def reason(ended: Ended) -> str:
    receipt = ended.receipt
    return str(receipt["reason"]) if receipt else "untouched"


def is_told(ended: Ended, desk: Desk, *words: str) -> None:
    """Exit code 119; the last mail and the document say what to know and to do, the terminal that it is not verified."""
    assert ended.code == 119, str(ended)
    assert "NOT VERIFIED" in ended.err, str(ended)
    mail = message_from_bytes(desk.mailbox.messages[-1], policy=default)
    text = f"{mail['Subject']}\n{mail.get_body(('plain',)).get_content()}"
    said = " ".join(str(ended.document["error"][key]) for key in ("what", "state", "next"))
    for word in words:
        assert word.lower() in said.lower(), f"{word!r} is not in {said}"
        assert word.lower() in text.lower(), f"{word!r} is not in the mail\n{text}"
    assert ended.document["error"]["next"] in text, text


def note(fault: str, ended: Ended, found: truth.Row, down_s: float | None = None) -> None:
    """One more line of the table that ``.ci/test-openstack`` prints."""
    where = f"{found.vm_state}, task {found.task_state}, {'running' if found.runs else 'not running'}"
    with (place.STATE / "faults.tsv").open("a") as file:
        down = "" if down_s is None else f"{down_s:.0f}"
        file.write(f"{fault}\t{ended.code} {reason(ended)}\t{where}\t{ended.took_s:.0f}\t{down}\n")


def continued(desk: Desk, machine: Machine, within_s: float = 200) -> float:
    """``jetrun continue`` ends it verified, typed again while Nova is still coming back: the seconds that it took."""
    begun = time.monotonic()
    ended = desk.jetrun("continue", "last", "--json", within_s=within_s)
    while not ended.is_verified:
        assert time.monotonic() - begun < within_s, str(ended)
        tells_the_truth(ended, machine.id)
        ended = desk.jetrun("continue", "last", "--json", within_s=within_s)
    assert tells_the_truth(ended, machine.id).is_down
    return time.monotonic() - begun


def when(claim: Callable[[], bool], within_s: float = 120) -> None:
    truth.eventually(claim, within_s, every_s=0.05)


def begun(desk: Desk, machine: Machine, *words: str, script: str = "true\n") -> Any:
    """A job on its way, on an instance that is off or shelved."""
    machine.be_down()
    return desk.start("run", str(desk.script(script)), "--on", machine.name, "--json", *MAIL, *words)


def quick(desk: Desk, **bounds: float) -> dict[str, Any]:
    """The lab's entry for jetrun with other bounds."""
    return {
        "ssh_user": "debian",
        "ssh_key": str(place.STATE / "id_ed25519"),
        "rates": {"m1": 1.0},
        "bounds": {**QUICK, **desk.bounds, **bounds},
    }
