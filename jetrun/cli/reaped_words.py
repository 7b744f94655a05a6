"""What is told of an instance that the reaper has seen to, in the shape of a run's own document, so that it reads like one."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jetrun.cloud.interface import command
from jetrun.engine.reaping import Fate, Reaped

if TYPE_CHECKING:
    from jetrun.cloud.credentials import CloudChoice

_OUTCOMES = {Fate.ENDED: "reaped", Fate.THEIRS: "left to a person"}


def document_of(row: Reaped, choice: CloudChoice, *, name: str, now_at: datetime) -> dict[str, Any]:
    """The document of one instance (schema 1, with what a mail needs).

    Args:
        name: of the job, where this machine's journal knows it.
    """
    profile, lease, receipt = choice.profile, row.lease, row.receipt
    status = receipt.status if receipt is not None else "ACTIVE"
    rate = profile.rate_per_hour(row.flavor, row.vcpus, status) if status is not None else None
    whose = f"the lease of {lease.owner} ended at {lease.until_at:%Y-%m-%d %H:%MZ}" if lease is not None else ""
    error = _error(row, choice.name, whose)
    return {
        "schema": 1,
        "run_id": row.run,
        "name": name or f"run {row.run}",
        "outcome": _OUTCOMES.get(row.fate, "not verified down"),
        "exit_code": None if row.good else 119,
        "script": None,
        "instance": {"id": row.instance, "name": row.name, "launched_by_run": False},
        "receipt": receipt.to_dict() if receipt is not None else None,
        "outputs": [],
        "cost": {
            "unit": profile.unit,
            "run": _spent(row, choice, now_at),
            "now_per_hour": rate,
            "rate_source": profile.rate_source,
        },
        "error": error,
        "next": f"jetrun collect {row.run}   ({_there(row)}: what its script left is on the instance's disk)",
        "cloud": choice.name,
        "warnings": [] if error else [f"told by jetrun reap on {socket.gethostname()}; {whose}"],
    }


def _error(row: Reaped, cloud: str, whose: str) -> Mapping[str, str] | None:
    """What is wrong, in three parts; None where it was ended."""
    if row.fate is Fate.THEIRS:
        return {
            "code": "somebody-elses",
            "what": f"{row.name} was started by a person after the run; jetrun does nothing to it, now or later",
            "state": whose,
            "next": f"jetrun collect {row.run}   ({_there(row)}, once it is free again)",
        }
    if row.good:
        return None
    if row.receipt is None:
        return {
            "code": f"reaper-{row.fate.value}",
            "what": f"instance {row.name} ({row.instance}) may be up: {row.words}",
            "state": whose or "not known",
            "next": f"{command(cloud)} server show {row.instance}",
        }
    reason, openstack = row.receipt.reason, command(cloud)
    again = f"jetrun reap --os-cloud {cloud}"
    advice = {
        "locked": f"{openstack} server unlock {row.instance} && {again}",
        "stuck": f"ask the cloud's staff to reset the state of {row.instance} (request {row.receipt.blamed}), then: {again}",
    }
    return {
        "code": f"shutdown-unverified-{reason}",
        "what": f"instance {row.name} ({row.instance}) is not proven down: {reason}",
        "state": f"{row.receipt.status or 'not read'}; {whose}",
        "next": advice.get(reason, f"{openstack} server shelve {row.instance} && {again}"),
    }


def _spent(row: Reaped, choice: CloudChoice, now_at: datetime) -> float | None:
    """From the lease's grant to the proof, as if it had run all the time: an upper bound. None where the rate is not known."""
    running = choice.profile.rate_per_hour(row.flavor, row.vcpus, "ACTIVE")
    if row.lease is None or row.receipt is None or running is None:
        return None
    ended_at = row.receipt.verified_at or now_at
    return round(running * max(0.0, ended_at.timestamp() - row.lease.generation) / 3600, 4)


def _there(row: Reaped) -> str:
    """Where the run's journal is."""
    return (
        f"on the machine of {row.lease.owner}" if row.lease is not None and row.lease.owner else "where it was started"
    )
