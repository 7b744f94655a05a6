"""A run's life as a fold over its journal: what has happened, and which phase comes next. Pure.

Crash-only: the phase is never stored as a position that could be wrong, it follows from the facts. Whichever process
continues a run folds the same records into the same :class:`RunState` and goes on from there.

Over 300 lines because a run's life is one fold over its records, and stands in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, assert_never

from jetrun.guarantee import receipt as receipts
from jetrun.guarantee.power import Action, InstanceId, RequestId, RunId
from jetrun.guarantee.receipt import Receipt
from jetrun.guarantee.requests import Outcome, Sent


class Phase(StrEnum):
    """Where a run is."""

    PREPARE = "prepare"
    ACQUIRE = "acquire"
    CONNECT = "connect"
    STAGE_IN = "stage_in"
    EXECUTE = "execute"
    STAGE_OUT = "stage_out"
    SHUTDOWN = "shutdown"
    REPORT = "report"
    CLOSED = "closed"


class Kind(StrEnum):
    """What a journal record states. Written before the act where the act can start or prolong spending."""

    OPENED = "run.opened"
    OWNED = "run.owned"
    GUARDED = "run.guarded"
    PHASE = "phase.entered"
    IDENTIFIED = "cloud.identified"
    RESOLVED = "instance.resolved"
    PLANNED = "launch.planned"
    BASELINE = "instance.baseline"
    LEASE_INTENDED = "lease.intended"
    LEASE_GRANTED = "lease.granted"
    LEASE_ENDED = "lease.ended"
    PORT_INTENDED = "port.intended"
    PORT_MADE = "port.made"
    CREATE_INTENDED = "create.intended"
    CREATE_REFUSED = "create.refused"
    CREATED = "instance.created"
    FLOATING_IP_INTENDED = "floating_ip.intended"
    FLOATING_IP_MADE = "floating_ip.made"
    REQUEST_INTENDED = "request.intended"
    REQUEST_REPLIED = "request.replied"
    UP = "instance.up"
    REACHED = "instance.reached"
    SWITCH_ARMED = "switch.armed"
    CREDENTIAL_INTENDED = "credential.intended"
    CREDENTIAL_MADE = "credential.made"
    CREDENTIAL_REMOVED = "credential.removed"
    STAGED_IN = "inputs.staged"
    SCRIPT_INTENDED = "script.intended"
    SCRIPT_STARTED = "script.started"
    SCRIPT_ENDED = "script.ended"
    STOP_ASKED = "stop.asked"
    TROUBLE = "run.trouble"
    STAGED_OUT = "outputs.staged"
    SHUTDOWN_BEGAN = "shutdown.began"
    RECEIPT = "receipt.written"
    UNTOUCHED = "instance.untouched"
    EXTENDED = "lease.extended"
    COLLECT_ASKED = "collect.asked"
    MAIL_QUEUED = "mail.queued"
    REPORTED = "run.reported"
    CLOSED = "run.closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of the journal."""

    at: datetime
    kind: Kind
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What is known of a run from its journal.

    Attributes:
        launched: the instance is made by this run. adopted: it was running already, and taken over.
        script_intended: the script may have run, so the disk may hold results.
        trouble: the first error, as the JSON document holds it (code, what, state, next) with ``exit_code``.
        credential: name, and once known id, of the credential that the run made for its instance; None when it is gone.
        collecting: the script is over; the run was opened again to fetch its outputs.
        unproven_since_at: when a receipt first said that it proves nothing; None where it never was so.
        untouched: nothing was asked of the instance, or nothing was made.
        stop_cause: why the run was asked to end early (a signal's name, ``cancel``, ``timeout``), empty otherwise.
        intended: requests that may have been sent and whose outcome is not in the journal.
        phases: (phase, entered at), in order.
    """

    run: RunId
    phase: Phase = Phase.PREPARE
    job: Mapping[str, Any]
    opened_at: datetime
    cloud: Mapping[str, Any] | None = None
    instance: InstanceId | None = None
    instance_name: str = ""
    project_id: str = ""
    flavor: str | None = None
    vcpus: int | None = None
    launched: bool = False
    create_intended: bool = False
    port: Mapping[str, Any] | None = None
    port_name: str = ""
    floating_ip: Mapping[str, Any] | None = None
    floating_ip_intended: bool = False
    lease: Mapping[str, Any] | None = None
    lease_granted: bool = False
    lease_ended: bool = False
    known: frozenset[RequestId] = frozenset()
    sent: tuple[Sent, ...] = ()
    intended: tuple[Sent, ...] = ()
    up: bool = False
    adopted: bool = False
    address: Mapping[str, Any] | None = None
    switch: Mapping[str, Any] | None = None
    credential: Mapping[str, Any] | None = None
    staged_in: bool = False
    script_intended: bool = False
    script: Mapping[str, Any] | None = None
    script_ended: Mapping[str, Any] | None = None
    collecting: bool = False
    stop_cause: str = ""
    trouble: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    shutdown: Mapping[str, Any] | None = None
    receipt: Receipt | None = None
    unproven_since_at: datetime | None = None
    untouched: bool = False
    reported: bool = False
    exit_code: int | None = None
    phases: tuple[tuple[Phase, datetime], ...] = ()

    @property
    def spending_possible(self) -> bool:
        """Whether a request that can start spending may have left this machine, or a running instance was taken over."""
        starts = {Action.START, Action.UNSHELVE, Action.RESUME, Action.UNPAUSE}
        asked = any(sent.action in starts and sent.outcome in _MAYBE for sent in (*self.sent, *self.intended))
        taken_over = self.up and self.adopted and self.address is not None
        return asked or taken_over or self.create_intended or (self.up and not self.adopted)

    @property
    def outputs_collected(self) -> bool:
        """Whether everything that the script may have left is known to be here, or nothing can be there."""
        # What a script that may still run has written so far is not what it will have written.
        over = self.script_ended is not None and self.script_ended.get("state") != "running"
        return (not self.script_intended) or (over and bool(self.outputs is not None and self.outputs.get("complete")))


_MAYBE = frozenset({Outcome.ACCEPTED, Outcome.AMBIGUOUS})


def next_phase(state: RunState) -> Phase:
    """The phase that the facts ask for now."""
    if state.exit_code is not None:
        return Phase.CLOSED
    if state.receipt is not None or state.untouched:
        return Phase.REPORT
    ending = bool(state.stop_cause) or state.trouble is not None
    if state.shutdown is not None:
        return Phase.SHUTDOWN
    if ending and (not state.script_intended or (state.collecting and state.address is None)):
        return Phase.SHUTDOWN
    if state.cloud is None or (state.instance is None and "on" in state.job["instance"]):
        return Phase.PREPARE
    if not state.up:
        return Phase.ACQUIRE
    if (not state.script_intended or state.collecting) and (state.address is None or state.switch is None):
        return Phase.CONNECT
    if not state.script_intended and not state.staged_in:
        return Phase.STAGE_IN
    if state.script_ended is None and not ending:
        return Phase.EXECUTE
    if state.outputs is None:
        return Phase.STAGE_OUT
    return Phase.SHUTDOWN


def replay(run: RunId, records: Iterable[Record]) -> RunState:
    """The state that *records* (oldest first) lead to.

    Raises:
        ValueError: the first record does not open a run.
    """
    state: RunState | None = None
    for record in records:
        if state is None:
            if record.kind is not Kind.OPENED:
                raise ValueError(f"the journal of {run} begins with {record.kind}")
            state = RunState(run=run, job=record.data["job"], opened_at=record.at)
        else:
            state = apply(state, record)
    if state is None:
        raise ValueError(f"the journal of {run} is empty")
    return state


def apply(state: RunState, record: Record) -> RunState:
    """*state* after *record*."""
    data = record.data
    match record.kind:
        case Kind.PHASE:
            phase = Phase(data["phase"])
            return replace(state, phase=phase, phases=(*state.phases, (phase, record.at)))
        case Kind.IDENTIFIED:
            return replace(state, cloud=data)
        case Kind.RESOLVED | Kind.CREATED:
            return replace(
                state,
                instance=InstanceId(data["id"]),
                instance_name=data["name"],
                project_id=data["project_id"],
                flavor=data.get("flavor"),
                vcpus=data.get("vcpus"),
                launched=state.launched or record.kind is Kind.CREATED,
                known=state.known | _ids(data),
            )
        case Kind.PLANNED:
            return replace(state, flavor=data["flavor"], vcpus=data["vcpus"])
        case Kind.BASELINE:
            return replace(state, known=state.known | _ids(data))
        case Kind.LEASE_INTENDED:
            return replace(state, lease=data)
        case Kind.LEASE_GRANTED | Kind.EXTENDED:
            return replace(state, lease=data, lease_granted=True)
        case Kind.LEASE_ENDED:
            return replace(state, lease_ended=True)
        case Kind.PORT_INTENDED:
            return replace(state, port_name=data["name"])
        case Kind.PORT_MADE:
            return replace(state, port=data)
        case Kind.CREATE_INTENDED:
            return replace(state, create_intended=True, flavor=data.get("flavor"), vcpus=data.get("vcpus"))
        case Kind.CREATE_REFUSED:
            return replace(state, create_intended=False)
        case Kind.FLOATING_IP_INTENDED:
            return replace(state, floating_ip_intended=True)
        case Kind.FLOATING_IP_MADE:
            return replace(state, floating_ip=data)
        case Kind.REQUEST_INTENDED:
            return replace(state, intended=(*state.intended, _sent(data, record.at)))
        case Kind.REQUEST_REPLIED:
            sent = _sent(data, record.at)
            return replace(
                state, intended=state.intended[:-1], sent=(*state.sent, sent), known=state.known | _ids(data)
            )
        case Kind.UP:
            return replace(state, up=True, adopted=bool(data.get("adopted")), known=state.known | _ids(data))
        case Kind.REACHED:
            return replace(state, address=data)
        case Kind.SWITCH_ARMED:
            return replace(state, switch=data)
        case Kind.CREDENTIAL_INTENDED | Kind.CREDENTIAL_MADE:
            return replace(state, credential=data)
        case Kind.CREDENTIAL_REMOVED:
            return replace(state, credential=None)
        case Kind.STAGED_IN:
            return replace(state, staged_in=True)
        case Kind.SCRIPT_INTENDED:
            return replace(state, script_intended=True)
        case Kind.SCRIPT_STARTED:
            return replace(state, script=data)
        case Kind.SCRIPT_ENDED:
            return replace(state, script_ended=data)
        case Kind.STOP_ASKED:
            return replace(state, stop_cause=state.stop_cause or data["cause"])
        case Kind.TROUBLE:
            return replace(state, trouble=state.trouble or data)
        case Kind.STAGED_OUT:
            return replace(state, outputs=data)
        case Kind.SHUTDOWN_BEGAN:
            # What was proven once, and goes up the ladder again, is a matter of its own.
            since = None if state.receipt is not None and state.receipt.verified else state.unproven_since_at
            return replace(
                state,
                shutdown=data,
                receipt=None,
                untouched=False,
                reported=False,
                exit_code=None,
                unproven_since_at=since,
            )
        case Kind.RECEIPT:
            receipt = receipts.from_dict(data)
            since = state.unproven_since_at or (None if receipt.verified else record.at)
            return replace(state, receipt=receipt, unproven_since_at=since)
        case Kind.COLLECT_ASKED:
            return replace(
                state,
                collecting=True,
                outputs=None,
                shutdown=None,
                receipt=None,
                untouched=False,
                reported=False,
                exit_code=None,
                trouble=None,
                stop_cause="",
                up=False,
                sent=(),
                intended=(),
                lease=None,
                lease_granted=False,
                lease_ended=False,
                address=None,
                switch=None,
                unproven_since_at=None,
                script_ended=state.script_ended or {"state": "unknown", "exit_code": None, "stopped": ""},
            )
        case Kind.UNTOUCHED:
            return replace(state, untouched=True)
        case Kind.REPORTED:
            return replace(state, reported=True)
        case Kind.CLOSED:
            return replace(state, exit_code=data["exit_code"])
        case Kind.OPENED | Kind.OWNED | Kind.GUARDED | Kind.MAIL_QUEUED:
            return state
        case _:
            assert_never(record.kind)


def _sent(data: Mapping[str, Any], at: datetime) -> Sent:
    """The request that a record states; without an outcome it is ambiguous: it may have left this machine."""
    return Sent(
        action=Action(data["action"]),
        at=datetime.fromisoformat(data["at"]) if "at" in data else at,
        replied_at=at,
        outcome=Outcome(data.get("outcome", Outcome.AMBIGUOUS)),
        request_id=RequestId(data["request_id"]) if data.get("request_id") else None,
    )


def _ids(data: Mapping[str, Any]) -> frozenset[RequestId]:
    """The request ids that a record names."""
    found = list(data.get("request_ids", ()))
    if data.get("request_id"):
        found.append(data["request_id"])
    return frozenset(RequestId(word) for word in found)
