"""Model checking of the shutdown ladder: every state that it and Nova's model can reach together, breadth-first.

``python tests/sim/model_check.py`` prints what CI checks: the number of states, the verdicts, and what is unsound.
``python tests/sim/model_check.py N [wide] [SETTING ...]``: from every start, with N surprises; ``wide``: with longer waits.

**What is real.** ``ladder.decide``, ``evidence.saw/unread/replied``, ``engine.requests.observed`` (the look with its log),
``outcome_of`` and ``by_status``, ``Receipt``; devcloud's NovaModel with its records, refusals and steps. Not real: ports,
images, the journal, the wire.

**The environment chooses everything else.** Each pending step of a task happens at any time or never (so each task may
finish, be late, or stick for ever); shelve, offload, unshelve and build fail as they are known to; between a look and its
log one more such thing may happen: all this costs nothing. A *surprise* costs one: a task that ends failed, silently, or in
ERROR; a person's or the staff's action, a lock, a guest that powers itself off; a stale look (the instance as before its last
change, or as it last rested); a false 404, with or without its log; reads that are not answered, refused (401) or say
UNKNOWN; a request that is refused (403, 401, 409, 429, 404) or loses its answer, with its effect now, later, or never.
Outages and refusals last at no further cost.

**Time** goes in ticks of 60 s, in which the ladder's bounds are a few (``model_place.NARROW``, ``WIDE``), in their order; what
happens between two looks happens at the time of the earlier one, in any order. ``model_key.key`` is what a state's future
depends on: ages are clipped at the bound that they are held against, and entries of the log that no decision looks at are
left out. States with one key are explored once; a mistake there could hide a state, but not make one up: each state is
reached by real calls.

**What is checked.** (1) No state is without a way on, and there is no cycle: *every* behaviour of the environment, fair or not,
ends in a verdict. (2) At each *verified*, the record (not the read) is down and the guest is off, and nothing that is
pending or on its way brings it up afterwards; and the receipt can be written. (3) Each *not verified* has a reason that
``decide`` may say.

**What soundness depends on**, and is not checked: the log is not stale; a request without an answer arrives within
``settle_s`` of being sent, or never; there is one false 404 at most (two, a gap apart, are a deletion to
every reader); the surprises are as few as stated; the clocks agree; Nova's record is right about the
host. **Excluded, and counted:** somebody who starts the instance after the last log was read and before the verdict is said.
No reader can see that.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from model_key import key
from model_moves import MOVES, events, going_on, others
from model_place import NARROW, WIDE, Place, is_truly_down
from model_starts import SETTINGS, starts

from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.ladder import NotVerified, Reason, Verified
from jetrun.guarantee.power import ABSENT, Disposition
from jetrun.guarantee.receipt import Receipt

REASONS = frozenset(Reason) - {Reason.INTERNAL}
"""What ``decide`` may say."""


@dataclass(kw_only=True)
class Result:
    """What one check found.

    Attributes:
        states: without a verdict, and different. moves: from one of them, to another or to a verdict.
        verdicts: how many moves end in each. longest: moves from a start to a verdict at most; 0 where there are cycles.
        unsound: the stories of moves to a wrong *verified*. unwritable: to one whose receipt is refused.
        mute: to a *not verified* without a reason.
        endless: states that are on a cycle or lead to no verdict for sure. excluded: starts that no reader can see.
    """

    setting: str
    surprises: int
    states: int = 0
    moves: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    unsound: list[str] = field(default_factory=list)
    unwritable: list[str] = field(default_factory=list)
    mute: list[str] = field(default_factory=list)
    endless: int = 0
    longest: int = 0
    excluded: int = 0
    seconds: float = 0.0

    def line(self) -> str:
        """One line of the table."""
        told = sum(self.verdicts.values()) - self.verdicts["verified"]
        return (
            f"{self.setting:24} {self.surprises:9} {self.states:8} {self.moves:8} {self.verdicts['verified']:9} {told:8}"
            f" {len(self.unsound):8} {len(self.unwritable):10} {self.endless:8} {self.longest:8} {self.excluded:9} {self.seconds:7.1f}"
        )


HEAD = (
    f"{'setting':24} {'surprises':>9} {'states':>8} {'moves':>8} {'verified':>9} {'told':>8}"
    f" {'unsound':>8} {'unwritable':>10} {'endless':>8} {'longest':>8} {'excluded':>9} {'CPU s':>7}"
)


class Check:
    """One setting, checked from its starts until no new state is found.

    Args:
        usual: only from the start of a run that went well until then.
    """

    def __init__(self, setting: str, surprises: int, bounds: Bounds = NARROW, *, usual: bool = False) -> None:
        self.result = Result(setting=setting, surprises=surprises)
        self._starts = starts(setting, surprises, bounds, usual=usual)
        self._numbers: dict[tuple[object, ...], int] = {}
        self._came: list[tuple[int, str]] = []
        self._after: list[list[int]] = []
        self._queue: deque[tuple[int, Place]] = deque()

    def run(self) -> Result:
        """Everything that can be reached."""
        began = time.process_time()
        for name, place in self._starts:
            self._reach(place, -1, name)
        while self._queue:
            self._expand(*self._queue.popleft())
        result = self.result
        result.states = len(self._came)
        result.endless, result.longest = self._ends()
        result.seconds = time.process_time() - began
        return result

    def _reach(self, place: Place, origin: int, move: str) -> int:
        """The number of *place*, which is explored later if it is new."""
        found = key(place)
        number = self._numbers.get(found)
        if number is None:
            number = self._numbers[found] = len(self._came)
            self._came.append((origin, move))
            self._after.append([])
            self._queue.append((number, place))
        return number

    def _expand(self, number: int, place: Place) -> None:
        """Every move from one state."""
        moves = 0
        for move, after in (*events(place), *MOVES[type(place.step)](place)):
            moves += 1
            step = after.step
            if isinstance(step, Verified):
                self.result.verdicts["verified"] += 1
                self._judge(number, move, after, step)
            elif isinstance(step, NotVerified):
                self.result.verdicts[str(step.reason)] += 1
                if step.reason not in REASONS:
                    self.result.mute.append(self._story(number, move, after))
            else:
                self._after[number].append(self._reach(after, number, move))
        if not moves:
            self._after[number].append(number)  # nothing goes on: as a cycle
        self.result.moves += moves

    def _judge(self, number: int, move: str, place: Place, verdict: Verified) -> None:
        """Whether a *verified* is true, and stays true."""
        evidence, reads = place.evidence, verdict.observations
        reached = Disposition.DELETE if reads[-1].status == ABSENT else evidence.disposition
        try:
            Receipt(
                verified=True,
                disposition=reached,
                status=reads[-1].status,
                requested_at=None,
                verified_at=reads[-1].at,
                observations=reads,
                gap_s=evidence.bounds.verify_gap_s,
                shelved_is_down=evidence.shelved_is_down,
            )
        except ValueError as error:
            self.result.unwritable.append(f"{self._story(number, move, place)}: {error}")
        true = is_truly_down(place.server, reached, shelved_is_down=evidence.shelved_is_down)
        if not true or _comes_up(place):
            self.result.unsound.append(self._story(number, move, place))
        self.result.excluded += sum(_comes_up(one) for _, one in others(place))

    def _story(self, number: int, move: str, place: Place) -> str:
        """How it came to this, from the start."""
        moves = [move]
        while number >= 0:
            number, before = self._came[number]
            moves.append(before)
        server = place.server
        truth = f"really {server.vm_state}, task {server.task_state}, {'on' if server.really_on else 'off'}"
        return f"{' / '.join(reversed(moves))} => {truth}"

    def _ends(self) -> tuple[int, int]:
        """How many states do not lead to a verdict on every way; the longest way of the others."""
        before: list[list[int]] = [[] for _ in self._after]
        for number, following in enumerate(self._after):
            for one in following:
                before[one].append(number)
        left = [len(following) for following in self._after]
        depth = [1] * len(left)
        ready = [number for number, count in enumerate(left) if not count]
        ended = 0
        while ready:
            number = ready.pop()
            ended += 1
            for one in before[number]:
                depth[one] = max(depth[one], depth[number] + 1)
                left[one] -= 1
                if not left[one]:
                    ready.append(one)
        endless = len(left) - ended
        return endless, 0 if endless else max(depth, default=0)


def _comes_up(place: Place) -> bool:
    """Whether the guest runs, or will by what is pending or on its way."""
    return place.server.really_on or any(_comes_up(after) for _, after in going_on(place))


def quick() -> list[Result]:
    """What CI checks: each setting from every start without a surprise, and from the usual one with one."""
    whole = [Check(setting, 0).run() for setting in SETTINGS]
    return whole + [Check(setting, 1, usual=True).run() for setting in SETTINGS]


def table(results: list[Result]) -> str:
    """The figures of *results*, and the stories of what is unsound."""
    verdicts = sum((one.verdicts for one in results), Counter[str]())
    lines = [HEAD, *(one.line() for one in results)]
    lines.append(f"{sum(one.states for one in results)} states; moves to each verdict: {dict(verdicts.most_common())}")
    lines += [f"UNSOUND ({one.setting}) {story}" for one in results for story in sorted(one.unsound, key=len)[:3]]
    lines += [f"UNWRITABLE ({one.setting}) {story}" for one in results for story in sorted(one.unwritable, key=len)[:1]]
    return "\n".join(lines)


def _main(words: list[str]) -> int:
    """Print the table; 1 where something is unsound."""
    if not words:
        results = quick()
        print(table(results))  # noqa: T201 - a command line
    else:
        bounds, wanted = WIDE if "wide" in words else NARROW, [word for word in words[1:] if word in SETTINGS]
        results = []
        for setting in wanted or SETTINGS:
            results.append(Check(setting, int(words[0]), bounds).run())
            print(table(results[-1:]), flush=True)  # noqa: T201 - a command line
    return int(any(one.unsound or one.unwritable or one.mute or one.endless for one in results))


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
