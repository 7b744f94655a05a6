"""Phase ``report``: the run's document, the exit code, the mail in the outbox. Comes after the shutdown, always."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from jetrun.cloud.interface import command
from jetrun.engine.context import RunContext
from jetrun.errors import ExitCode
from jetrun.guarantee.lifecycle import Kind, Phase, RunState
from jetrun.guarantee.power import ABSENT
from jetrun.guarantee.receipt import Receipt

TAIL_BYTES = 8 * 1024
"""How much of the log a mail and a terminal show."""

_BY_SIGNAL = {
    "SIGINT": ExitCode.INTERRUPTED,
    "SIGTERM": ExitCode.TERMINATED,
    "SIGHUP": ExitCode.HANGUP,
    "cancel": ExitCode.TERMINATED,
    "timeout": ExitCode.TIMED_OUT,
}


def report(context: RunContext) -> None:
    """Tell whoever is to be told, then close the run. A mail that fails changes nothing: it waits in the outbox."""
    code = exit_code(context.state)
    if not context.state.reported:
        document = document_of(context, code)
        context.tell(document)
        kept = {key: value for key, value in document.items() if key != "log_tail"}
        context.record(Kind.REPORTED, exit_code=int(code), document=kept)
        context.screen.event(
            "run.finished",
            outcome=document["outcome"],
            exit_code=int(code),
            verified=None if context.state.receipt is None else context.state.receipt.verified,
            elapsed_s=round((context.clock.now() - context.state.opened_at).total_seconds(), 3),
            cost=document["cost"]["run"],
            outputs=(context.state.outputs or {}).get("count", 0),
        )
    context.record(Kind.CLOSED, exit_code=int(code))


def exit_code(state: RunState) -> int:
    """The exit code of DESIGN.md section 5. Not verified down outranks every other."""
    if state.receipt is not None and not state.receipt.verified:
        return ExitCode.NOT_VERIFIED
    if state.trouble is not None:
        return int(state.trouble["exit_code"])
    if state.stop_cause:
        return _BY_SIGNAL.get(state.stop_cause, ExitCode.TERMINATED)
    ended = state.script_ended
    if ended is None or ended["exit_code"] is None:
        if state.collecting and state.outputs is not None:
            # Nobody saw how the script ended; what was asked for is that its outputs come.
            return ExitCode.OK if state.outputs["complete"] else ExitCode.OUTPUTS_MISSING
        return ExitCode.FAILED
    code = int(ended["exit_code"])
    if code == 0 and state.outputs is not None and not state.outputs["complete"]:
        return ExitCode.OUTPUTS_MISSING
    return ExitCode.SCRIPT_CODE_RESERVED if ExitCode.NOT_VERIFIED <= code <= ExitCode.FAILED else code


def outcome(state: RunState, code: int) -> str:
    """One word or two for the end of the run."""
    words = {
        ExitCode.NOT_VERIFIED: "not verified down",
        ExitCode.USAGE: "refused",
        ExitCode.NOT_STARTED: "not started",
        ExitCode.IN_USE: "in use",
        ExitCode.TIMED_OUT: "timed out",
    }
    if state.stop_cause and state.stop_cause != "timeout" and code != ExitCode.NOT_VERIFIED:
        return "interrupted"
    ended = state.script_ended or {}
    if state.collecting and ended.get("exit_code") is None and code == ExitCode.OK:
        return "collected"
    if state.trouble is None and code == ended.get("exit_code"):
        return "succeeded" if code == 0 else "failed"
    if code == ExitCode.OUTPUTS_MISSING:
        return "outputs missing"
    if code == ExitCode.SCRIPT_CODE_RESERVED:
        return "failed"
    return next((word for key, word in words.items() if key == code), "jetrun failed")


def document_of(context: RunContext, code: int) -> dict[str, Any]:
    """The ``--json`` document, schema 1 (DESIGN.md section 5), with what the mail and the terminal need besides."""
    state = context.state
    ended = state.script_ended
    script = None
    if ended is not None:
        started = (state.script or {}).get("started_at") or ended.get("started_at")
        script = {
            "exit_code": ended.get("exit_code"),
            "signal": ended.get("signal"),
            "started_at": started,
            "ended_at": ended.get("ended_at"),
        }
    instance = None
    if state.instance is not None:
        instance = {"id": state.instance, "name": state.instance_name, "launched_by_run": state.launched}
    outputs = state.outputs or {}
    return {
        "schema": 1,
        "run_id": context.run,
        "name": context.job.name,
        "outcome": outcome(state, code),
        "exit_code": int(code),
        "script": script,
        "instance": instance,
        "receipt": state.receipt.to_dict() if state.receipt is not None else None,
        "outputs": outputs.get("files", []),
        "cost": cost_of(context),
        "mail": {"state": "none"},
        "phases": _phases(state, context),
        "output_dir": str(context.output_dir),
        "error": _error(context),
        "unproven": _unproven(context),
        "cloud": context.cloud_name,
        "outputs_missing": outputs.get("missing", []),
        "outputs_problems": outputs.get("problems", []),
        "log_path": str(context.folder / "log"),
        "log_tail": _log_tail(context.folder, tail_bytes=TAIL_BYTES),
        "warnings": _warnings(context),
    }


def _unproven(context: RunContext) -> dict[str, Any] | None:
    """Since when the instance is, or was, not proven down, until when, and its cost at most meanwhile; None if it never was."""
    state = context.state
    since_at, receipt = state.unproven_since_at, state.receipt
    if since_at is None or receipt is None:
        return None
    until_at = receipt.verified_at or context.clock.now()
    rate = context.profile.rate_per_hour(state.flavor, state.vcpus, "ACTIVE")
    hours = max(0.0, (until_at - since_at).total_seconds() / 3600)
    cost = None if rate is None else round(rate * hours, 4)
    return {
        "since_at": since_at.isoformat(),
        "until_at": until_at.isoformat(),
        "cost": cost,
        "unit": context.profile.unit,
    }


def _warnings(context: RunContext) -> list[str]:
    """What a person should know besides."""
    found = [f"the journal was lost during the shutdown: {context.journal_lost}"] if context.journal_lost else []
    state = context.state
    if state.lease is not None and not state.lease_ended and state.receipt is not None and state.receipt.verified:
        found.append(
            f"the lease could not be given back: other runs on {state.instance_name} are refused until {state.lease['until_at']}; "
            f"jetrun continue {context.run}"
        )
    left, receipt = context.state.credential, context.state.receipt
    if left is not None and (receipt is None or receipt.verified):
        name, ends_at = left["name"], left["expires_at"]
        found.append(
            f"the application credential {name} could not be removed; it ends by itself at {ends_at}; "
            f"{command(context.cloud_name)} application credential delete {name}"
        )
    return found


def _error(context: RunContext) -> dict[str, str] | None:
    """What went wrong, the worst first: an instance that is not proven down outranks every other error."""
    state = context.state
    receipt = state.receipt
    if receipt is not None and not receipt.verified:
        return unverified_error(context, receipt)
    if state.trouble is not None:
        return {key: str(state.trouble[key]) for key in ("code", "what", "state", "next")}
    outputs = state.outputs
    ended = state.script_ended or {}
    if outputs is not None and not outputs["complete"] and ended.get("exit_code") == 0:
        lacks = ", ".join(outputs["missing"]) or "; ".join(outputs["problems"])
        return {
            "code": "outputs-missing",
            "what": f"the script succeeded, and outputs are missing or damaged: {lacks}",
            "state": context.describe_state(),
            "next": f"jetrun collect {context.run}",
        }
    return None


_ADVICE = {
    "locked": "{openstack} server unlock {instance} && jetrun verify {run}",
    "stuck": "ask the cloud's staff to reset the state of {instance} (request {request}), then: jetrun verify {run}",
    "corrupt-shelve": "ask the cloud's staff to shelve-offload {instance} (request {request}), then: jetrun verify {run}",
    "not-offloaded": "jetrun verify {run}   (if SHELVED costs nothing on this cloud: shelved_is_down = true in its profile)",
    "gone": "{openstack} server show {instance}   (deleted by somebody, or another project's credential)",
    "somebody-elses": "somebody started it after this run; leave it to them, or: jetrun verify {run} --take-over",
}


def unverified_error(context: RunContext, receipt: Receipt) -> dict[str, str]:
    """The alarm in three parts: what, the instance's last known state with its age and price, what to type."""
    state = context.state
    rate = context.profile.rate_per_hour(state.flavor, state.vcpus, receipt.status or "ACTIVE")
    price = f"; it costs {rate:g} {context.profile.unit}/h" if rate is not None else "; its cost is unknown"
    advice = _ADVICE.get(receipt.reason, "{openstack} server shelve {instance} && jetrun verify {run}")
    request = receipt.blamed or (receipt.request_ids[-1] if receipt.request_ids else "none")
    return {
        "code": f"shutdown-unverified-{receipt.reason}",
        "what": f"instance {state.instance_name} ({state.instance}) is not proven down: {receipt.reason}",
        "state": context.describe_state() + price,
        "next": advice.format(
            openstack=command(context.cloud_name), instance=state.instance, run=context.run, request=request
        ),
    }


def cost_of(context: RunContext) -> dict[str, Any]:
    """What the run cost and what the instance costs now, by the profile's rates; None where the rate is unknown.

    ``run``: from the first request that spends to the proof, at the rate of a running instance: an upper bound.
    """
    state, profile = context.state, context.profile
    running = profile.rate_per_hour(state.flavor, state.vcpus, "ACTIVE")
    status = state.receipt.status if state.receipt is not None else None
    now_rate: float | None = None
    if status == ABSENT or (state.untouched and not state.up):
        now_rate = 0.0 if status == ABSENT else None
    elif status is not None:
        now_rate = profile.rate_per_hour(state.flavor, state.vcpus, status)
    spent: float | None = 0.0
    if state.spending_possible:
        began_at = state.sent[0].at if state.sent else _entered(state, Phase.ACQUIRE)
        ended_at = (state.receipt.verified_at if state.receipt is not None else None) or context.clock.now()
        hours = (ended_at - began_at).total_seconds() / 3600 if began_at is not None else 0.0
        spent = None if running is None else round(running * hours, 4)
    return {"unit": profile.unit, "run": spent, "now_per_hour": now_rate, "rate_source": profile.rate_source}


def _entered(state: RunState, phase: Phase) -> Any:
    """When *phase* was first entered, None if never."""
    return next((at for one, at in state.phases if one is phase), None)


def _phases(state: RunState, context: RunContext) -> list[Mapping[str, Any]]:
    """The phases with their times, in order."""
    marks = [*state.phases, (Phase.CLOSED, context.clock.now())]
    return [
        {"name": phase.value, "started_at": at.isoformat(), "ended_at": following.isoformat()}
        for (phase, at), (_, following) in pairwise(marks)
        if phase is not Phase.CLOSED
    ]


def _log_tail(folder: Path, *, tail_bytes: int) -> str:
    """The end of the run's local log, undecodable bytes replaced; empty without one."""
    try:
        with (folder / "log").open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - tail_bytes))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
