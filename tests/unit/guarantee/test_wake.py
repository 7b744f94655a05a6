"""Bringing an instance up, as a decision table."""

from __future__ import annotations

import pytest
from facts import T0, after, at, entry, evidence, read, sent

from jetrun.guarantee.evidence import Evidence, saw, unread
from jetrun.guarantee.ladder import Look, Send
from jetrun.guarantee.power import Action, RequestId
from jetrun.guarantee.requests import Outcome
from jetrun.guarantee.wake import Down, NotUp, Up, decide


def step(
    start: Evidence, *reads: object, log: tuple[object, ...] = (), now: float | None = None, take_over: bool = False
) -> object:
    seen = after(start, *reads, log=log)  # type: ignore[arg-type]
    return decide(seen, at(now) if now is not None else reads[-1].at, take_over=take_over)  # type: ignore[attr-defined]


def asked(
    action: Action = Action.UNSHELVE, outcome: Outcome = Outcome.ACCEPTED, request: str | None = "req-1"
) -> Evidence:
    known = frozenset({RequestId(request)}) if request else frozenset()
    return evidence(sent=(sent(action, outcome, 0, request),), known=known)


@pytest.mark.parametrize(
    ("status", "action"),
    [
        ("SHUTOFF", Action.START),
        ("SHELVED", Action.UNSHELVE),
        ("SHELVED_OFFLOADED", Action.UNSHELVE),
        ("SUSPENDED", Action.RESUME),
        ("PAUSED", Action.UNPAUSE),
    ],
)
def test_each_low_state_has_its_start(status: str, action: Action) -> None:
    """Nova's table."""
    assert step(evidence(), read(status, 1)) == Send(action=action)


def test_nothing_is_sent_before_a_read() -> None:
    """Look first."""
    assert decide(evidence(), T0, take_over=False) == Look(after_s=0.0)


def test_no_answer_ends_with_its_bound() -> None:
    """The API is away, or refuses."""
    blind = unread(evidence(), T0)
    assert isinstance(decide(blind, at(599), take_over=False), Look)
    assert decide(blind, at(600), take_over=False) == Down(reason=NotUp.UNREACHABLE)
    assert decide(unread(evidence(), T0, unauthorized=True), at(600), take_over=False) == Down(reason=NotUp.CREDENTIALS)


def test_up_after_our_start() -> None:
    """ACTIVE with no task."""
    assert step(asked(), read("ACTIVE", 9), log=(entry("unshelve", "req-1", 0),)) == Up(adopted=False)


def test_already_up_is_refused_or_taken_over() -> None:
    """Somebody may be using it."""
    assert step(evidence(), read("ACTIVE", 1)) == Down(reason=NotUp.IN_USE)
    assert step(evidence(), read("ACTIVE", 1), take_over=True) == Up(adopted=True)


@pytest.mark.invariant(5)
def test_a_persons_start_meanwhile_is_theirs() -> None:
    """Two people want it at the same moment."""
    log = (entry("unshelve", "req-bob", 1, user="bob"),)
    assert step(evidence(), read("SHELVED_OFFLOADED", 2, task="unshelving"), log=log) == Down(
        reason=NotUp.IN_USE, request_id=RequestId("req-bob")
    )


def test_a_lost_start_whose_instance_comes_up_waits_for_its_entry() -> None:
    """ACTIVE after a lost reply: the entry in the log makes it ours."""
    lost = asked(outcome=Outcome.AMBIGUOUS, request=None)
    assert isinstance(step(lost, read("ACTIVE", 5)), Look)
    assert step(lost, read("ACTIVE", 5), log=(entry("unshelve", "req-x", 1),)) == Up(adopted=False)
    assert step(lost, read("ACTIVE", 181)) == Down(reason=NotUp.IN_USE)


@pytest.mark.invariant(6)
def test_a_lost_start_is_sent_again_only_after_looking() -> None:
    """Without an entry for a while it never arrived."""
    lost = asked(outcome=Outcome.AMBIGUOUS, request=None)
    assert isinstance(step(lost, read("SHELVED_OFFLOADED", 29)), Look)
    assert step(lost, read("SHELVED_OFFLOADED", 30)) == Send(action=Action.UNSHELVE)


def test_a_bounced_unshelve_is_known_by_the_log() -> None:
    """SHELVED_OFFLOADED again in 0.3 s, no ERROR, no fault."""
    log = (entry("unshelve", "req-1", 0, failed=True),)
    assert step(asked(), read("SHELVED_OFFLOADED", 1), log=log) == Down(
        reason=NotUp.NO_CAPACITY, request_id=RequestId("req-1")
    )


def test_silence_after_an_accepted_start_is_waited_for_and_then_told() -> None:
    """No error entry, no task."""
    log = (entry("unshelve", "req-1", 0),)
    assert isinstance(step(asked(), read("SHELVED_OFFLOADED", 29), log=log), Look)
    assert step(asked(), read("SHELVED_OFFLOADED", 30), log=log) == Down(
        reason=NotUp.NO_CAPACITY, request_id=RequestId("req-1")
    )


def test_tasks_are_waited_for_with_their_bounds() -> None:
    """Ours for an unshelve's time, a foreign one for its own."""
    assert isinstance(step(asked(), read("SHELVED_OFFLOADED", 1, task="spawning"), now=599), Look)
    assert step(asked(), read("SHELVED_OFFLOADED", 1, task="spawning"), now=600) == Down(
        reason=NotUp.STUCK, request_id=RequestId("req-1")
    )
    assert isinstance(step(evidence(), read("SHUTOFF", 1, task="image_uploading"), now=600), Look)
    assert step(evidence(), read("SHUTOFF", 1, task="image_uploading"), now=601) == Down(reason=NotUp.STUCK)


def test_gone_is_believed_at_the_second_look() -> None:
    """One 404 may be a hiccup."""
    assert isinstance(step(evidence(), read("ABSENT", 1)), Look)
    assert step(evidence(), read("ABSENT", 1), read("ABSENT", 2)) == Down(reason=NotUp.GONE)


def test_locked_and_unusable_states_are_told() -> None:
    """No start would be accepted."""
    assert step(evidence(), read("SHUTOFF", 1, locked=True)) == Down(reason=NotUp.LOCKED)
    assert step(evidence(), read("ERROR", 1)) == Down(reason=NotUp.UNUSABLE)
    assert step(evidence(), read("RESCUE", 1)) == Down(reason=NotUp.UNUSABLE)


def test_passing_states_are_waited_for() -> None:
    """BUILD of a launch, a reboot by the cloud."""
    assert isinstance(step(evidence(), read("BUILD", 1)), Look)
    assert step(evidence(), read("BUILD", 1), now=600) == Down(reason=NotUp.UNUSABLE)


def test_forbidden_is_told_at_once() -> None:
    """A quota that is used up does not come back by asking."""
    assert step(asked(outcome=Outcome.FORBIDDEN, request=None), read("SHUTOFF", 1)) == Down(reason=NotUp.FORBIDDEN)


def test_refusals_are_repeated_within_the_bound() -> None:
    """409 and 429: read, then again; not for ever."""
    busy = asked(outcome=Outcome.CONFLICT, request=None)
    assert isinstance(step(busy, read("SHUTOFF", 1)), Look)
    assert step(busy, read("SHUTOFF", 3)) == Send(action=Action.START)
    assert step(busy, read("SHUTOFF", 600)) == Down(reason=NotUp.REFUSED)
    assert step(asked(outcome=Outcome.UNAUTHORIZED, request=None), read("SHUTOFF", 600)) == Down(
        reason=NotUp.CREDENTIALS
    )


def test_what_this_run_made_comes_up_without_a_start() -> None:
    assert decide(saw(evidence(), read("ACTIVE", 1), ()), at(1), take_over=False, made=True) == Up(adopted=True)


def test_a_persons_start_after_ours_is_not_taken_over() -> None:
    """Whoever allowed it spoke of the moment before the run."""
    theirs = entry("start", "req-person", 500)
    ours = sent(Action.START, Outcome.ACCEPTED, request="req-mine")
    seen = saw(evidence(sent=(ours,), known=frozenset({RequestId("req-mine")})), read("ACTIVE", 501), (theirs,))
    assert decide(seen, at(501), take_over=True) == Down(reason=NotUp.IN_USE, request_id=RequestId("req-person"))
