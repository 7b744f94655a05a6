"""Two drivers with separate homes race for one instance, with replies lost at random: exactly one runs (acceptance C5).

``JETRUN_RACES=1000`` for more from each state, ``JETRUN_SEED=7`` for others.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from race_lanes import Lane, lane
from races import STARTED_BY, WHO, Raced, plan

from jetrun.guarantee.lifecycle import Kind

RACES = int(os.environ.get("JETRUN_RACES", "100"))
SEED = os.environ.get("JETRUN_SEED", "1")
LANES = 4
"""Races run side by side: most of their time is waiting, and these keep two processors busy."""


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Lane]]:
    with ExitStack() as opened:
        yield [opened.enter_context(lane(tmp_path_factory.mktemp("lane"))) for _ in range(LANES)]


@pytest.mark.invariant(5)
@pytest.mark.timeout(120 + 6 * RACES)
@pytest.mark.parametrize("status", list(STARTED_BY))
def test_of_two_drivers_that_race_for_an_instance_exactly_one_runs(lanes: list[Lane], status: str) -> None:
    """C5: the other exits with 122 and has sent no power action, whatever replies are lost and however their calls cross."""
    began = time.monotonic()
    plans = iter([plan(status, f"{SEED}-{status}-{number}") for number in range(RACES)])

    def races_of(one: Lane) -> list[Raced]:
        return [one.race(wanted) for wanted in plans]

    with ThreadPoolExecutor(LANES) as pool:
        raced = [one for found in pool.map(races_of, lanes) for one in found]

    sys.stdout.write(f"{figures(raced)} {time.monotonic() - began:.0f} s\n")
    bad = [one for one in raced if one.problems]
    assert not bad, "\n".join([*(f"{one.plan.seed}: {one.problems}" for one in bad), bad[0].told()])
    if RACES >= 50:
        assert {one.winner for one in raced} == set(WHO), "they were races"


def figures(raced: list[Raced]) -> str:
    """What came of them, for whoever runs it with -s or -rP."""
    good = [one for one in raced if not one.problems]
    won = Counter(one.winner for one in good)
    told = Counter(one.loser.document["error"]["code"] for one in good)
    crossed = sum(bool(one.loser.of(Kind.LEASE_INTENDED)) for one in good)
    lost, longest_s = sum(one.struck for one in raced), max((one.took_s for one in raced), default=0.0)
    return (
        f"{len(raced)} races, {len(good)} good: won {dict(won)}, told {dict(told)}; both wrote in {crossed}; "
        f"{lost} replies lost; the longest {longest_s:.1f} s, all"
    )
