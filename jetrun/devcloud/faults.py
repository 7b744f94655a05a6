"""Faults as data: what goes wrong, at which call, how often. Pure; the HTTP faces and the simulation apply the same book."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

REFUSALS = {f"refuse-{status}": status for status in (401, 403, 404, 409, 429, 500, 502, 503, 504)}
"""The call is answered with this status and has no effect."""

AFTER = {f"apply-then-{status}": status for status in (500, 502, 503, 504)}
"""The call takes effect and is answered with this status."""

TRANSPORT = ("hang", "close", "lost-reply", "slow", "stale-read")
"""hang: no answer; close: the connection ends, no effect; lost-reply: effect, then the connection ends without an answer;
slow: an answer ``seconds`` late; stale-read: a read answers with the state before the last change."""

BEHAVIOURS = {
    "shelve-fails-silently": "nova.shelve",
    "never-offloads": "nova.shelve",
    "unshelve-bounces": "nova.unshelve",
    "stuck-task": "nova.*",
    "build-error": "nova.create",
    "late-active-after-failed-create": "nova.create",
    "guest-poweroff": "ssh.connect",
    "ssh-silent": "ssh.connect",
    "ssh-refused": "ssh.connect",
    "ssh-drop": "ssh.connect",
    "token-expires-early": "keystone.token",
    "condition-unheeded": "neutron.port_update",
    "mail-refused": "smtp.message",
    "mail-hangs": "smtp.message",
    "mail-disconnects": "smtp.message",
}
"""Faults of the cloud itself, with the call each is about unless ``--on`` says otherwise."""

NAMES = (*REFUSALS, *AFTER, *TRANSPORT, *BEHAVIOURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        on: a pattern over call names such as ``nova.shelve``, ``nova.show``, ``neutron.port_update``, ``keystone.*``.
        times: how often it strikes; negative: always. skip: how many matching calls it lets pass first.
        seconds: of delay, for hang, slow and ssh-drop.
    """

    name: str
    on: str
    times: int = 1
    skip: int = 0
    seconds: float = 1.0
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the faults do to one call.

    Attributes:
        refuse: answer with this status, without effect. fail_after: with effect.
        lose: drop the connection instead of answering (after the effect). close: before it. delay_s: before anything.
        hang_s: hold the answer this long and then drop the connection. stale: answer a read from the state before.
    """

    refuse: int | None = None
    fail_after: int | None = None
    lose: bool = False
    close: bool = False
    delay_s: float = 0.0
    hang_s: float = 0.0
    stale: bool = False


class FaultBook:
    """The faults that are set, in the order in which they were added."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._next = 1

    def add(self, name: str, *, on: str = "", times: int = 1, skip: int = 0, seconds: float = 1.0) -> Fault:
        """Add one; raises ValueError for a name that is not in NAMES."""
        if name not in NAMES:
            raise ValueError(f"no fault {name!r}; there are: {', '.join(NAMES)}")
        where = on or BEHAVIOURS.get(name, "nova.*")
        fault = Fault(name=name, on=where, times=times, skip=skip, seconds=seconds, id=self._next)
        self._next += 1
        self._faults.append(fault)
        return fault

    def clear(self, number: int | None = None) -> None:
        """Remove one, or all."""
        self._faults = [] if number is None else [fault for fault in self._faults if fault.id != number]

    def all(self) -> list[Fault]:
        """The faults that can still strike."""
        return list(self._faults)

    def take(self, point: str, *names: str) -> Fault | None:
        """The first fault named so that is set for *point*; counted as having struck."""
        for number, fault in enumerate(self._faults):
            if fault.name not in names or not fnmatchcase(point, fault.on):
                continue
            if fault.skip > 0:
                self._faults[number] = replace(fault, skip=fault.skip - 1)
                continue
            if fault.times == 1:
                del self._faults[number]
            elif fault.times > 1:
                self._faults[number] = replace(fault, times=fault.times - 1)
            return fault
        return None

    def outcome(self, point: str) -> Outcome:
        """What the faults set for *point* do to this one call."""
        fault = self.take(point, *REFUSALS, *AFTER, *TRANSPORT)
        if fault is None:
            return Outcome()
        if fault.name in REFUSALS:
            return Outcome(refuse=REFUSALS[fault.name])
        if fault.name in AFTER:
            return Outcome(fail_after=AFTER[fault.name])
        match fault.name:
            case "hang":
                return Outcome(hang_s=max(fault.seconds, 1.0), close=True)
            case "close":
                return Outcome(close=True)
            case "lost-reply":
                return Outcome(lose=True)
            case "slow":
                return Outcome(delay_s=fault.seconds)
            case _:
                return Outcome(stale=True)

    def to_list(self) -> list[dict[str, Any]]:
        """The faults as plain data."""
        keys = ("id", "name", "on", "times", "skip", "seconds")
        return [{key: getattr(fault, key) for key in keys} for fault in self._faults]
