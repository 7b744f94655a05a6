"""The lease as text on a port: what is written is what is read, and nobody's words are lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from facts import T0
from hypothesis import given
from hypothesis import strategies as st

from jetrun.guarantee.lease import (
    MAX_TEXT,
    MIRRORED_REQUESTS,
    NO_START,
    Lease,
    LeaseState,
    extended,
    from_text,
    is_expired,
    mirrored,
    short,
    to_text,
)
from jetrun.guarantee.power import Disposition, RequestId, RunId


def lease(**changes: object) -> Lease:
    values: dict[str, object] = {
        "run": RunId("20261120T1200-ab12"),
        "state": LeaseState.GRANTED,
        "generation": 1795000000,
        "until_at": T0 + timedelta(hours=2),
        "disposition": Disposition.SHELVE,
        "owner": "ada@lab",
        "user_id": "0123456789abcdef0123456789abcdef",
    }
    return Lease(**{**values, **changes})  # type: ignore[arg-type]


@given(
    state=st.sampled_from(LeaseState),
    disposition=st.sampled_from(Disposition),
    outputs=st.booleans(),
    until=st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001
    generation=st.integers(0, 10**11),
    previous=st.text(st.characters(codec="utf-8"), max_size=40),
)
def test_what_is_written_is_what_is_read(
    *, state: LeaseState, disposition: Disposition, outputs: bool, until: datetime, generation: int, previous: str
) -> None:
    """The round trip keeps every field, and a person's words behind it."""
    written = lease(
        state=state,
        disposition=disposition,
        outputs_collected=outputs,
        until_at=until.replace(microsecond=0, tzinfo=UTC),
        generation=generation,
        previous=previous,
    )
    assert from_text(to_text(written)) == written


@given(owner=st.text(max_size=200), previous=st.text(max_size=400))
def test_the_text_fits_a_port_description_whatever_the_owner(owner: str, previous: str) -> None:
    """Neutron refuses more than 255 characters, and a refused lease would refuse the run."""
    text = to_text(lease(owner=owner, previous=previous))
    assert len(text) <= MAX_TEXT
    read = from_text(text)
    assert read is not None
    assert read.until_at == lease().until_at


@pytest.mark.parametrize("text", ["", "my port", "jetrun box in the corner", "jetrunner"])
def test_a_persons_words_are_no_lease(text: str) -> None:
    """Somebody's own description must not stop a run."""
    assert from_text(text) is None


@pytest.mark.parametrize("text", ["jetrun2 granted", "jetrun1 granted run=x", "jetrun1 "])
def test_a_lease_that_cannot_be_read_is_an_error(text: str) -> None:
    """A later version's lease, or a damaged one, is respected, not overwritten."""
    with pytest.raises(ValueError, match="not a lease"):
        from_text(text)


def test_a_lease_expires_only_past_its_margin() -> None:
    """The margin pays for clock skew."""
    one = lease()
    assert not is_expired(one, one.until_at + timedelta(seconds=120), margin_s=120)
    assert is_expired(one, one.until_at + timedelta(seconds=121), margin_s=120)


def test_extending_never_shortens_and_clears_a_reapers_mark() -> None:
    """``extend`` answers a reaper that has already marked the lease."""
    one = lease(state=LeaseState.REAPING)
    assert extended(one, one.until_at - timedelta(hours=1)).until_at == one.until_at
    assert extended(one, one.until_at + timedelta(hours=1)).state is LeaseState.GRANTED


def test_an_ending_lease_is_not_extended() -> None:
    """What is being shut down cannot be kept up by a late request."""
    with pytest.raises(ValueError, match="ending"):
        extended(lease(state=LeaseState.ENDING), T0)


def test_the_runs_own_start_is_named_by_the_beginning_of_its_request_id() -> None:
    named = lease(start=short(RequestId("req-3f2a9c1b-0000-4000-8000-000000000000")))
    assert " start=3f2a9c1b " in to_text(named)
    assert from_text(to_text(named)) == named
    assert from_text(to_text(lease(start=NO_START, outputs_collected=True))) == lease(
        start=NO_START, outputs_collected=True
    )


def test_a_lease_of_before_starts_were_named_is_read() -> None:
    assert " start=" not in to_text(lease())
    assert from_text(to_text(lease())) == lease()


def test_what_people_see_in_the_web_page_fits_and_names_the_newest_requests():
    asked = [RequestId(f"req-{number:036}") for number in range(9)]
    items = mirrored(lease(), asked)
    assert items["jetrun_requests"].split(",") == asked[-MIRRORED_REQUESTS:]
    assert all(len(value) <= 255 for value in items.values())
    assert items["jetrun_generation"] == "1795000000"
    assert "jetrun_requests" not in mirrored(lease())
