"""What is really so, read where no API can colour it: Nova's own database, and libvirt's list of running domains."""

from __future__ import annotations

import atexit
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from lab import place


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One instance in Nova's database, and whether a domain of it runs.

    Attributes:
        power_state: Nova's number; 4 is SHUTDOWN. deleted: the row is marked so.
    """

    vm_state: str
    task_state: str | None
    power_state: int
    host: str | None
    deleted: bool
    runs: bool

    @property
    def is_down(self) -> bool:
        """Off, off the host or gone, with nothing under way and no domain."""
        return (
            self.task_state is None
            and not self.runs
            and (self.deleted or self.vm_state in {"stopped", "shelved_offloaded"})
        )


class Client:
    """One connection to Nova's database for all questions: a program for each would take a processor for itself."""

    def __init__(self) -> None:
        words = [
            "mariadb",
            "--defaults-file=/dev/null",
            "-h",
            "127.0.0.1",
            "-u",
            "lab",
            f"-p{place.PASSWORD}",
            "nova",
            "-BNn",
        ]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self._lock = threading.Lock()

    def ask(self, statement: str) -> list[list[str]]:
        """The rows of a statement; an error ends the client, and the question after it."""
        asking, answers = self._process.stdin, self._process.stdout
        assert asking is not None
        assert answers is not None
        with self._lock:
            asking.write(f"{statement};\nSELECT '{END}';\n")
            asking.flush()
            rows = []
            while (line := answers.readline()).rstrip("\n") != END:
                assert line, f"the database client has ended: {statement}"
                rows.append(line.rstrip("\n").split("\t"))
        return rows

    def close(self) -> None:
        """End it."""
        self._process.communicate()


END = "@end@"


@cache
def client() -> Client:
    made = Client()
    atexit.register(made.close)
    return made


def sql(statement: str) -> list[list[str]]:
    """The rows of a statement."""
    return client().ask(statement)


def running() -> set[str]:
    """The instance ids of libvirt's running domains."""
    said = subprocess.run(
        ["virsh", "-q", "-c", "qemu:///system", "list", "--uuid"], capture_output=True, text=True, check=True
    )
    return set(said.stdout.split())


def state(instance: str) -> tuple[str, str]:
    """vm_state and task_state (empty for none) as the database has them now; cheap enough to be asked all the time."""
    ((vm_state, task_state),) = sql(f"SELECT vm_state, task_state FROM instances WHERE uuid = '{instance}'")  # noqa: S608
    return vm_state, "" if task_state == "NULL" else task_state


def row(instance: str) -> Row:
    """The instance as the database has it now, and whether it runs."""
    rows = sql(f"SELECT vm_state, task_state, power_state, host, deleted FROM instances WHERE uuid = '{instance}'")  # noqa: S608
    assert len(rows) == 1, f"{instance}: {rows}"
    vm_state, task_state, power_state, host, deleted = rows[0]
    return Row(
        vm_state=vm_state,
        task_state=None if task_state == "NULL" else task_state,
        power_state=int(power_state),
        host=None if host == "NULL" else host,
        deleted=deleted != "0",
        runs=instance in running(),
    )


def made_by(run: str) -> list[str]:
    """The ids of all instances, deleted ones too, that carry the mark of that run."""
    marked = f"SELECT DISTINCT instance_uuid FROM instance_metadata WHERE `key` = 'jetrun_run' AND value = '{run}'"  # noqa: S608
    return [line[0] for line in sql(marked)]


def eventually(claim: Callable[[], bool], within_s: float, every_s: float = 0.3) -> float:
    """Waits for what others do: the seconds that it took."""
    begun = time.monotonic()
    while not claim():
        assert time.monotonic() - begun < within_s, f"not within {within_s:.0f} s"
        time.sleep(every_s)
    return time.monotonic() - begun
