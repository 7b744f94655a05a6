"""What counts as down. A mistake here is the whole promise broken, so unknown words are tried too."""

from __future__ import annotations

import pytest
from facts import read
from hypothesis import given
from hypothesis import strategies as st

from jetrun.guarantee.power import Disposition, Observation, is_down

DOWN = {
    ("SHUTOFF", Disposition.STOP),
    ("SHELVED", Disposition.STOP),
    ("SHELVED_OFFLOADED", Disposition.STOP),
    ("SHELVED_OFFLOADED", Disposition.SHELVE),
    ("ABSENT", Disposition.DELETE),
}
STATUSES = [
    "ACTIVE", "SHUTOFF", "SHELVED", "SHELVED_OFFLOADED", "SUSPENDED", "PAUSED", "ERROR", "BUILD", "UNKNOWN", "DELETED",
    "SOFT_DELETED", "RESCUE", "VERIFY_RESIZE", "REBOOT", "HARD_REBOOT", "MIGRATING", "PASSWORD", "REBUILD", "RESIZE", "ABSENT",
]  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("disposition", list(Disposition))
def test_only_the_allow_list_is_down(status: str, disposition: Disposition) -> None:
    """Every status against every disposition: down is what the table says and nothing else."""
    assert is_down(read(status), disposition) == ((status, disposition) in DOWN)


@pytest.mark.parametrize("disposition", list(Disposition))
def test_a_task_in_progress_is_never_down(disposition: Disposition) -> None:
    """SHELVED_OFFLOADED with task unshelving is on its way up (seen on Nova 26.2)."""
    for status in STATUSES:
        assert not is_down(read(status, task="unshelving"), disposition, shelved_is_down=True)


def test_shelved_counts_only_where_the_profile_says_so() -> None:
    """SHELVED can still hold the host's resources."""
    assert not is_down(read("SHELVED"), Disposition.SHELVE)
    assert is_down(read("SHELVED"), Disposition.SHELVE, shelved_is_down=True)


@given(status=st.text(), vm_state=st.one_of(st.none(), st.text()), power=st.one_of(st.none(), st.integers()))
def test_words_that_nova_may_add_later_are_up(status: str, vm_state: str | None, power: int | None) -> None:
    """An unknown word never proves anything, whatever power_state says."""
    known = {"SHUTOFF", "SHELVED", "SHELVED_OFFLOADED", "ABSENT"}
    one = Observation(at=read("ACTIVE").at, status=status, vm_state=vm_state, power_state=power)
    if status not in known:
        assert not any(is_down(one, disposition, shelved_is_down=True) for disposition in Disposition)


def test_status_and_vm_state_must_agree() -> None:
    """A status without its vm_state is a reading we do not understand."""
    odd = Observation(at=read("ACTIVE").at, status="SHELVED_OFFLOADED", vm_state="active")
    assert not is_down(odd, Disposition.SHELVE)
