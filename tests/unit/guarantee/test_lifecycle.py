"""A run's state follows from its journal alone, so that any process can continue it (invariant 10)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from facts import at, read

from jetrun.guarantee.lifecycle import Kind, Phase, Record, RunState, next_phase, replay
from jetrun.guarantee.power import Action, Disposition, RequestId, RunId
from jetrun.guarantee.receipt import Receipt
from jetrun.guarantee.requests import Outcome

RUN = RunId("run-1")
RESUME = {"instance": {"on": "my-instance"}}
LAUNCH = {"instance": {"launch": {"image": "linux"}}}

IDENTIFIED = (Kind.IDENTIFIED, {"cloud": "js2", "user_id": "ada", "project_id": "lab"})
RESOLVED = (Kind.RESOLVED, {"id": "i-1", "name": "my-instance", "project_id": "lab", "flavor": "m3.small", "vcpus": 2})
GRANTED = (Kind.LEASE_GRANTED, {"port_id": "p-1", "until_at": "2026-11-20T14:00:00+00:00"})
INTENT = (Kind.REQUEST_INTENDED, {"action": "unshelve", "at": at(3).isoformat()})
REPLY = (
    Kind.REQUEST_REPLIED,
    {"action": "unshelve", "at": at(3).isoformat(), "outcome": "accepted", "request_id": "req-1"},
)
UP = (Kind.UP, {"adopted": False, "request_ids": ["req-1"]})
REACHED = (Kind.REACHED, {"host": "127.0.0.2"})
ARMED = (Kind.SWITCH_ARMED, {"armed": True})
STAGED = (Kind.STAGED_IN, {})
INTENDED = (Kind.SCRIPT_INTENDED, {})
STARTED = (Kind.SCRIPT_STARTED, {"started_at": at(9).isoformat()})
ENDED = (Kind.SCRIPT_ENDED, {"exit_code": 0})
OUT = (Kind.STAGED_OUT, {"complete": True})
ENDING = (Kind.SHUTDOWN_BEGAN, {"disposition": "shelve"})
PROOF = Receipt(
    verified=True,
    disposition=Disposition.SHELVE,
    status="SHELVED_OFFLOADED",
    requested_at=at(20),
    verified_at=at(40),
    observations=(read("SHELVED_OFFLOADED", 30), read("SHELVED_OFFLOADED", 40)),
)
RECEIPT = (Kind.RECEIPT, PROOF.to_dict())
CLOSED = (Kind.CLOSED, {"exit_code": 0})

WHOLE = (
    IDENTIFIED, RESOLVED, (Kind.BASELINE, {"request_ids": ["req-0"]}), (Kind.LEASE_INTENDED, {"port_id": "p-1"}), GRANTED,
    INTENT, REPLY, UP, REACHED, ARMED, STAGED, INTENDED, STARTED, ENDED, OUT, ENDING, RECEIPT, (Kind.LEASE_ENDED, {}),
    (Kind.MAIL_QUEUED, {}), (Kind.REPORTED, {"exit_code": 0}), CLOSED,
)  # fmt: skip


def state(*records: tuple[Kind, dict[str, Any]], job: dict[str, Any] = RESUME) -> RunState:
    opened = Record(at=at(0), kind=Kind.OPENED, data={"job": job})
    rest = [Record(at=at(number + 1), kind=kind, data=data) for number, (kind, data) in enumerate(records)]
    return replay(RUN, [opened, *rest])


@pytest.mark.parametrize(
    ("upto", "phase"),
    [
        (None, Phase.PREPARE),
        (IDENTIFIED, Phase.PREPARE),
        (RESOLVED, Phase.ACQUIRE),
        (GRANTED, Phase.ACQUIRE),
        (INTENT, Phase.ACQUIRE),
        (REPLY, Phase.ACQUIRE),
        (UP, Phase.CONNECT),
        (REACHED, Phase.CONNECT),
        (ARMED, Phase.STAGE_IN),
        (STAGED, Phase.EXECUTE),
        (INTENDED, Phase.EXECUTE),
        (STARTED, Phase.EXECUTE),
        (ENDED, Phase.STAGE_OUT),
        (OUT, Phase.SHUTDOWN),
        (ENDING, Phase.SHUTDOWN),
        (RECEIPT, Phase.REPORT),
        (CLOSED, Phase.CLOSED),
    ],
)
@pytest.mark.invariant(10)
def test_each_prefix_of_a_journal_has_its_next_phase(upto: Any, phase: Phase) -> None:
    """A crash after any record continues where the facts say."""
    count = 0 if upto is None else WHOLE.index(upto) + 1
    assert next_phase(state(*WHOLE[:count])) is phase


@pytest.mark.parametrize("count", range(len(WHOLE)))
@pytest.mark.parametrize("ending", [(Kind.STOP_ASKED, {"cause": "SIGTERM"}), (Kind.TROUBLE, {"exit_code": 125})])
@pytest.mark.invariant(4)
def test_no_end_of_a_run_goes_around_the_shutdown(count: int, ending: Any) -> None:
    """Whatever fails after whatever record, the run passes through shutdown before it reports."""
    one = state(*WHOLE[:count], ending)
    if one.receipt is None and one.exit_code is None:
        assert next_phase(one) in {Phase.STAGE_OUT, Phase.SHUTDOWN}
    if one.script_intended and one.outputs is None:
        assert next_phase(one) is Phase.STAGE_OUT


def test_a_launch_needs_no_resolved_instance() -> None:
    """It will be made."""
    assert next_phase(state(IDENTIFIED, job=LAUNCH)) is Phase.ACQUIRE


def test_an_intended_request_without_a_reply_may_have_been_sent() -> None:
    """The process died between the journal and the answer: ambiguous until observed."""
    one = state(IDENTIFIED, RESOLVED, GRANTED, INTENT)
    assert [(s.action, s.outcome, s.at) for s in one.intended] == [(Action.UNSHELVE, Outcome.AMBIGUOUS, at(3))]
    assert one.spending_possible
    answered = state(IDENTIFIED, RESOLVED, GRANTED, INTENT, REPLY)
    assert answered.intended == ()
    assert RequestId("req-1") in answered.known


def test_nothing_spends_before_the_first_request() -> None:
    """A run refused before that leaves the instance untouched."""
    assert not state(IDENTIFIED, RESOLVED, GRANTED).spending_possible
    refused = (Kind.REQUEST_REPLIED, {**REPLY[1], "outcome": "forbidden", "request_id": None})
    assert not state(IDENTIFIED, RESOLVED, GRANTED, INTENT, refused).spending_possible


def test_a_taken_over_instance_is_ours_once_it_was_looked_into() -> None:
    """Before that it is somebody's, and is left as it was."""
    adopted = (Kind.UP, {"adopted": True, "request_ids": ["req-bob"]})
    assert not state(IDENTIFIED, RESOLVED, GRANTED, adopted).spending_possible
    assert state(IDENTIFIED, RESOLVED, GRANTED, adopted, REACHED).spending_possible


def test_a_create_may_spend_until_it_is_refused() -> None:
    """A lost create reply may have made an instance."""
    created = (Kind.CREATE_INTENDED, {"port_id": "p", "flavor": "m3.small", "vcpus": 2})
    one = state(
        IDENTIFIED, (Kind.PORT_INTENDED, {"name": "n"}), (Kind.PORT_MADE, {"port_id": "p"}), created, job=LAUNCH
    )
    assert one.spending_possible
    refused = state(IDENTIFIED, created, (Kind.CREATE_REFUSED, {"what": "quota"}), job=LAUNCH)
    assert not refused.spending_possible
    made = state(
        IDENTIFIED,
        created,
        (Kind.CREATED, {**RESOLVED[1], "request_id": "req-c"}),
        (Kind.FLOATING_IP_INTENDED, {}),
        (Kind.FLOATING_IP_MADE, {"id": "f", "ip": "127.21.0.9"}),
        job=LAUNCH,
    )
    assert made.launched
    assert made.floating_ip == {"id": "f", "ip": "127.21.0.9"}
    assert RequestId("req-c") in made.known


def test_outputs_count_as_collected_only_when_they_are() -> None:
    """Invariant 8 rests on it."""
    assert state(IDENTIFIED).outputs_collected
    assert not state(IDENTIFIED, INTENDED).outputs_collected
    assert not state(IDENTIFIED, INTENDED, (Kind.STAGED_OUT, {"complete": False})).outputs_collected
    assert state(IDENTIFIED, INTENDED, ENDED, OUT).outputs_collected
    assert not state(IDENTIFIED, INTENDED, OUT).outputs_collected, "nobody saw its end: it may still write"
    running = (Kind.SCRIPT_ENDED, {"exit_code": None, "state": "running"})
    assert not state(IDENTIFIED, INTENDED, running, OUT).outputs_collected


def test_the_first_trouble_and_the_first_cause_stay() -> None:
    """A later error never hides an earlier one."""
    one = state((Kind.TROUBLE, {"code": "a"}), (Kind.TROUBLE, {"code": "b"}))
    assert one.trouble == {"code": "a"}
    two = state((Kind.STOP_ASKED, {"cause": "SIGINT"}), (Kind.STOP_ASKED, {"cause": "SIGTERM"}))
    assert two.stop_cause == "SIGINT"


def test_a_new_shutdown_opens_a_closed_run_again() -> None:
    """``verify`` and ``continue`` go up the ladder once more after a receipt that proved nothing."""
    again = state(*WHOLE, ENDING)
    assert next_phase(again) is Phase.SHUTDOWN
    assert again.receipt is None


def test_since_when_nothing_is_proven_is_kept_until_it_is_and_not_beyond() -> None:
    """Two tries in vain are one time without proof; what was proven once and goes up the ladder again is another matter."""
    unproven = (Kind.RECEIPT, replace(PROOF, verified=False, verified_at=None, reason="stuck").to_dict())
    tried = state(*WHOLE[:-6], ENDING, unproven, ENDING, unproven)
    first = state(*WHOLE[:-6], ENDING, unproven)
    assert first.unproven_since_at is not None
    assert tried.unproven_since_at == first.unproven_since_at
    healed = state(*WHOLE[:-6], ENDING, unproven, ENDING, RECEIPT)
    assert healed.unproven_since_at == first.unproven_since_at
    assert state(*WHOLE[:-6], ENDING, unproven, ENDING, RECEIPT, ENDING).unproven_since_at is None
    assert state(*WHOLE[:-6], ENDING, RECEIPT).unproven_since_at is None
    assert state(*WHOLE[:-6], ENDING, unproven, (Kind.COLLECT_ASKED, {})).unproven_since_at is None


def test_an_untouched_instance_is_reported_without_a_receipt() -> None:
    """Nothing was asked of it."""
    assert next_phase(state(IDENTIFIED, ENDING, (Kind.UNTOUCHED, {}))) is Phase.REPORT


def test_phases_and_extensions_are_kept() -> None:
    """For the report, and for the deadline."""
    one = state((Kind.PHASE, {"phase": "acquire"}), GRANTED, (Kind.EXTENDED, {"until_at": "later"}), (Kind.OWNED, {}))
    assert one.phases == ((Phase.ACQUIRE, at(1)),)
    assert one.lease == {"until_at": "later"}


def test_the_credential_of_a_self_shelve_is_known_until_it_is_removed() -> None:
    """From the intent on: what may have been made must be looked for and taken back."""
    assert state((Kind.CREDENTIAL_INTENDED, {"name": "n"})).credential == {"name": "n"}
    made = state((Kind.CREDENTIAL_INTENDED, {"name": "n"}), (Kind.CREDENTIAL_MADE, {"name": "n", "id": "c"}))
    assert made.credential == {"name": "n", "id": "c"}
    assert state((Kind.CREDENTIAL_MADE, {"name": "n"}), (Kind.CREDENTIAL_REMOVED, {})).credential is None


def test_collecting_opens_an_ended_run_at_acquire_with_a_lease_and_a_switch_of_its_own() -> None:
    """The outputs did not come: the instance is started once more for them, and brought down again."""
    asked = state(*WHOLE, (Kind.COLLECT_ASKED, {}))
    assert next_phase(asked) is Phase.ACQUIRE
    assert not asked.lease_granted
    assert asked.sent == ()
    assert RequestId("req-1") in asked.known, "what the run did before is still its own"
    assert next_phase(state(*WHOLE, (Kind.COLLECT_ASKED, {}), GRANTED, UP)) is Phase.CONNECT
    assert next_phase(state(*WHOLE, (Kind.COLLECT_ASKED, {}), GRANTED, UP, REACHED, ARMED)) is Phase.STAGE_OUT
    failed = state(*WHOLE, (Kind.COLLECT_ASKED, {}), GRANTED, (Kind.TROUBLE, {"exit_code": 120}))
    assert next_phase(failed) is Phase.SHUTDOWN


def test_a_planned_launch_knows_its_price() -> None:
    """For what the run costs at worst."""
    planned = state(IDENTIFIED, (Kind.PLANNED, {"flavor": "m3.tiny", "vcpus": 1}), job=LAUNCH)
    assert (planned.flavor, planned.vcpus) == ("m3.tiny", 1)


@pytest.mark.parametrize("records", [[], [Record(at=at(0), kind=Kind.CLOSED, data={"exit_code": 0})]])
def test_a_journal_that_does_not_open_a_run_is_refused(records: list[Record]) -> None:
    """Nothing sensible could follow."""
    with pytest.raises(ValueError, match="journal"):
        replay(RUN, records)
