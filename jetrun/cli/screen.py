"""What a person, a pipe or a log sees of a run while it goes on. Results go to stdout, everything here to stderr.

On a terminal: one live line (phase, elapsed, transfer) under the script's own output. Otherwise plain lines. No method
raises: a terminal that is gone must not end a run.
"""

from __future__ import annotations

import os
import time

from jetrun.cli.patient import PatientWriter
from jetrun.guarantee.lifecycle import Phase
from jetrun.remote.interface import TransferReading, TransferState

_PHASES = {
    Phase.PREPARE: "checking the cloud, the credential and the instance",
    Phase.ACQUIRE: "taking the lease and waking the instance",
    Phase.CONNECT: "connecting and arming the dead-man's switch",
    Phase.STAGE_IN: "sending the script and the inputs",
    Phase.EXECUTE: "running the script",
    Phase.STAGE_OUT: "fetching the log and the outputs",
    Phase.SHUTDOWN: "bringing the instance down and proving it",
    Phase.REPORT: "reporting",
}

_SENTENCES = {
    "run.worst_case": "costs at worst {cost}, if it needs its whole lease of {lifetime}; {edge}",
    "guardian.missing": "{what}; the shutdown goes on without",
    "guardian.confined": "the guardian ends with this {scope}: after that only the switch and jetrun reap cover the instance",
    "lease.extended": "the lease now ends at {until_at}; the switch follows",
    "lease.granted": "lease granted until {until_at}",
    "instance.unshelve_requested": "unshelve requested: {outcome} ({request_id})",
    "instance.start_requested": "start requested: {outcome} ({request_id})",
    "instance.resume_requested": "resume requested: {outcome} ({request_id})",
    "instance.unpause_requested": "unpause requested: {outcome} ({request_id})",
    "instance.shelve_requested": "shelve requested: {outcome} ({request_id})",
    "instance.stop_requested": "stop requested: {outcome} ({request_id})",
    "instance.delete_requested": "delete requested: {outcome} ({request_id})",
    "instance.created": "instance {instance_id} created",
    "instance.up": "instance is ACTIVE",
    "instance.reached": "connected to {host} as {user} (host key: {host_key})",
    "switch.not_disarmed": "the switch on the instance could not be disarmed ({what}): it may still power it off",
    "receipt.too_old": "this machine slept after the proof: looking again",
    "switch.armed": "dead-man's switch armed and read back: powers off by {deadline_at} at the latest",
    "self_shelve.armed": "the switch can have the instance shelved (credential {id}, until {expires_at}); {risk}",
    "self_shelve.unavailable": "the switch cannot have the instance shelved: {what}; {instead}",
    "inputs.staged": "inputs are there",
    "script.started": "script started",
    "script.ended": "script ended with exit code {exit_code}",
    "script.stop_asked": "stopping the script ({cause}): TERM, then KILL after {grace_s:.0f} s",
    "outputs.staged": "{files} output files are here",
    "connection.lost": "connection lost: {what}",
    "connection.restored": "connection restored; the log goes on where it stopped",
    "instance.down_verified": "verified down: {status}, by two fresh reads",
    "shutdown.unverified": "NOT VERIFIED DOWN: {reason}",
    "run.trouble_met": "{what}",
    "instance.request_refused": "{action} was not accepted: {what}",
    "instance.not_observed": "the cloud did not answer: {what}",
    "journal.lost": "the journal cannot be written: {what}; the shutdown goes on",
    "transfer.broken": "transfer of {what} broke: {failure}",
    "lease.not_ended": "the lease could not be given back ({what}); jetrun continue gives it back",
    "leftover.kept": "{what} {id} could not be removed",
    "host_key.first_use": "host key of {host} was not known; trusted on first use: {fingerprint}",
    "run.interrupted": "ending early: {cause}",
    "instance.untouched": "the instance was not touched ({state})",
    "mail.sent": "mail sent to {to}",
    "alarm.pushed": "alarm accepted by {channel}",
    "mail.waiting": "mail is not sent yet: {what}; it waits in the outbox",
}
"""Events that a person is shown, as sentences; the others are for the log. All are listed in docs/events.md."""

_QUIET = frozenset({"instance.observed"})


class TerminalScreen:
    """A run on stderr.

    Args:
        live: stderr is a terminal: redraw one status line; otherwise plain lines.
        stream_output: show the script's output as it comes.
        output_to: the file descriptor for it: 1, or 2 where a JSON document goes to stdout.
    """

    def __init__(self, *, live: bool, stream_output: bool = True, output_to: int = 1) -> None:
        self._live = live
        self._stream_output = stream_output
        self._errors = PatientWriter(2)
        self._output = self._errors if output_to == 2 else PatientWriter(output_to)
        self._began = time.monotonic()
        self._phase = ""
        self._shown = False
        self._drawn = 0.0

    def phase(self, phase: Phase) -> None:
        """A phase began."""
        if phase is Phase.CLOSED:
            return
        self._phase = phase.value
        self._line(f"{phase.value:<9} {_PHASES.get(phase, '')}")

    def event(self, name: str, **fields: object) -> None:
        """Something happened."""
        if name in _QUIET:
            self._draw(f"{fields.get('status')} {fields.get('task_state') or ''}".strip())
            return
        sentence = _SENTENCES.get(name)
        if sentence is None:
            return
        try:
            self._line(f"          {sentence.format(**fields)}")
        except (KeyError, ValueError, IndexError):
            self._line(f"          {name} {fields}")

    def note(self, text: str) -> None:
        """A sentence that belongs to no event."""
        if text:
            self._line(f"          {text}")

    def output(self, data: bytes) -> None:
        """New output of the script."""
        if not self._stream_output:
            return
        self._clear()
        self._output.write(data)

    def transfer(self, what: str, reading: TransferReading) -> None:
        """How a transfer stands."""
        if reading.state is TransferState.RUNNING and reading.sent_bytes:
            rate = f" at {reading.rate_bytes_s / 1e6:.1f} MB/s" if reading.rate_bytes_s else ""
            self._draw(f"{what}: {reading.sent_bytes / 1e6:.1f} MB{rate}")

    def close(self) -> None:
        """Leave the terminal clean, with everything shown that somebody reads."""
        self._clear()
        self._output.finish()
        if self._output.dropped_bytes:
            size = self._output.dropped_bytes
            self._line(
                f"          nobody read fast enough: {size} bytes of output were not shown; jetrun logs shows all"
            )
        self._errors.finish()

    def _write(self, text: str) -> None:
        """Write to stderr, which may be gone, or held."""
        self._errors.write(text.encode(errors="replace"))

    def _line(self, text: str) -> None:
        """A line that stays."""
        self._clear()
        self._write(f"{_elapsed(time.monotonic() - self._began)}  {text}\n")

    def _draw(self, text: str) -> None:
        """The live line, four times a second at most."""
        now = time.monotonic()
        if not self._live or now - self._drawn < 0.25:
            return
        self._drawn = now
        width = _width()
        line = f"{_elapsed(now - self._began)}  {self._phase:<9} {text}"
        self._write("\r\x1b[2K" + line[: width - 1])
        self._shown = True

    def _clear(self) -> None:
        """Remove the live line."""
        if self._shown:
            self._write("\r\x1b[2K")
            self._shown = False


def _elapsed(seconds: float) -> str:
    """Elapsed time, h:mm:ss or m:ss."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60:2}:{rest % 60:02}"


def _width() -> int:
    """The terminal's width."""
    try:
        return os.get_terminal_size(2).columns
    except OSError:
        return 80
