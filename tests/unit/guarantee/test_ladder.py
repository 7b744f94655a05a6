"""The shutdown ladder as a decision table: every rung, every refusal, every way a cloud has of not keeping its word."""

from __future__ import annotations

import pytest
from facts import BOUNDS, T0, after, at, entry, evidence, read, sent

from jetrun.guarantee.evidence import Evidence, details_wanted, replied, saw, unread
from jetrun.guarantee.ladder import Look, NotVerified, Reason, Send, Verified, decide
from jetrun.guarantee.power import Action, Disposition, RequestId
from jetrun.guarantee.requests import Outcome

SHELVE, STOP, DELETE = Disposition.SHELVE, Disposition.STOP, Disposition.DELETE
OFFLOADED = "SHELVED_OFFLOADED"
DONE = (entry("shelve", "req-s", 1),)


def step(start: Evidence, *reads: object, log: tuple[object, ...] = (), now: float | None = None) -> object:
    seen = after(start, *reads, log=log)  # type: ignore[arg-type]
    last = reads[-1].at if reads else T0  # type: ignore[attr-defined]
    return decide(seen, at(now) if now is not None else last)


# --- reading ---


def test_the_first_step_is_to_look() -> None:
    """Nothing is known, so nothing is sent."""
    assert decide(evidence(), T0) == Look(after_s=0.0)


def test_a_read_without_the_log_asks_for_the_log() -> None:
    """Without it nobody knows whose the instance is."""
    assert decide(saw(evidence(), read("ACTIVE"), None), T0) == Look(after_s=0.0)


def test_failed_reads_go_on_until_the_bound_and_then_a_person_is_told() -> None:
    """The API is away."""
    blind = unread(evidence(), T0)
    assert isinstance(decide(blind, at(899)), Look)
    assert decide(blind, at(900)) == NotVerified(reason=Reason.UNREACHABLE)
    refused = unread(evidence(), T0, unauthorized=True)
    assert decide(refused, at(900)) == NotVerified(reason=Reason.CREDENTIALS)


def test_a_failed_read_takes_away_the_proof() -> None:
    """What was read before the API went away proves nothing now."""
    one = after(evidence(), read(OFFLOADED, 2), log=DONE)
    gone = unread(one, at(3))
    assert isinstance(decide(gone, at(3)), Look)
    back = after(gone, read(OFFLOADED, 10), log=DONE)
    assert isinstance(decide(back, at(10)), Look)


# --- down ---


@pytest.mark.parametrize(
    ("disposition", "status"), [(SHELVE, OFFLOADED), (STOP, "SHUTOFF"), (STOP, OFFLOADED), (STOP, "SHELVED")]
)
@pytest.mark.invariant(3)
def test_verified_needs_two_reads_with_the_gap_between(disposition: Disposition, status: str) -> None:
    """Invariant 3."""
    log = (entry("stop" if disposition is STOP else "shelve", "req", 1),)
    first = after(evidence(disposition), read(status, 2), log=log)
    assert decide(first, at(2)) == Look(after_s=BOUNDS.verify_gap_s)
    early = after(first, read(status, 5), log=log)
    assert decide(early, at(5)) == Look(after_s=pytest.approx(2.0))
    late = after(early, read(status, 7), log=log)
    assert decide(late, at(7)) == Verified(observations=(read(status, 2), read(status, 7)))


def test_a_clock_that_jumps_back_does_not_shorten_the_gap() -> None:
    """The first read is taken anew."""
    seen = after(evidence(), read(OFFLOADED, 50), read(OFFLOADED, 2), log=DONE)
    assert seen.proof == (read(OFFLOADED, 2),)


def test_an_up_read_between_breaks_the_proof() -> None:
    """Two reads in a row, or none."""
    seen = after(evidence(), read(OFFLOADED, 2), read(OFFLOADED, 4, task="unshelving"), read(OFFLOADED, 20), log=DONE)
    assert isinstance(decide(seen, at(20)), Look)


def test_a_request_takes_away_the_proof() -> None:
    """Reads count only after the last request was accepted or refused."""
    seen = after(evidence(), read(OFFLOADED, 2), log=DONE)
    seen = replied(seen, sent(Action.SHELVE, Outcome.CONFLICT, 3))
    assert seen.proof == ()
    assert decide(seen, at(3)) == Look(after_s=0.0)


def test_down_against_the_log_is_doubted_and_the_shutdown_is_asked_for() -> None:
    """A stale read after our own unshelve looks just like proof."""
    log = (entry("unshelve", "req-mine", 1),)
    start = evidence(known=frozenset({RequestId("req-mine")}))
    doubted = after(start, read(OFFLOADED, 2), read(OFFLOADED, 9), log=log)
    assert decide(doubted, at(9)) == Send(action=Action.SHELVE)
    refused = replied(doubted, sent(Action.SHELVE, Outcome.CONFLICT, 9))
    agreed = after(refused, read(OFFLOADED, 10), read(OFFLOADED, 16), log=log)
    assert isinstance(decide(agreed, at(16)), Verified)


def test_for_stop_the_doubt_is_resolved_by_a_stop() -> None:
    """The mirror case."""
    log = (entry("start", "req-mine", 1),)
    start = evidence(STOP, known=frozenset({RequestId("req-mine")}))
    assert step(start, read("SHUTOFF", 2), log=log) == Send(action=Action.STOP)


def test_down_while_the_newest_entry_is_unfinished_is_waited_for_with_a_bound() -> None:
    """A shelve whose events have not ended may still be showing an older state."""
    log = (entry("shelve", "req", 1, finished=False),)
    assert isinstance(step(evidence(), read(OFFLOADED, 2), read(OFFLOADED, 9), log=log), Look)
    assert isinstance(step(evidence(), read(OFFLOADED, 902), read(OFFLOADED, 909), log=log), Verified)


def test_an_unsettled_start_holds_the_receipt_back() -> None:
    """After an ambiguous spending request the receipt waits for its entry, or for settle_s."""
    lost = sent(Action.UNSHELVE, Outcome.AMBIGUOUS, 0)
    start = evidence(unsettled=(lost,))
    assert isinstance(step(start, read(OFFLOADED, 2), read(OFFLOADED, 9), log=DONE), Look)
    assert isinstance(step(start, read(OFFLOADED, 181), read(OFFLOADED, 188), log=DONE), Verified)


def test_a_lost_start_that_shows_up_becomes_ours() -> None:
    """Its entry is adopted, so that it is not taken for a person's start."""
    lost = sent(Action.UNSHELVE, Outcome.AMBIGUOUS, 0)
    log = (entry("unshelve", "req-late", 5, finished=True),)
    seen = after(evidence(unsettled=(lost,)), read("ACTIVE", 20), log=log)
    assert decide(seen, at(20)) == Send(action=Action.SHELVE)
    assert details_wanted(evidence(unsettled=(lost,)), log) == (RequestId("req-late"),)


# --- whose ---


@pytest.mark.invariant(5)
@pytest.mark.parametrize("status", ["ACTIVE", OFFLOADED, "SHUTOFF"])
def test_an_instance_that_somebody_started_is_left_alone(status: str) -> None:
    """Invariant 5."""
    log = (entry("unshelve", "req-bob", 9, user="bob"),)
    assert step(evidence(), read(status, 10), log=log) == NotVerified(reason=Reason.SOMEBODY_ELSES)


# --- acting by state ---


@pytest.mark.parametrize(
    ("disposition", "status", "action"),
    [
        (SHELVE, "ACTIVE", Action.SHELVE),
        (SHELVE, "SHUTOFF", Action.SHELVE),
        (SHELVE, "PAUSED", Action.SHELVE),
        (SHELVE, "SUSPENDED", Action.SHELVE),
        (SHELVE, "ERROR", Action.STOP),
        (STOP, "ACTIVE", Action.STOP),
        (STOP, "ERROR", Action.STOP),
        (STOP, "PAUSED", Action.SHELVE),
        (STOP, "SUSPENDED", Action.SHELVE),
    ],
)
def test_each_state_has_its_action(disposition: Disposition, status: str, action: Action) -> None:
    """Nova's table of allowed states (PEERS.md 5.b)."""
    assert step(evidence(disposition), read(status, 1)) == Send(action=action)


@pytest.mark.parametrize("status", ["ACTIVE", "SHUTOFF", "ERROR", OFFLOADED, "SHELVED", "PAUSED"])
def test_delete_is_sent_from_every_state(status: str) -> None:
    """Nova deletes whatever the state."""
    assert step(evidence(DELETE, may_delete=True), read(status, 1)) == Send(action=Action.DELETE)


@pytest.mark.invariant(8)
@pytest.mark.parametrize("status", ["ACTIVE", "SHUTOFF"])
def test_delete_without_leave_shelves(status: str) -> None:
    """Invariant 8: outputs that are not known to be here are not deleted."""
    assert step(evidence(DELETE), read(status, 1)) == Send(action=Action.SHELVE)


@pytest.mark.parametrize("status", ["RESCUE", "VERIFY_RESIZE", "SOFT_DELETED", "SOMETHING_NEW"])
def test_states_that_only_a_person_can_leave_are_told(status: str) -> None:
    """No rung fits."""
    assert step(evidence(), read(status, 1)) == NotVerified(reason=Reason.NEEDS_PERSON)


def test_a_locked_instance_is_told_at_once() -> None:
    """Every action would be refused, and only its owner should unlock it."""
    assert step(evidence(), read("ACTIVE", 1, locked=True)) == NotVerified(reason=Reason.LOCKED)


def test_unknown_is_waited_for_with_a_bound() -> None:
    """UNKNOWN passes when the host is back."""
    assert isinstance(step(evidence(), read("UNKNOWN", 1)), Look)
    assert step(evidence(), read("UNKNOWN", 1), now=600) == NotVerified(reason=Reason.NEEDS_PERSON)


def test_a_disposable_instance_that_never_comes_up_is_deleted() -> None:
    """This run made it and nothing ran on it."""
    start = evidence(disposable=True)
    assert isinstance(step(start, read("BUILD", 1)), Look)
    assert step(start, read("BUILD", 1), now=600) == Send(action=Action.DELETE)
    assert step(start, read("ERROR", 1)) == Send(action=Action.DELETE)


def test_a_disposable_instance_whose_delete_was_accepted_and_does_nothing_is_told() -> None:
    """One delete of a hanging build, no more."""
    start = evidence(disposable=True, sent=(sent(Action.DELETE, seconds=1, request="req-d"),))
    assert step(start, read("BUILD", 650), now=651) == NotVerified(
        reason=Reason.ACTION_FAILED, request_id=RequestId("req-d")
    )


# --- a task in progress ---


def test_a_foreign_task_is_waited_for_with_a_bound() -> None:
    """Somebody's snapshot: wait 600 s, then say that it is stuck, with a request id for the staff."""
    log = (entry("createImage", "req-img", 0),)
    seen = after(evidence(), read("ACTIVE", 1, task="image_uploading"), log=log)
    assert isinstance(decide(seen, at(600)), Look)
    assert decide(seen, at(601)) == NotVerified(reason=Reason.STUCK, request_id=RequestId("req-img"))


def test_stuck_with_an_empty_log_names_no_request() -> None:
    """There is none to name."""
    seen = after(evidence(), read("ACTIVE", 1, task="powering-off"), log=())
    assert decide(seen, at(700)) == NotVerified(reason=Reason.STUCK)


def test_the_bound_counts_one_task_without_a_break() -> None:
    """A second task begins a second wait."""
    seen = after(evidence(), read("ACTIVE", 1, task="x"), read("ACTIVE", 500), read("ACTIVE", 550, task="y"))
    assert isinstance(decide(seen, at(700)), Look)


@pytest.mark.parametrize(("action", "bound"), [(Action.SHELVE, 900), (Action.STOP, 180), (Action.DELETE, 180)])
def test_our_own_task_has_the_actions_budget(action: Action, bound: float) -> None:
    """A large snapshot takes its time, and no longer."""
    start = evidence(sent=(sent(action, seconds=0, request="req-1"),), known=frozenset({RequestId("req-1")}))
    busy = after(start, read("ACTIVE", 1, task="shelving"), log=(entry("shelve", "req-1", 0, finished=False),))
    assert isinstance(decide(busy, at(bound - 1)), Look)
    assert decide(busy, at(bound)) == NotVerified(reason=Reason.STUCK, request_id=RequestId("req-1"))


def test_delete_goes_over_a_task() -> None:
    """Delete is the one action that Nova takes in any task state."""
    assert step(evidence(DELETE, may_delete=True), read("ACTIVE", 1, task="powering-off")) == Send(action=Action.DELETE)
    deleting = evidence(DELETE, may_delete=True, sent=(sent(Action.DELETE, seconds=0, request="r"),))
    assert isinstance(step(deleting, read("ACTIVE", 1, task="deleting")), Look)


def test_a_stuck_disposable_build_is_deleted() -> None:
    """BUILD can be neither stopped nor shelved."""
    start = evidence(disposable=True)
    assert isinstance(step(start, read("BUILD", 1, task="spawning"), now=600), Look)
    assert step(start, read("BUILD", 1, task="spawning"), now=601) == Send(action=Action.DELETE)


# --- silence and failure after a request ---


def shelved_once(outcome: Outcome = Outcome.ACCEPTED, request: str | None = "req-1") -> Evidence:
    return evidence(sent=(sent(Action.SHELVE, outcome, 0, request),))


def test_right_after_acceptance_nothing_is_judged() -> None:
    """The task may not be visible yet."""
    assert isinstance(step(shelved_once(), read("ACTIVE", 1), log=(entry("shelve", "req-1", 0),), now=29), Look)


def test_a_shelve_that_fails_in_the_log_is_sent_once_more() -> None:
    """The silent failure of PEERS.md case 19: ACTIVE, no task, and only the log tells."""
    log = (entry("shelve", "req-1", 0, failed=True),)
    assert step(shelved_once(), read("ACTIVE", 4), log=log) == Send(action=Action.SHELVE)


def test_silence_after_acceptance_is_a_failure_after_a_while() -> None:
    """No error entry, no task, still up."""
    assert step(shelved_once(), read("ACTIVE", 31), log=(entry("shelve", "req-1", 0),)) == Send(action=Action.SHELVE)


def test_silence_is_counted_from_the_last_task_seen() -> None:
    """One stale read after a task is no failure."""
    busy = after(
        shelved_once(), read("ACTIVE", 100, task="shelving"), read("ACTIVE", 101), log=(entry("shelve", "req-1"),)
    )
    assert isinstance(decide(busy, at(102)), Look)
    assert decide(busy, at(131)) == Send(action=Action.SHELVE)


def twice_failed(status: str, disposition: Disposition = SHELVE) -> object:
    start = evidence(
        disposition, sent=(sent(Action.SHELVE, seconds=0, request="r1"), sent(Action.SHELVE, seconds=40, request="r2"))
    )
    log = (entry("shelve", "r1", 0, failed=True), entry("shelve", "r2", 40, failed=True))
    return step(start, read(status, 50), log=log)


def test_after_two_failed_shelves_it_is_stopped() -> None:
    """Stopping halves the burn."""
    assert twice_failed("ACTIVE") == Send(action=Action.STOP)


def test_stopped_instead_of_shelved_is_not_verified() -> None:
    """SHUTOFF keeps the host and costs half on Jetstream2: a person is told."""
    assert twice_failed("SHUTOFF") == NotVerified(reason=Reason.STOPPED_ONLY, request_id=RequestId("r2"))


def test_a_suspended_instance_that_cannot_be_shelved_is_told() -> None:
    """It cannot be stopped either."""
    assert twice_failed("SUSPENDED") == NotVerified(reason=Reason.ACTION_FAILED, request_id=RequestId("r2"))


def test_a_stop_that_fails_twice_is_told() -> None:
    """There is no rung below stop for the disposition stop."""
    start = evidence(
        STOP, sent=(sent(Action.STOP, seconds=0, request="r1"), sent(Action.STOP, seconds=40, request="r2"))
    )
    assert step(start, read("ACTIVE", 80)) == NotVerified(reason=Reason.ACTION_FAILED, request_id=RequestId("r2"))


def test_forbidden_to_shelve_stops() -> None:
    """403: the cloud does not allow it; say so, and halve the burn."""
    start = shelved_once(Outcome.FORBIDDEN, None)
    assert step(start, read("ACTIVE", 1)) == Send(action=Action.STOP)
    assert step(start, read("SHUTOFF", 1)) == NotVerified(reason=Reason.STOPPED_ONLY)


def test_everything_forbidden_is_told() -> None:
    """Neither shelve nor stop."""
    start = evidence(sent=(sent(Action.SHELVE, Outcome.FORBIDDEN), sent(Action.STOP, Outcome.FORBIDDEN, 1)))
    assert step(start, read("ACTIVE", 2)) == NotVerified(reason=Reason.REFUSED)


def test_forbidden_to_delete_shelves() -> None:
    """The next best end."""
    start = evidence(DELETE, may_delete=True, sent=(sent(Action.DELETE, Outcome.FORBIDDEN),))
    assert step(start, read("ACTIVE", 2)) == Send(action=Action.SHELVE)


@pytest.mark.parametrize("outcome", [Outcome.CONFLICT, Outcome.BUSY, Outcome.UNAUTHORIZED, Outcome.NOT_FOUND])
def test_a_refusal_without_effect_is_read_again_and_then_repeated(outcome: Outcome) -> None:
    """409 is neither success nor failure."""
    start = shelved_once(outcome, None)
    assert isinstance(step(start, read("ACTIVE", 0.1), now=0.2), Look)
    assert step(start, read("ACTIVE", 6), now=6) == Send(action=Action.SHELVE)


def test_refusals_end_with_their_bound() -> None:
    """Not for ever."""
    assert step(shelved_once(Outcome.CONFLICT, None), read("ACTIVE", 600)) == NotVerified(reason=Reason.REFUSED)
    assert step(shelved_once(Outcome.UNAUTHORIZED, None), read("ACTIVE", 600)) == NotVerified(reason=Reason.CREDENTIALS)


def test_refusals_before_an_accepted_request_do_not_count() -> None:
    """The bound is on requests without effect in a row."""
    start = evidence(sent=(sent(Action.SHELVE, Outcome.CONFLICT, 0), sent(Action.SHELVE, seconds=550, request="r")))
    log = (entry("shelve", "r", 550, failed=True),)
    assert step(start, read("ACTIVE", 610), log=log) == Send(action=Action.SHELVE)


@pytest.mark.invariant(6)
def test_a_lost_shelve_without_an_entry_is_sent_again_only_after_looking() -> None:
    """Invariant 6: read first."""
    start = shelved_once(Outcome.AMBIGUOUS, None)
    assert isinstance(step(start, read("ACTIVE", 1)), Look)
    assert step(start, read("ACTIVE", 6)) == Send(action=Action.SHELVE)


def test_a_lost_shelve_with_an_entry_counts_as_accepted() -> None:
    """It is given the time of an accepted one, and is not repeated."""
    log = (entry("shelve", "req-lost", 0),)
    start = shelved_once(Outcome.AMBIGUOUS, None)
    assert isinstance(step(start, read("ACTIVE", 6), log=log), Look)
    assert step(start, read("ACTIVE", 31), log=log) == Send(action=Action.SHELVE)


# --- SHELVED without offloading ---


def test_shelved_is_waited_for_and_then_told() -> None:
    """Some clouds never offload; the profile may say that this is free."""
    first = after(evidence(), read("SHELVED", 1), log=DONE)
    assert isinstance(decide(first, at(120)), Look)
    assert decide(first, at(121)) == NotVerified(reason=Reason.NOT_OFFLOADED, request_id=RequestId("req-s"))


def test_shelved_without_a_host_is_corrupt() -> None:
    """Only the staff's shelve-offload helps (PEERS.md case 20)."""
    first = after(evidence(), read("SHELVED", 1, host=False), log=DONE)
    assert decide(first, at(121)) == NotVerified(reason=Reason.CORRUPT_SHELVE, request_id=RequestId("req-s"))


def test_where_the_profile_says_that_shelved_is_free_it_counts() -> None:
    """``shelved_is_down``."""
    start = evidence(shelved_is_down=True)
    assert isinstance(step(start, read("SHELVED", 1), read("SHELVED", 7), log=DONE), Verified)


# --- gone ---


def test_gone_without_our_delete_is_an_alarm() -> None:
    """404 on a resumed instance: somebody deleted it, or the credential is another project's."""
    assert isinstance(step(evidence(), read("ABSENT", 1)), Look)
    assert step(evidence(), read("ABSENT", 1), read("ABSENT", 7)) == NotVerified(reason=Reason.GONE)


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.AMBIGUOUS])
def test_our_delete_is_proven_by_two_404s(outcome: Outcome) -> None:
    """The id was read by this credential before, and the delete was ours."""
    start = evidence(DELETE, may_delete=True, sent=(sent(Action.DELETE, outcome, 0, "r"),))
    assert isinstance(step(start, read("ABSENT", 1)), Look)
    assert isinstance(step(start, read("ABSENT", 1), read("ABSENT", 7)), Verified)


def test_a_lost_delete_that_the_log_does_not_have_is_not_ours() -> None:
    """Somebody else deleted it; the log of a deleted instance can still be read."""
    start = evidence(DELETE, may_delete=True, sent=(sent(Action.DELETE, Outcome.AMBIGUOUS, 0),))
    reads = (read("ABSENT", 1), read("ABSENT", 7))
    assert step(start, *reads, log=(entry("create", "req-c", -9),)) == NotVerified(reason=Reason.GONE)
    ours = (entry("create", "req-c", -9), entry("delete", "req-d", 1))
    assert isinstance(step(start, *reads, log=ours), Verified)


def test_a_disposable_instance_may_end_deleted() -> None:
    """Whatever the job's disposition: nothing ran on it."""
    start = evidence(disposable=True, sent=(sent(Action.DELETE, seconds=0, request="r"),))
    assert isinstance(step(start, read("ABSENT", 1), read("ABSENT", 7)), Verified)


def test_a_delete_by_somebody_else_is_an_alarm_too() -> None:
    """We were to delete it, and had not yet asked."""
    assert step(evidence(DELETE, may_delete=True), read("ABSENT", 1), read("ABSENT", 7)) == NotVerified(
        reason=Reason.GONE
    )


def test_the_pace_of_looking_rises_to_its_limit() -> None:
    """0.5 s rising to 5 s, and never much more than a seventh of what has been waited: an end is seen soon after it came."""
    seen = evidence()
    paces = []
    for number in range(20):
        seen = after(seen, read("ACTIVE", number, task="x"))
        found = decide(seen, at(number))
        assert isinstance(found, Look)
        paces.append(found.after_s)
    assert paces == sorted(paces)
    assert all(pace <= BOUNDS.poll_first_s * 1.15 + sum(paces[:at]) / 6 for at, pace in enumerate(paces))
    assert paces[-1] == BOUNDS.poll_last_s
