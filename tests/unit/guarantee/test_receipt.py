"""A receipt cannot say more than its evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from facts import at, read

from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.power import Disposition, Observation, RequestId
from jetrun.guarantee.receipt import Receipt, from_dict, summary


def receipt(*reads: Observation, verified: bool = True, **changes: object) -> Receipt:
    values: dict[str, object] = {
        "verified": verified,
        "disposition": Disposition.SHELVE,
        "status": reads[-1].status if reads else None,
        "requested_at": at(0),
        "verified_at": reads[-1].at if reads else None,
        "request_ids": (RequestId("req-1"),),
        "observations": tuple(reads),
    }
    return Receipt(**{**values, **changes})  # type: ignore[arg-type]


PROOF = (read("SHELVED_OFFLOADED", 1), read("SHELVED_OFFLOADED", 6.5))


@pytest.mark.invariant(3)
@pytest.mark.parametrize(
    "reads",
    [
        (),
        (read("SHELVED_OFFLOADED", 1),),
        (read("SHELVED_OFFLOADED", 1), read("SHELVED_OFFLOADED", 5.9)),
        (read("ACTIVE", 1), read("SHELVED_OFFLOADED", 9)),
        (read("SHELVED_OFFLOADED", 1), read("SHUTOFF", 9)),
        (read("SHELVED_OFFLOADED", 1), read("SHELVED_OFFLOADED", 9, task="unshelving")),
        (read("SHELVED", 1), read("SHELVED", 9)),
    ],
)
def test_verified_without_proof_does_not_construct(reads: tuple[Observation, ...]) -> None:
    """Invariant 3: an illegal state cannot be built."""
    with pytest.raises(ValueError, match=r"."):
        receipt(*reads)


@pytest.mark.invariant(3)
def test_two_reads_at_one_moment_are_one() -> None:
    """A gap of nothing would make a proof of one read."""
    with pytest.raises(ValueError, match="apart"):
        receipt(read("SHELVED_OFFLOADED", 1), read("SHELVED_OFFLOADED", 1), gap_s=0.0)
    with pytest.raises(ValueError, match="verify_gap_s"):
        Bounds(verify_gap_s=0)


def test_shelved_proves_where_the_profile_says_so() -> None:
    """The profile travels with the receipt, so that it can be read back later."""
    one = receipt(read("SHELVED", 1), read("SHELVED", 9), shelved_is_down=True)
    assert from_dict(one.to_dict()) == replace(
        one, observations=tuple(replace(r, locked=None) for r in one.observations)
    )


def test_a_receipt_survives_json() -> None:
    """The journal keeps what the user was told."""
    one = receipt(*PROOF, notes=("a note",))
    back = from_dict(one.to_dict())
    assert back.to_dict() == one.to_dict()
    assert back.verified


def test_a_forged_receipt_does_not_read_back() -> None:
    """A damaged journal cannot turn into a proof."""
    data = receipt(*PROOF).to_dict()
    data["observations"][1]["status"] = "ACTIVE"
    with pytest.raises(ValueError, match="does not prove"):
        from_dict(data)


def test_the_summary_says_which_reads_prove_it() -> None:
    """One line that a person can check."""
    assert summary(receipt(*PROOF)) == "verified down: SHELVED_OFFLOADED, read at 12:00:01Z and 12:00:06Z"
    gone = receipt(read("ABSENT", 1), read("ABSENT", 7), disposition=Disposition.DELETE)
    assert summary(gone) == "verified down: gone, read at 12:00:01Z and 12:00:07Z"
    up = receipt(read("ACTIVE", 1), verified=False, verified_at=None, reason="stuck")
    assert summary(up) == "NOT VERIFIED DOWN (stuck): last read ACTIVE"
    blind = receipt(verified=False, reason="cloud-unreachable")
    assert summary(blind) == "NOT VERIFIED DOWN (cloud-unreachable): last read never"
    assert blind.to_dict()["verified_at"] is None
    assert from_dict(blind.to_dict()) == blind
