"""A fault strikes the calls it names, as often as it says, in the order in which faults were set."""

from __future__ import annotations

import pytest

from jetrun.devcloud.faults import AFTER, BEHAVIOURS, NAMES, REFUSALS, TRANSPORT, FaultBook, Outcome

WANTED = {
    "refuse-401",
    "refuse-403",
    "refuse-409",
    "refuse-429",
    "refuse-500",
    "refuse-502",
    "refuse-503",
    "refuse-504",
    "hang",
    "close",
    "apply-then-500",
    "apply-then-502",
    "apply-then-504",
    "lost-reply",
    "slow",
    "stale-read",
    "shelve-fails-silently",
    "never-offloads",
    "unshelve-bounces",
    "stuck-task",
    "ssh-silent",
    "ssh-drop",
    "ssh-refused",
    "late-active-after-failed-create",
    "token-expires-early",
    "build-error",
    "mail-refused",
    "mail-hangs",
    "mail-disconnects",
    "guest-poweroff",
}


@pytest.fixture
def book() -> FaultBook:
    return FaultBook()


def test_every_fault_that_the_issue_names_is_there():
    assert set(NAMES) >= WANTED
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_strikes_once_and_is_gone(book: FaultBook, name):
    fault = book.add(name)
    point = fault.on.replace("*", "show")
    assert book.take(point, *NAMES) is not None
    assert book.take(point, *NAMES) is None
    assert book.all() == []


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_behaviour_never_takes_the_place_of_an_outcome_of_the_call(book: FaultBook, name):
    fault = book.add(name, on="nova.*")
    assert book.outcome("nova.shelve") == Outcome()
    assert book.all() == [fault]


def test_a_fault_with_a_count_strikes_that_often(book: FaultBook):
    book.add("refuse-500", on="nova.show", times=3)
    assert [book.outcome("nova.show").refuse for _ in range(4)] == [500, 500, 500, None]


def test_a_negative_count_is_for_ever(book: FaultBook):
    book.add("refuse-503", on="nova.show", times=-1)
    assert {book.outcome("nova.show").refuse for _ in range(50)} == {503}
    assert len(book.all()) == 1


def test_skip_lets_the_first_calls_pass(book: FaultBook):
    book.add("refuse-500", on="nova.show", skip=2)
    assert [book.outcome("nova.show").refuse for _ in range(4)] == [None, None, 500, None]


def test_other_calls_neither_see_a_fault_nor_use_it_up(book: FaultBook):
    book.add("refuse-500", on="nova.s*")
    assert book.outcome("keystone.auth") == Outcome()
    assert book.outcome("nova.create") == Outcome()
    assert book.outcome("nova.shelve").refuse == 500


def test_faults_strike_in_the_order_in_which_they_were_set(book: FaultBook):
    book.add("refuse-401", on="nova.show")
    book.add("refuse-502", on="nova.*")
    assert [book.outcome("nova.show").refuse for _ in range(3)] == [401, 502, None]


def test_one_fault_can_be_cleared_by_its_number(book: FaultBook):
    first, second = book.add("refuse-401"), book.add("refuse-403")
    book.clear(first.id)
    assert book.all() == [second]
    book.clear()
    assert book.all() == []


def test_an_unknown_name_is_refused_with_the_names_there_are(book: FaultBook):
    with pytest.raises(ValueError, match="stale-read"):
        book.add("stale")
    assert book.all() == []


@pytest.mark.parametrize(("name", "status"), REFUSALS.items())
def test_a_refusal_has_no_effect(book: FaultBook, name, status):
    book.add(name)
    assert book.outcome("nova.show") == Outcome(refuse=status)


@pytest.mark.parametrize(("name", "status"), AFTER.items())
def test_apply_then_fail_has_its_effect_first(book: FaultBook, name, status):
    book.add(name)
    assert book.outcome("nova.show") == Outcome(fail_after=status)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hang", Outcome(hang_s=3.0, close=True)),
        ("close", Outcome(close=True)),
        ("lost-reply", Outcome(lose=True)),
        ("slow", Outcome(delay_s=3.0)),
        ("stale-read", Outcome(stale=True)),
    ],
)
def test_a_fault_of_the_way_is_what_it_is_called(book: FaultBook, name, expected):
    assert name in TRANSPORT
    book.add(name, seconds=3.0)
    assert book.outcome("nova.show") == expected


def test_faults_can_be_told_as_plain_data(book: FaultBook):
    book.add("slow", on="nova.*", times=2, skip=1, seconds=0.5)
    assert book.to_list() == [{"id": 1, "name": "slow", "on": "nova.*", "times": 2, "skip": 1, "seconds": 0.5}]
