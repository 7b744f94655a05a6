"""The ladder, model-checked: it always ends, and it never says verified of an instance that is up. And the checker can fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from model_check import Check, Result, table
from model_starts import SETTINGS

from jetrun.guarantee import evidence, ladder
from jetrun.guarantee.ladder import Reason
from jetrun.guarantee.power import Disposition, Observation, is_down

FLOORS = {"delete": (1000, 400), "delete, disposable": (1000, 400)}
"""The least number of states from every start, and with a surprise: about three quarters of what there was when this was written."""
FLOOR = (2000, 900)


@cache
def checked(setting: str, surprises: int) -> Result:
    return Check(setting, surprises, usual=surprises > 0).run()


@pytest.mark.invariant(3)
@pytest.mark.invariant(4)
@pytest.mark.parametrize("surprises", [0, 1])
@pytest.mark.parametrize("setting", list(SETTINGS))
def test_every_state_leads_to_a_verdict_and_no_verdict_is_wrong(
    setting: str, surprises: int, record_property: Callable[[str, object], None]
) -> None:
    """The promise of phase ``shutdown``, in every state that the model and the ladder can reach together."""
    result = checked(setting, surprises)
    print(table([result]))  # noqa: T201 - shown with -s and in a failure
    record_property("states", result.states)
    assert result.unsound == []
    assert result.mute == []
    assert result.unwritable == []
    assert result.endless == 0
    assert result.states >= FLOORS.get(setting, FLOOR)[surprises]
    assert result.verdicts["verified"] > 0


@pytest.mark.invariant(3)
def test_a_disposable_instances_verified_can_be_written_down() -> None:
    """A receipt that raises ends the shutdown as jetrun's own failure: trouble about an instance that is gone."""
    assert checked("stop, disposable", 1).unwritable == []


def test_every_reason_is_reached() -> None:
    """A reason that no state leads to would be checked by nothing."""
    found = {word for surprises in (0, 1) for word in checked("shelve", surprises).verdicts}
    assert found == {*Reason, "verified"} - {Reason.INTERNAL}


# --- the checker can fail ---


def test_a_ladder_that_takes_active_for_down_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else "0 unsound" would say nothing."""

    def blind(read: Observation, disposition: Disposition, *, shelved_is_down: bool = False) -> bool:
        up = read.status == "ACTIVE" and read.task_state is None
        return up or is_down(read, disposition, shelved_is_down=shelved_is_down)

    monkeypatch.setattr(evidence, "is_down", blind)
    assert Check("stop", 0).run().unsound


def test_a_ladder_that_is_content_with_one_read_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receipt refuses it."""
    monkeypatch.setattr(ladder, "_has_two_reads", lambda seen: bool(seen.proof))
    assert Check("stop", 0, usual=True).run().unwritable


def test_a_ladder_that_forgets_a_lost_start_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is down at both reads, and comes up afterwards."""
    monkeypatch.setattr(ladder, "is_settled", lambda *given, **more: True)
    found = Check("stop", 0).run().unsound
    assert any("a lost unshelve" in story for story in found)


def test_a_ladder_that_takes_one_404_for_a_deletion_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the same read, with a forged gap: the model knows that the instance is there."""
    monkeypatch.setattr(ladder, "_has_two_reads", lambda seen: bool(seen.proof))
    monkeypatch.setattr("model_check.Receipt", lambda **fields: None)
    found = Check("delete", 1, usual=True).run().unsound
    assert any("a false 404" in story for story in found)


def test_a_ladder_that_waits_for_ever_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that sticks has no end of its own."""
    monkeypatch.setattr(ladder, "_budget", lambda bounds, action: float("inf"))
    result = Check("stop", 0, usual=True).run()
    assert result.endless > 0
    assert result.longest == 0
