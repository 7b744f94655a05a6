"""What is known of a cloud's policy, as data with source and date: what each state costs, and how quick it is. Pure.

An unknown flavor says that its rate is unknown, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from jetrun.guarantee.constants import Bounds

JETSTREAM2_CHARGES = {
    "ACTIVE": 1.0, "REBOOT": 1.0, "HARD_REBOOT": 1.0, "MIGRATING": 1.0, "PASSWORD": 1.0, "REBUILD": 1.0, "RESCUE": 1.0,
    "RESIZE": 1.0, "VERIFY_RESIZE": 1.0, "REVERT_RESIZE": 1.0, "UNKNOWN": 1.0, "PAUSED": 0.75, "SUSPENDED": 0.75,
    "SHUTOFF": 0.5, "SHELVED": 0.0, "SHELVED_OFFLOADED": 0.0, "ABSENT": 0.0, "BUILD": 1.0,
}  # fmt: skip
"""Share of the flavor's rate by status. Source: docs.jetstream-cloud.org/general/access (PEERS.md 5.a); BUILD counted in full."""

JETSTREAM2_RATES = {"m3": 1.0, "r3": 2.0, "g3": 2.0, "g4": 7.0, "g5": 6.4}
"""SU per vCPU and hour by the flavor name's prefix. Source: Exosphere commits 982ea2e8 (2024-07-02), a7681766 (2025-07-09)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One cloud's policy.

    Attributes:
        rates: SU per vCPU and hour by the first part of the flavor's name. charges: share of the rate by status.
        rate_source: where both come from, and of what date.
        ssh_key: a private key that comes with the cloud (the embedded one), empty otherwise.
        busy_load: load average per CPU above which a running instance counts as in use. An idle Ubuntu shows below 0.1.
    """

    name: str
    bounds: Bounds = field(default_factory=Bounds)
    shelved_is_down: bool = False
    unit: str = "SU"
    rates: Mapping[str, float] = field(default_factory=dict)
    charges: Mapping[str, float] = field(default_factory=dict)
    rate_source: str = "rate unknown: no rates are known for this cloud"
    ssh_port: int = 22
    ssh_user: str = "ubuntu"
    ssh_key: str = ""
    busy_load: float = 0.25

    def rate_per_hour(self, flavor: str | None, vcpus: int | None, status: str) -> float | None:
        """Cost per hour of an instance in that status, None where it is unknown."""
        share = self.charges.get(status)
        rate = self.rates.get((flavor or "").partition(".")[0])
        if share == 0.0 and self.charges:
            return 0.0
        if share is None or rate is None or vcpus is None:
            return None
        return rate * vcpus * share


_QUICK = Bounds(
    verify_gap_s=0.2, settle_s=3, task_seen_s=2, poll_first_s=0.02, poll_last_s=0.3, unreachable_s=20, foreign_task_s=20,
    shelve_s=30, stop_s=20, unshelve_s=20, build_s=20, delete_s=20, offload_s=4, ssh_s=15, api_timeout_s=5, reap_gap_s=0.2,
    lease_margin_s=2, lease_settle_s=0.05,
)  # fmt: skip
"""The embedded cloud's own operations take a second at most, so that everything about them may be a tenth."""

BUILT_IN = {
    "jetstream2": Profile(
        name="jetstream2",
        rates=JETSTREAM2_RATES,
        charges=JETSTREAM2_CHARGES,
        rate_source="docs.jetstream-cloud.org/general/access and Exosphere's rates of 2025-07-09; an estimate",
        ssh_user="exouser",
    ),
    "devcloud": Profile(
        name="devcloud",
        bounds=_QUICK,
        rates=JETSTREAM2_RATES,
        charges=JETSTREAM2_CHARGES,
        rate_source="Jetstream2's rates of 2025-07-09, for show: the embedded cloud is free",
        ssh_port=2222,
        ssh_user="researcher",
        # Its instances share this machine, and show its load as their own: it says nothing about them.
        busy_load=float("inf"),
    ),
    "generic": Profile(name="generic"),
}
"""Profiles by name. ``generic`` is for every cloud of which nothing is known."""

BY_HOST = {"js2.jetstream-cloud.org": "jetstream2"}
"""Which profile a cloud has by the host of its auth_url."""

KEYS = {"profile", "ssh_port", "ssh_user", "ssh_key", "shelved_is_down", "rates", "charges", "bounds", "unit"}
"""Keys of ``jetrun:`` under an entry of clouds.yaml."""


def profile_for(auth_host: str, settings: Mapping[str, Any]) -> Profile:
    """The profile of a cloud: by its host, or as ``jetrun:`` under its entry of clouds.yaml says.

    Raises:
        ValueError: an unknown key, profile or bound, or a value of the wrong kind; the text names it.
    """
    if not isinstance(settings, Mapping):
        raise ValueError("must be a table: jetrun: { profile: generic }")  # noqa: TRY004 - one kind of error for a caller
    unknown = {str(key) for key in settings} - KEYS
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r}; there are: {', '.join(sorted(KEYS))}")
    name = str(settings.get("profile", BY_HOST.get(auth_host, "generic")))
    if name not in BUILT_IN:
        raise ValueError(f"unknown profile {name!r}; there are: {', '.join(BUILT_IN)}")
    base = BUILT_IN[name]
    down = settings.get("shelved_is_down", base.shelved_is_down)
    if not isinstance(down, bool):
        raise ValueError(f"shelved_is_down: {down!r} is neither true nor false")  # noqa: TRY004
    own_rates = _numbers(settings, "rates")
    # Whoever gives rates and no charges pays by Jetstream2's, the only policy known.
    charges = base.charges or (JETSTREAM2_CHARGES if own_rates else {})
    return replace(
        base,
        bounds=_bounds(base.bounds, settings),
        rates={**base.rates, **own_rates},
        charges={**charges, **_numbers(settings, "charges")},
        rate_source="rates of your clouds.yaml" if own_rates else base.rate_source,
        unit=str(settings.get("unit", base.unit)),
        ssh_port=_port(settings.get("ssh_port", base.ssh_port)),
        ssh_user=str(settings.get("ssh_user", base.ssh_user)),
        ssh_key=str(settings.get("ssh_key", base.ssh_key)),
        shelved_is_down=down,
    )


def _bounds(base: Bounds, settings: Mapping[str, Any]) -> Bounds:
    """The bounds with the user's own; ValueError for one that there is none of, or that is no time."""
    own = _numbers(settings, "bounds")
    known = {one.name for one in fields(base)}
    if set(own) - known:
        raise ValueError(f"bounds: unknown {min(set(own) - known)!r}; there are: {', '.join(sorted(known))}")
    if 0.0 in own.values():
        raise ValueError("bounds: a bound of 0 seconds ends before it begins")
    return replace(base, **own)


def _numbers(settings: Mapping[str, Any], key: str) -> dict[str, float]:
    """A table of numbers, none negative; ValueError for anything else."""
    table = settings.get(key) or {}
    if not isinstance(table, Mapping):
        raise ValueError(f"{key}: must be a table of numbers")  # noqa: TRY004
    for name, value in table.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ValueError(f"{key}: {name}: {value!r} is no number of zero or more")
    return {str(name): float(value) for name, value in table.items()}


def _port(value: object) -> int:
    """A TCP port; ValueError for what is none."""
    if isinstance(value, bool) or not str(value).isdecimal() or not 0 < int(str(value)) < 65536:
        raise ValueError(f"ssh_port: {value!r} is no port (1 to 65535)")
    return int(str(value))
