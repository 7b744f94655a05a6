"""Whose start it is, and when a lost request can no longer surprise us."""

from __future__ import annotations

from facts import at, entry, sent

from jetrun.guarantee.lease import NO_START
from jetrun.guarantee.power import Action, RequestId
from jetrun.guarantee.requests import Outcome, entry_of, is_settled, known_without_journal, newest, somebody_elses_start

MINE = frozenset({RequestId("req-mine")})


def whose(*log: object) -> object:
    return somebody_elses_start(log, known=MINE, project_id="lab")  # type: ignore[arg-type]


def test_a_start_that_this_run_recorded_is_its_own() -> None:
    """The run's own unshelve is not a person."""
    assert whose(entry("unshelve", "req-mine", 5)) is None


def test_a_later_start_by_a_person_is_found() -> None:
    """Somebody unshelved it for their own work."""
    other = entry("unshelve", "req-other", 9, user="bob")
    assert whose(entry("unshelve", "req-mine", 5), other) == other


def test_the_making_of_a_launched_instance_is_its_runs_though_the_answer_was_lost() -> None:
    """Of one that the run did not make, it is a person's."""
    log = [entry("create", "req-lost", 9, user="ada")]
    assert somebody_elses_start(log, known=MINE, project_id="lab", launched=True) is None
    assert somebody_elses_start(log, known=MINE, project_id="lab") == log[0]
    started = [entry("start", "req-other", 20, user="bob"), *log]
    assert somebody_elses_start(started, known=MINE, project_id="lab", launched=True) == started[0]


def test_an_earlier_start_does_not_matter() -> None:
    """Only the newest start says whose the instance is."""
    assert whose(entry("start", "req-old", 1), entry("unshelve", "req-mine", 5)) is None


def test_the_cloud_and_administrators_are_not_persons() -> None:
    """A host reboot or a migration starts instances without a user, or from another project."""
    assert whose(entry("reboot", "req-1", 9, user=None)) is None
    assert whose(entry("start", "req-1", 9, project="admin")) is None
    assert whose(entry("start", "req-1", 9, project=None)) is not None


def test_a_failed_start_is_nobodys() -> None:
    """A bounced unshelve did not start anything."""
    assert whose(entry("unshelve", "req-1", 9, failed=True)) is None


def test_newest_of_an_empty_log_is_none() -> None:
    """Databases are purged."""
    assert newest((), {"start"}) is None


def test_at_the_same_second_a_start_counts_as_later() -> None:
    """The log has whole seconds; when in doubt the instance is up."""
    log = (entry("shelve", "req-1", 5), entry("unshelve", "req-2", 5))
    assert newest(log, {"shelve", "unshelve"}) == log[1]


def test_an_answered_request_is_found_by_its_id() -> None:
    """Another entry of the same action is not taken for it."""
    log = (entry("stop", "req-a", 1), entry("stop", "req-b", 2))
    assert entry_of(sent(Action.STOP, request="req-a"), log, known=MINE) == log[0]
    assert entry_of(sent(Action.STOP, request="req-c"), log, known=MINE) is None


def test_a_lost_request_is_the_newest_unknown_entry_of_its_action() -> None:
    """The reply was lost, so its id is known from the log alone."""
    log = (entry("stop", "req-mine", 1), entry("shelve", "req-x", 2), entry("stop", "req-b", 3))
    lost = sent(Action.STOP, Outcome.AMBIGUOUS)
    assert entry_of(lost, log, known=MINE) == log[2]
    assert entry_of(sent(Action.START, Outcome.AMBIGUOUS), log, known=MINE) is None


def settled(log: tuple[object, ...], seconds: float) -> bool:
    lost = sent(Action.UNSHELVE, Outcome.AMBIGUOUS)
    return is_settled(lost, log, known=MINE, now_at=at(seconds), settle_s=180)  # type: ignore[arg-type]


def test_a_lost_request_without_an_entry_settles_with_time() -> None:
    """It never arrived, but only time can say so."""
    assert not settled((), 179)
    assert settled((), 180)


def test_a_lost_request_with_an_entry_settles_when_it_ends() -> None:
    """Finished or failed: nothing more will come of it."""
    assert not settled((entry("unshelve", "r", finished=False),), 500)
    assert settled((entry("unshelve", "r", finished=True),), 1)
    assert settled((entry("unshelve", "r", finished=False, failed=True),), 1)


def test_where_events_are_hidden_time_decides() -> None:
    """Some clouds do not show the events of an action."""
    assert not settled((entry("unshelve", "r", finished=None),), 1)
    assert settled((entry("unshelve", "r", finished=None),), 180)
    assert settled((entry("unshelve", "r", finished=None, failed=True),), 1)


def test_without_a_journal_the_first_start_of_a_second_is_the_runs_own() -> None:
    """A person stopped and started it within the second of the run's own unshelve; the log, newest first, has the order."""
    log = (entry("start", "req-person", 5), entry("stop", "req-off", 5), entry("unshelve", "req-own", 5))
    assert known_without_journal(log, granted_at=at(5), launched=False) == {"req-own"}
    assert somebody_elses_start(log, known=frozenset({RequestId("req-own")}), project_id="lab") == log[0]


def test_without_a_journal_what_was_started_before_the_lease_is_nobodys_later_start() -> None:
    """The lease has whole seconds, so a start less than one before it may be the run's."""
    log = (entry("unshelve", "req-own", 9), entry("start", "req-old", 3), entry("create", "req-made", 0))
    assert known_without_journal(log, granted_at=at(8), launched=False) == {"req-made", "req-old", "req-own"}


def test_the_making_is_the_runs_own_start_only_where_the_run_made_the_instance() -> None:
    """Made, shelved and taken by a run within a second."""
    log = (entry("unshelve", "req-next", 1), entry("create", "req-made", 0))
    assert known_without_journal(log, granted_at=at(0), launched=True) == {"req-made"}
    assert known_without_journal(log, granted_at=at(0), launched=False) == {"req-made", "req-next"}


def test_the_start_that_the_lease_names_is_the_runs_own_whatever_came_first() -> None:
    """A person was quicker than the run's own start, or came long after it."""
    log = (
        entry("start", "req-aabbccdd-2", 400),
        entry("unshelve", "req-11223344-1", 9),
        entry("create", "req-made", 0),
    )
    own = known_without_journal(log, granted_at=at(8), launched=False, start="11223344")
    assert own == {"req-made", "req-11223344-1"}
    assert somebody_elses_start(log, known=own, project_id="lab") == log[0]


def test_of_an_instance_that_was_taken_over_running_every_later_start_is_a_persons() -> None:
    log = (entry("start", "req-person", 9), entry("create", "req-made", 0))
    assert known_without_journal(log, granted_at=at(8), launched=False, start=NO_START) == {"req-made"}


def test_a_start_long_after_a_lease_that_names_none_is_a_persons() -> None:
    """The run died between its lease and its start; no start is sent under a lease that is older than a minute."""
    for late, own in ((300, {"req-made", "req-start"}), (301, {"req-made"})):
        log = (entry("start", "req-start", 8 + late), entry("create", "req-made", 0))
        assert known_without_journal(log, granted_at=at(8), launched=False) == own


def test_a_lost_request_is_no_entry_of_another_time() -> None:
    """A day later a person has started it; or did so long before, unseen."""
    lost = sent(Action.START, Outcome.AMBIGUOUS)
    assert entry_of(lost, (entry("start", "req-b", 240),), known=MINE) is not None
    assert entry_of(lost, (entry("start", "req-b", 86400),), known=MINE) is None
    assert entry_of(lost, (entry("start", "req-b", -61),), known=MINE) is None
