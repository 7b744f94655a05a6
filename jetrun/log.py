"""The log of a run: every event as one JSON line, by structlog, in the run's folder; also on stderr where that is wanted.

The only importer of structlog. Results go to stdout, logs never do. Event names are constant and listed in docs/events.md.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from jetrun.guarantee.lifecycle import Phase
from jetrun.remote.interface import TransferReading

if TYPE_CHECKING:
    from jetrun.engine.context import Screen

DEBUG = frozenset({"instance.observed"})
"""Each poll."""

WARNING = frozenset(
    {
        "connection.lost", "heartbeat.missed", "instance.not_observed", "instance.request_refused", "instance.create_unanswered",
        "port.create_unanswered", "lease.not_marked", "lease.not_ended", "lease.not_mirrored", "leftover.kept", "mail.waiting",
        "switch.not_marked", "switch.not_disarmed", "transfer.broken", "log.not_kept", "run.trouble_met", "instance.address_unknown",
        "self_shelve.unavailable", "guardian.confined", "guardian.missing",
    }
)  # fmt: skip
"""Odd, and handled."""

ERROR = frozenset({"journal.lost", "shutdown.unverified", "run.crashed"})
"""The promise is at risk."""

_HIDDEN = ("password", "secret", "token", "credential")


class RunLog:
    """A screen that writes each event down and hands it on.

    Args:
        inner: who else watches. path: the run's ``run.jsonl``; a disk that is full ends the writing, never the run.
        stderr: JSON lines there too.
    """

    def __init__(self, inner: Screen, path: Path, *, stderr: bool = False, **bound: str) -> None:
        import structlog  # noqa: PLC0415 - 60 ms that --help does not pay

        self._inner = inner
        self._file: TextIO | None = None
        try:
            self._file = path.open("a", encoding="utf-8")
        except OSError:
            inner.event("log.not_kept", what=f"{path} cannot be written")
        self._to = [target for target in (self._file, sys.stderr if stderr else None) if target is not None]
        self._log = structlog.wrap_logger(
            None,
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
                hide,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(default=str),
                self._write,
            ],
            wrapper_class=structlog.BoundLogger,
        ).bind(**bound)

    def _write(self, _logger: Any, _name: str, line: Any) -> Any:
        """One line to each target; one that fails is not tried again."""
        import structlog  # noqa: PLC0415

        for target in list(self._to):
            try:
                target.write(f"{line}\n")
                target.flush()
            except (OSError, ValueError):
                self._to.remove(target)
        raise structlog.DropEvent

    def bind(self, **more: str) -> None:
        """Every later line says this too."""
        self._log = self._log.bind(**more)

    def phase(self, phase: Phase) -> None:
        """A phase began."""
        self._log.info("phase.entered", level="info", phase=phase.value)
        self._inner.phase(phase)

    def event(self, name: str, **fields: object) -> None:
        """Something happened."""
        level = "debug" if name in DEBUG else "error" if name in ERROR else "warning" if name in WARNING else "info"
        self._log.info(name, level=level, **fields)
        if name in {"instance.created", "instance.resolved"}:
            self.bind(instance_id=str(fields.get("instance_id")))
        self._inner.event(name, **fields)

    def output(self, data: bytes) -> None:
        """The script's output has a log of its own."""
        self._inner.output(data)

    def transfer(self, what: str, reading: TransferReading) -> None:
        """How a transfer stands is for people."""
        self._inner.transfer(what, reading)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


def hide(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Whatever is named like a secret is masked, should one ever be logged (invariant 9)."""
    for key in fields:
        if any(word in key.lower() for word in _HIDDEN):
            fields[key] = "****"
    return fields
