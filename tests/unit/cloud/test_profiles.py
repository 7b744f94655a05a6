"""What a cloud charges, as far as it is known; a cost that is not known is never nothing."""

from __future__ import annotations

from typing import Any

import pytest

from jetrun.cloud.profiles import BUILT_IN, profile_for
from jetrun.guarantee.constants import Bounds

JETSTREAM2 = "js2.jetstream-cloud.org"


@pytest.mark.parametrize(
    ("flavor", "vcpus", "status", "rate"),
    [
        ("m3.small", 2, "ACTIVE", 2.0),
        ("m3.small", 2, "SHUTOFF", 1.0),
        ("m3.quad", 4, "SUSPENDED", 3.0),
        ("m3.quad", 4, "PAUSED", 3.0),
        ("g3.xl", 32, "ACTIVE", 64.0),
        ("r3.large", 64, "ACTIVE", 128.0),
        ("g4.xl", 12, "ACTIVE", 84.0),
        ("g5.xl", 20, "ACTIVE", 128.0),
        ("m3.small", 2, "SHELVED_OFFLOADED", 0.0),
        ("m3.small", 2, "UNKNOWN", 2.0),
    ],
)
def test_jetstream2_charges_by_flavor_and_status(flavor: str, vcpus: int, status: str, rate: float) -> None:
    """Source: Jetstream2's instance flavors and access pages (PEERS.md 5.a)."""
    assert profile_for(JETSTREAM2, {}).rate_per_hour(flavor, vcpus, status) == rate


@pytest.mark.parametrize(
    ("flavor", "vcpus", "status"),
    [("x9.huge", 8, "ACTIVE"), (None, 8, "ACTIVE"), ("m3.small", None, "ACTIVE"), ("m3.small", 2, "A_NEW_WORD")],
)
def test_what_is_not_known_costs_an_unknown_sum(flavor: str | None, vcpus: int | None, status: str) -> None:
    """Never 0: somebody would believe it."""
    assert profile_for(JETSTREAM2, {}).rate_per_hour(flavor, vcpus, status) is None


def test_a_cloud_that_is_not_known_charges_an_unknown_sum() -> None:
    """Also while shelved, and even with Jetstream2's flavor names."""
    profile = profile_for("cloud.uni.edu", {})
    assert profile.name == "generic"
    assert {profile.rate_per_hour("m3.small", 2, one) for one in ("ACTIVE", "SHUTOFF", "SHELVED_OFFLOADED")} == {None}
    assert "unknown" in profile.rate_source


def test_rates_of_ones_own_win() -> None:
    profile = profile_for("cloud.uni.edu", {"rates": {"c1": 0.5}, "charges": {"SHUTOFF": 1}, "unit": "EUR"})
    assert profile.rate_per_hour("c1.big", 8, "ACTIVE") == 4.0
    assert profile.rate_per_hour("c1.big", 8, "SHUTOFF") == 4.0
    assert (profile.unit, profile.rate_source) == ("EUR", "rates of your clouds.yaml")


def test_shelved_counts_as_down_only_where_somebody_said_so() -> None:
    """SHELVED may hold the host, and be charged (DESIGN.md, the ladder)."""
    assert not any(one.shelved_is_down for one in BUILT_IN.values())
    assert profile_for("", {"shelved_is_down": True}).shelved_is_down


def test_only_the_embedded_cloud_is_in_a_hurry() -> None:
    """Its bounds on a real cloud would give up on every shelve."""
    assert {name for name, one in BUILT_IN.items() if one.bounds != Bounds()} == {"devcloud"}


def test_a_bound_of_ones_own_changes_that_bound_alone() -> None:
    profile = profile_for(JETSTREAM2, {"bounds": {"shelve_s": 1800}, "ssh_port": 2200, "ssh_user": "rocky"})
    assert profile.bounds == Bounds(shelve_s=1800)
    assert (profile.ssh_port, profile.ssh_user) == (2200, "rocky")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"profil": "generic"}, "profil"),
        ({"profile": "jetstream3"}, "jetstream3"),
        ({"bounds": {"shelv_s": 1}}, "shelv_s"),
        ({"bounds": {"shelve_s": "long"}}, "shelve_s"),
        ({"bounds": {"shelve_s": -1}}, "shelve_s"),
        ({"bounds": {"shelve_s": 0}}, "0 seconds"),
        ({"bounds": {"shelve_s": float("nan")}}, "shelve_s"),
        ({"bounds": {"shelve_s": float("inf")}}, "shelve_s"),
        ({"bounds": {"shelve_s": True}}, "shelve_s"),
        ({"bounds": [1]}, "bounds"),
        ({"rates": {"m3": "one"}}, "m3"),
        ({"rates": {"m3": -1}}, "m3"),
        ({"shelved_is_down": "false"}, "shelved_is_down"),
        ({"ssh_port": 0}, "ssh_port"),
        ({"ssh_port": 70000}, "ssh_port"),
        ({"ssh_port": "ssh"}, "ssh_port"),
        (["profile"], "table"),
    ],
)
def test_a_mistake_is_named(settings: Any, named: str) -> None:
    """A bound that is not what somebody meant would be found out when an instance stays up."""
    with pytest.raises(ValueError, match=named):
        profile_for("", settings)
