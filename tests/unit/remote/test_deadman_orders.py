"""The switch against a model of its rules in ten lines of Python, over random orders of everything that can happen."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from guest import SHELLS, UUID, Guest


@dataclass
class Model:
    """DESIGN.md section 3, layer 3, said a second time and independently."""

    now: int
    deadline: int
    remaining: int
    tick_at: int
    state: str = "armed"
    booted: bool = False  # since the last tick
    elapsed: int = 0  # awake seconds of this boot since the last tick
    cloned: bool = False
    fired: int = 0
    exit_at: int | None = None
    beat_at: int | None = None

    def tick(self) -> None:
        if self.state not in {"armed", "ending"}:
            return
        gap = self.now - self.tick_at
        over = self.state == "ending" or self.exit_at is not None
        if self.cloned or gap > 600 or (self.booted and over):
            self.state = "disarmed"
            return
        self.remaining -= max(gap, self.elapsed, 0) if self.booted else self.elapsed
        self.tick_at, self.elapsed, self.booted = self.now, 0, False
        sign = self.beat_at if self.beat_at is not None else self.exit_at
        orphan = self.exit_at is not None and sign is not None and self.now - sign >= 1800
        if self.now >= self.deadline or self.remaining <= 0 or orphan:
            self.state, self.fired = "spent", self.fired + 1


ACTS = [
    "minute",
    "minute",
    "minute",
    "minute",
    "minutes",
    "night",
    "reboot",
    "back",
    "forward",
    "ending",
    "exit",
    "beat",
    "clone",
    "other-run",
]


@pytest.mark.parametrize("seed", range(18))
def test_random_orders_end_as_the_rules_say(tmp_path, seed):
    chance = random.Random(seed)  # noqa: S311 - a seed that a failure names
    guest = Guest(tmp_path, SHELLS[seed % len(SHELLS)])
    lasts = chance.choice([300, 900, 4000])
    guest.arm(lasts=lasts)
    model = Model(now=guest.now, deadline=guest.now + lasts, remaining=lasts, tick_at=guest.now)
    history = []
    for number in range(14):
        act = chance.choice(ACTS)
        history.append(act)
        _do(act, guest, model, chance, number)
        if chance.random() < 0.85:
            history.append("tick")
            guest.tick()
            model.tick()
            assert guest.state() == model.state, history
            assert guest.powered_off == model.fired <= 1, history


def _do(act, guest, model, chance, number):
    def passes(seconds):
        guest.passes(seconds)
        model.now += seconds
        model.elapsed += seconds

    match act:
        case "minute":
            passes(60)
        case "minutes":
            passes(chance.randint(60, 500))
        case "night":
            guest.now += 30_000
            model.now += 30_000
            guest.boot(f"boot-{number}", uptime=15)
            model.booted, model.elapsed = True, 15
        case "reboot":
            off = chance.randint(10, 200)
            guest.now += off
            model.now += off
            guest.boot(f"boot-{number}", uptime=min(off, 20))
            model.booted, model.elapsed = True, min(off, 20)
        case "back":
            guest.now -= 5000
            model.now -= 5000
        case "forward":
            step = chance.randint(100, 900)
            guest.now += step
            model.now += step
        case "ending":
            guest.call("ending", "run-1")
            model.state = "ending" if model.state == "armed" else model.state
        case "exit":
            guest.touch("exit")
            model.exit_at = guest.now
        case "beat":
            guest.touch("heartbeat")
            model.beat_at = guest.now
        case "clone":
            cloned = chance.random() < 0.3
            guest.uuid("99999999-0000-4000-8000-000000000009" if cloned else UUID)
            model.cloned = cloned
        case "other-run":
            guest.call("disarm", "run-2")
