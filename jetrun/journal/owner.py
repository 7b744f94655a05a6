"""Which process carries a run: known by host, boot, pid and start time together, so that a reused pid is nobody."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that carries a run: alive only if host, boot, pid and start time all agree."""

    host: str
    boot_id: str
    pid: int
    start_time: str

    @classmethod
    def of_this_process(cls) -> Owner:
        """This process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Owner:
        """A process of this machine."""
        return cls(host=socket.gethostname(), boot_id=_boot_id(), pid=pid, start_time=_start_time(pid))

    def is_alive(self) -> bool | None:
        """Whether that very process lives; None where it is on another host and cannot be known from here."""
        if self.host != socket.gethostname():
            return None
        return self.boot_id == _boot_id() and self.start_time == _start_time(self.pid) != ""

    def to_text(self) -> str:
        """As kept in the journal."""
        return json.dumps([self.host, self.boot_id, self.pid, self.start_time])

    @classmethod
    def from_text(cls, text: str) -> Owner:
        """The owner that ``to_text`` wrote."""
        host, boot_id, pid, start_time = json.loads(text)
        return cls(host=host, boot_id=boot_id, pid=pid, start_time=start_time)


def _boot_id() -> str:
    """This boot's id. Source: proc(5), random/boot_id."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """The process's start in clock ticks since boot, empty when there is none (or a zombie). Source: proc(5), stat, field 22."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]
