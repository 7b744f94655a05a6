"""Two runs that raced for one instance: what was planned, what came of it by both journals and the cloud, and what does not hold."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from jetrun.guarantee.lifecycle import Kind

WHO = ("a", "b")
STARTED_BY = {"SHELVED_OFFLOADED": ["unshelve"], "SHUTOFF": ["start"], "ACTIVE": []}
"""What the winner starts the instance with, from each state."""

LONGEST_OFFSET_S = 0.15
MOST_LOST = 3
"""Lost replies of one race. A read is made three times: what both drivers lose together never ends one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one race is, by its seed.

    Attributes:
        timings: of the cloud, by their name there. after_s: the offset of each driver.
        lost: (fault, call, how many such calls pass before), met by whoever comes then.
    """

    status: str
    seed: str
    timings: str
    after_s: dict[str, float]
    lost: tuple[tuple[str, str, int], ...]


def plan(status: str, seed: str) -> Plan:
    """The race of that seed."""
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    # Squared: half of the races begin within 40 ms, where the two leases' reads and writes cross.
    late, offset_s = chance.choice(WHO), LONGEST_OFFSET_S * chance.random() ** 2
    starts = [(f"nova.{action}", 0.25, 0) for action in STARTED_BY[status]]
    calls = [
        ("neutron.port_update", 0.4, 3), ("neutron.port_list", 0.2, 2), ("neutron.port_show", 0.25, 4),
        ("nova.show", 0.25, 6), ("nova.actions", 0.25, 6), ("nova.shelve", 0.1, 0), *starts,
    ]  # fmt: skip
    lost = [
        (chance.choice(("lost-reply", "close")), call, chance.randint(0, most))
        for call, probability, most in calls
        if chance.random() < probability
    ]
    chance.shuffle(lost)
    return Plan(
        status=status,
        seed=seed,
        timings=chance.choice(("zero", "quick")),
        after_s={who: offset_s if who == late else 0.0 for who in WHO},
        lost=tuple(lost[:MOST_LOST]),
    )


@dataclass(kw_only=True)
class Side:
    """One driver of a race, after it."""

    code: int
    document: dict[str, Any]
    err: str
    records: list[tuple[str, str, dict[str, Any]]]

    def of(self, *kinds: Kind) -> list[dict[str, Any]]:
        """Its journal's records of these kinds."""
        return [data for _, found, data in self.records if found in kinds]


@dataclass(kw_only=True)
class Raced:
    """One race, after it.

    Attributes:
        order: who ended, first to last. actions: the instance's log since the race began, oldest first.
        struck: how many replies were lost. problems: what does not hold; empty for a good race.
    """

    plan: Plan
    sides: dict[str, Side]
    order: list[str]
    ran: list[str]
    actions: list[dict[str, Any]]
    port: str
    is_down: bool
    struck: int
    took_s: float
    problems: list[str] = field(default_factory=list)

    @property
    def winner(self) -> str:
        """Who has the script's exit code; none of them, or both, is a problem."""
        return "".join(who for who in WHO if self.sides[who].code == 0)

    @property
    def loser(self) -> Side:
        return self.sides["a" if self.winner == "b" else "b"]

    def told(self) -> str:
        """Everything about it, for a failure's message."""
        lines = [str(self.problems), str(self.plan), f"ended {self.order}, ran {self.ran}, down {self.is_down}"]
        lines += [f"port {self.port!r}", *(f"log {row['action']} {row['request_id']}" for row in self.actions)]
        for who, side in self.sides.items():
            lines += [f"--- {who}: {side.code}, {side.document.get('error')}"]
            lines += [
                f"{at} {kind} {data}" for at, kind, data in side.records if kind not in {Kind.OPENED, Kind.REPORTED}
            ]
            lines += [side.err]
        return "\n".join(lines)


def judge(raced: Raced) -> list[str]:
    """What does not hold of a race: exactly one runs, the other is told 122 and asks nothing of the instance."""
    codes = {who: side.code for who, side in raced.sides.items()}
    if sorted(codes.values()) != [0, 122]:
        return [f"exit codes {codes}"]
    winner, loser = raced.sides[raced.winner], raced.loser
    replies = winner.of(Kind.REQUEST_REPLIED)
    own = {row["request_id"] for row in replies} | set(winner.of(Kind.UP)[0]["request_ids"])
    # A reply that was lost leaves its request without an id; that there is no second one in the log says whose it is.
    unsure = {row["action"] for row in replies if row["outcome"] == "ambiguous"}
    foreign = [row for row in raced.actions if row["request_id"] not in own and row["action"] not in unsure]
    wanted = [*STARTED_BY[raced.plan.status], "shelve"]
    actions = [row["action"] for row in raced.actions]
    asked = [row["action"] for row in loser.of(Kind.REQUEST_INTENDED, Kind.REQUEST_REPLIED)]
    holds = {
        "the loser ended first": raced.order[0] != raced.winner,
        f"the script ran once, and not {raced.ran}": raced.ran == [raced.winner],
        f"the loser asked for nothing, and not {asked}": not asked,
        "the loser has no receipt": loser.document["receipt"] is None,
        f"the log has {wanted}, and not {actions}": actions == wanted,
        f"the log has the winner's requests alone, and not {foreign}": not foreign,
        "the winner's receipt is verified": winner.document["receipt"]["verified"],
        "the instance is down": raced.is_down,
        f"the lease is gone, and not {raced.port!r}": not raced.port,
    }
    return [claim for claim, held in holds.items() if not held]
