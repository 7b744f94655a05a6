"""Mutants of the code, by invariant: each is a plausible mistake that breaks the promise, and a schedule must show it.

``python mutants.py NAME`` plays schedules on that mutant until one breaks, and ends with 0 when one did.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from itertools import chain
from types import ModuleType

PLAYED = 4000
"""Schedules until a mutant counts as one that lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one module's text; ``also``: of other places that would stand in for the first."""

    invariant: int
    module: str
    old: str
    new: str
    also: tuple[tuple[str, str, str], ...] = ()

    def edits(self) -> dict[str, list[tuple[str, str]]]:
        """What is replaced by what, by module."""
        found = {self.module: [(self.old, self.new)]}
        for module, old, new in self.also:
            found.setdefault(module, []).append((old, new))
        return found


MUTANTS: dict[str, Mutant] = {
    # 1: intent in the journal before the call
    "a request before its record": Mutant(
        invariant=1,
        module="jetrun.engine.requests",
        old="    context.record(Kind.REQUEST_INTENDED, action=action.value, at=at.isoformat())\n",
        new="",
    ),
    "a create before its record": Mutant(
        invariant=1,
        module="jetrun.engine.launch",
        old="        context.record(Kind.CREATE_INTENDED, port_id=port.port_id, flavor=plan.flavor, vcpus=plan.vcpus)\n",
        new="",
    ),
    "a lease without a record": Mutant(
        invariant=1,
        module="jetrun.engine.claims",
        old="    context.record(Kind.LEASE_INTENDED, port_id=port.port_id, **lease_dict(lease))\n    _write",
        new="    _write",
    ),
    # 2: the lease stands before the first request that spends
    "no lease is written": Mutant(
        invariant=2,
        module="jetrun.engine.claims",
        old="    _write(context, port, lease)\n    context.lease_written_at",
        new="    context.lease_written_at",
        also=(
            (
                "jetrun.engine.claims",
                "    if held is None or held.run != context.run:\n        raise _lost(context)\n    now_at",
                "    if held is None:\n        return\n    now_at",
            ),
        ),
    ),
    "the lease is not looked at again": Mutant(
        invariant=2,
        module="jetrun.engine.acquire",
        old="        if made_before:\n            claims.grant(context)\n",
        new="",
        also=(
            (
                "jetrun.engine.claims",
                "    if held is None or held.run != context.run:\n        raise _lost(context)\n    now_at",
                "    if held is None:\n        return\n    now_at",
            ),
            ("jetrun.engine.acquire", "                claims.refuse_if_past(context)\n", ""),
        ),
    ),
    "a lease that is over is believed": Mutant(
        invariant=2,
        module="jetrun.engine.claims",
        old="    if mine is not None and held is not None and held.run == context.run and held.state is not LeaseState.REAPING:\n",
        new="    if mine is not None:\n        held = mine\n",
        also=(
            (
                "jetrun.engine.claims",
                "    if held is None or held.run != context.run:\n        raise _lost(context)\n    now_at",
                "    if held is None:\n        return\n    now_at",
            ),
        ),
    ),
    "the port is made without a lease": Mutant(
        invariant=2,
        module="jetrun.engine.launch",
        old="name=name, description=to_text(lease_now))",
        new='name=name, description="")',
    ),
    # 3: verified is two fresh reads
    "one read is enough": Mutant(
        invariant=3,
        module="jetrun.guarantee.ladder",
        old="        len(evidence.proof) > 1 and since(evidence.proof[0].at, evidence.proof[-1].at) >= evidence.bounds.verify_gap_s\n",
        new="        len(evidence.proof) > 0\n",
    ),
    "a task in progress is no matter": Mutant(
        invariant=3,
        module="jetrun.guarantee.power",
        old="    if observation.task_state is not None:\n        return False\n    seen",
        new="    seen",
    ),
    "off is as good as shelved": Mutant(
        invariant=3,
        module="jetrun.guarantee.power",
        old="    if observation.task_state is not None:\n        return False\n",
        new='    if observation.status == "ACTIVE":\n        return True\n',
    ),
    # 4: down, or told
    "a lost start was never sent": Mutant(
        invariant=4,
        module="jetrun.guarantee.lifecycle",
        old="_MAYBE = frozenset({Outcome.ACCEPTED, Outcome.AMBIGUOUS})",
        new="_MAYBE = frozenset({Outcome.ACCEPTED})",
    ),
    "nobody is told": Mutant(
        invariant=4, module="jetrun.engine.report", old="        context.tell(document)\n", new=""
    ),
    "not verified is a success": Mutant(
        invariant=4,
        module="jetrun.engine.report",
        old="    if state.receipt is not None and not state.receipt.verified:\n        return ExitCode.NOT_VERIFIED\n",
        new="",
    ),
    "a reaper that looks away": Mutant(
        invariant=4,
        module="jetrun.engine.reaper",
        old="        if is_expired(lease, now_at, margin_s=profile.bounds.lease_margin_s):\n",
        new="        if lease.outputs_collected:\n",
    ),
    # 5: nothing is done to what somebody started for themselves
    "every start is ours": Mutant(
        invariant=5,
        module="jetrun.guarantee.requests",
        old="    return start if start.project_id in (None, project_id) else None\n",
        new="    return None\n",
    ),
    "a continued run does not look": Mutant(
        invariant=5,
        module="jetrun.engine.continuing",
        old="    if next_phase(context.state) not in TOUCHING or not context.state.up:\n        return\n",
        new="    return\n",
        also=(
            (
                "jetrun.engine.continuing",
                "    try:\n        _judge(context, context.cloud.actions(context.instance), claims.lease_port(context))\n",
                "    return\n    try:\n        _judge(context, context.cloud.actions(context.instance), claims.lease_port(context))\n",
            ),
        ),
    ),
    "any later start is the lost one": Mutant(
        invariant=5,
        module="jetrun.guarantee.requests",
        old=" and earliest <= entry.started_at <= latest\n",
        new="\n",
    ),
    "a reaper takes the first start after the lease": Mutant(
        invariant=5,
        module="jetrun.guarantee.requests",
        old="        own = [one for one in after[:1] if one.started_at <= latest]\n",
        new="        own = after[:1]\n",
    ),
    # 6: one run, one instance
    "a create is sent again": Mutant(
        invariant=6,
        module="jetrun.engine.launch",
        old="    if not context.state.create_intended:\n",
        new="    if True:\n",
    ),
    "a create is sent again, on a port of its own": Mutant(
        invariant=6,
        module="jetrun.engine.launch",
        old="    if not context.state.create_intended:\n",
        new="    if True:\n",
        also=(
            ("jetrun.engine.launch", "    if state.port is not None:\n        found", "    if False:\n        found"),
            (
                "jetrun.engine.launch",
                "        port = existing[0] if existing else None\n",
                "        port = None\n",
            ),
        ),
    ),
    "a create without its record, on a port of its own": Mutant(
        invariant=6,
        module="jetrun.guarantee.lifecycle",
        old="            return replace(state, port=data)\n",
        new="            return state\n",
        also=(
            (
                "jetrun.engine.launch",
                "        port = existing[0] if existing else None\n",
                "        port = None\n",
            ),
            ("jetrun.engine.acquire", "                claims.refuse_if_past(context)\n", ""),
        ),
    ),
    # 7: everything has its time within the lease
    "the shutdown is not in the sum": Mutant(
        invariant=7,
        module="jetrun.job",
        old='"stage_out": stage_out_s, "shutdown": shutdown_s}\n',
        new='"stage_out": stage_out_s}\n',
        also=(("jetrun.engine.execute", "job.stage_out_s + job.shutdown_s\n", "job.stage_out_s\n"),),
    ),
    "the boot is not in the sum": Mutant(
        invariant=7,
        module="jetrun.job",
        old='    around = {"boot": boot_s, ',
        new='    around = {"boot": 0.0, ',
        also=(
            ("jetrun.engine.execute", "        return min(left_s, job.timeout_s -", "        return (job.timeout_s -"),
        ),
    ),
    "the script's limit is the lease's": Mutant(
        invariant=7,
        module="jetrun.engine.execute",
        old="        left_s = (context.deadline_at() - now_at).total_seconds() - min(reserved_s, job.max_lifetime_s / 2)\n"
        "        if job.timeout_s is None:\n            return left_s\n",
        new="        return (context.deadline_at() - now_at).total_seconds()\n",
    ),
    # 8: outputs that are not here are not deleted
    "delete whatever was fetched": Mutant(
        invariant=8,
        module="jetrun.engine.context",
        old="        if wanted is Disposition.DELETE and not (self.state.launched and self.state.outputs_collected):\n",
        new="        if False:\n",
        also=(
            (
                "jetrun.engine.shutdown",
                "        may_delete=state.launched and state.outputs_collected,\n",
                "        may_delete=state.launched,\n",
            ),
        ),
    ),
    "all outputs are always here": Mutant(
        invariant=8,
        module="jetrun.guarantee.lifecycle",
        old='        return (not self.script_intended) or (over and bool(self.outputs is not None and self.outputs.get("complete")))\n',
        new="        return True\n",
    ),
    "a reaper deletes": Mutant(
        invariant=8,
        module="jetrun.engine.reaping",
        old="            disposition=Disposition.SHELVE if shelves else lease.disposition,\n",
        new="            may_delete=True,\n            disposition=lease.disposition,\n",
    ),
    # 10: continued from every instruction
    "the journal forgets that it has a lease": Mutant(
        invariant=10,
        module="jetrun.guarantee.lifecycle",
        old="            return replace(state, lease=data)\n",
        new="            return state\n",
        also=(
            (
                "jetrun.guarantee.lifecycle",
                "            return replace(state, lease=data, lease_granted=True)\n",
                "            return replace(state, lease_granted=True)\n",
            ),
        ),
    ),
    "the journal forgets what was sent": Mutant(
        invariant=10,
        module="jetrun.guarantee.lifecycle",
        old="            return replace(state, intended=(*state.intended, _sent(data, record.at)))\n",
        new="            return state\n",
    ),
    "the journal forgets the instance that it made": Mutant(
        invariant=10,
        module="jetrun.guarantee.lifecycle",
        old="                launched=state.launched or record.kind is Kind.CREATED,\n",
        new="                launched=False,\n",
    ),
}


class Swap(MetaPathFinder):
    """Imports modules with their text changed."""

    def __init__(self, mutant: Mutant) -> None:
        self._edits = mutant.edits()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._edits:
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.origin is not None
        edits = self._edits[name]

        class Loader(SourceFileLoader):
            def get_code(self, fullname: str) -> object:  # type: ignore[override]
                text = self.get_data(self.path).decode()
                for old, new in edits:
                    assert text.count(old) == 1, f"{fullname} does not hold this text once:\n{old}"
                    text = text.replace(old, new)
                return compile(text, self.path, "exec")

        spec.loader = Loader(name, spec.origin)
        return spec


def attacked() -> Iterator[tuple[int, str]]:
    """Schedules until one breaks: how many were played, and what broke."""
    from schedules import play, some, undisturbed

    for number, schedule in enumerate(chain(undisturbed(), some(PLAYED, 1)), 1):
        try:
            play(schedule)
        except Exception as error:  # noqa: BLE001 - a mutant may break anything, and each is a way of being caught
            lines = str(error).splitlines() or [repr(error)]
            yield number, next((line for line in lines if "invariant" in line), lines[min(1, len(lines) - 1)])
            return


if __name__ == "__main__":
    sys.meta_path.insert(0, Swap(MUTANTS[sys.argv[1]]))
    for played, broken in attacked():
        sys.stdout.write(f"caught after {played}: {broken[:160]}\n")
        sys.exit(0)
    sys.stdout.write(f"lives after {PLAYED} schedules\n")
    sys.exit(1)
