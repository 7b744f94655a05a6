"""The guardian: a small process that outlives the driver, kills one that stands still, and carries the run on.

A program of its own, ``python -I -S guardian.py FD RUN``: nothing of jetrun's and little of Python's is loaded, and what acts is
``jetrun continue``, started when it is needed. All that it knows lies on its *page*: memory that driver, guardian and whoever
continues the run share by an inherited descriptor, so that no secret is ever in a file or on a command line.

It ends when the run's end is proven, or when a person knows that it is not and a day has passed (invariant 4).
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOOK_S = 30.0
"""Between two looks at the driver's sign of life: two wakeups a minute. Its end is seen at once, without looking."""
TOLD_S = 24 * 3600.0
"""How long it goes on trying once a person was told."""

UNDER_WAY, DONE, TOLD, UNTOLD = range(4)
"""How the newest driver left: not at all; nothing is up; may be up and a person was told; may be up and nobody was told."""
_LIFE, _PID, _VERDICT, _ORDER = 0, 8, 16, 24
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP, signal.SIGUSR1)
PAGE = "JETRUN_GUARDIAN_PAGE"
"""The variable that tells a continued run which descriptor its guardian's page is."""


class Page:
    """The memory that driver and guardian share.

    Args:
        descriptor: of a memory file.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def make(cls, order: dict[str, Any]) -> Page:
        """A new page with the guardian's order on it."""
        page = cls(os.memfd_create("jetrun"))
        os.pwrite(page.descriptor, json.dumps(order).encode(), _ORDER)
        page.sign()
        return page

    @property
    def order(self) -> dict[str, Any]:
        """What the guardian is to do; see ``Guardian``."""
        return dict(json.loads(os.pread(self.descriptor, 1 << 20, _ORDER)))

    def sign(self) -> None:
        """The driver's sign of life."""
        self._put(_LIFE, time.monotonic_ns())

    @property
    def signed(self) -> int:
        """When the driver last gave a sign of life (monotonic, ns)."""
        return self._get(_LIFE)

    @property
    def standing(self) -> int:
        """The guardian's pid, 0 while there is none."""
        return self._get(_PID)

    def stand(self, pid: int) -> None:
        """The guardian is there."""
        self._put(_PID, pid)

    @property
    def verdict(self) -> int:
        """How the newest driver left."""
        return self._get(_VERDICT)

    @verdict.setter
    def verdict(self, verdict: int) -> None:
        self._put(_VERDICT, verdict)

    def _put(self, place: int, value: int) -> None:
        os.pwrite(self.descriptor, value.to_bytes(8, "little"), place)

    def _get(self, place: int) -> int:
        return int.from_bytes(os.pread(self.descriptor, 8, place), "little")


class Watched:
    """A process whose end is waited for.

    Args:
        started: its start time as proc(5) has it, so that a reused pid is nobody; empty for a child of our own.
    """

    def __init__(self, pid: int, started: str = "") -> None:
        self.pid = pid
        try:
            self._descriptor = os.pidfd_open(pid)
        except OSError:
            self._descriptor = -1
        if started and start_time(pid) != started:
            self._leave()

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end, that long at most; whether it has ended."""
        if self._descriptor < 0:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if not poll.poll(max(0.0, seconds) * 1000):
            return False
        self._leave()
        return True

    def kill(self) -> None:
        """No request of it is sent after this: it never runs again, even where it takes time to end."""
        if self._descriptor >= 0:
            try:
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)
            except ProcessLookupError:
                return

    def _leave(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


class Guardian:
    """Watches one run to its end.

    The order: ``driver`` (pid) and ``started`` (its start time); ``begin``, the command that carries the run the first time, and
    ``act``, the one that continues it; ``folder``, the run's own, for its pid and the output of those commands; ``still_s``;
    ``look_s``, ``waits_s``, ``told_s``.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        order = page.order
        self.driver = Watched(order["driver"], order["started"])
        self.words: list[str] = order["begin"]
        self.act: list[str] = order["act"]
        self.folder = str(order["folder"])
        self.still_s = float(order["still_s"])
        self.look_s = float(order["look_s"])
        self.waits_s: list[float] = order["waits_s"]
        self.told_s = float(order["told_s"])

    def stand(self) -> None:
        """Say that it is there, to the driver and, by a file, to ``jetrun ps``.

        Another one of the same run may stand already, for an earlier process of it: each watches its own, and of those that act the
        journal lets one at a time.
        """
        mine = os.getpid()
        try:
            note = os.open(f"{self.folder}/guardian.pid", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            os.write(note, str(mine).encode())
            os.close(note)
        except OSError:
            # A disk that is full, or a folder that is gone: the journal has it as well.
            pass
        self.page.stand(mine)

    def guard(self) -> None:
        """Until the run's end is proven or told."""
        self.watch(self.driver)
        told_at: float | None = None
        tries = 0
        while self.page.verdict != DONE and self._can_act():
            before = self.page.verdict
            now = time.monotonic()
            told_at = (now if told_at is None else told_at) if before == TOLD else None
            if told_at is not None and now - told_at > self.told_s:
                return
            if tries or before in {TOLD, UNTOLD}:
                time.sleep(self.waits_s[min(tries, len(self.waits_s) - 1)])
            tries += 1
            self.page.verdict = UNDER_WAY
            self.page.sign()
            try:
                self.watch(Watched(self.begin()))
            except OSError as error:
                # No process can be made, or what continues the run is not there just now: later, perhaps.
                self.note(f"the guardian cannot act: {error}")
            if self.page.verdict == UNDER_WAY and before == TOLD:
                # It could not even look: what the person was told still stands.
                self.page.verdict = TOLD

    def _can_act(self) -> bool:
        """Whether the run's folder may be there: without it nothing is known of the run any more."""
        try:
            os.stat(self.folder)  # noqa: PTH116 - pathlib is not loaded here
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def watch(self, driver: Watched) -> None:
        """Until that process has ended, or has said how the run ended, whatever else it does then.

        One that gives no sign of life for ``still_s`` is killed, and waited for. Only time in which the guardian ran itself is
        counted: neither a laptop's sleep nor a machine that was held still as a whole makes a driver stand still.
        """
        seen, still_s, looked = self.page.signed, 0.0, time.monotonic()
        while not driver.ends_within(self.look_s) and self.page.verdict == UNDER_WAY:
            now = time.monotonic()
            still_s = still_s + min(now - looked, 2 * self.look_s) if self.page.signed == seen else 0.0
            seen, looked = self.page.signed, now
            if still_s >= self.still_s:
                driver.kill()
                # What is slow and not still has twice the time when it is tried again: at last it gets through.
                self.still_s *= 2
        try:
            os.waitpid(driver.pid, os.WNOHANG)
        except ChildProcessError:
            return

    def begin(self) -> int:
        """Start the command that carries the run on; its pid."""
        try:
            os.getcwd()  # noqa: PTH109
        except OSError:
            # The folder that the driver was started in is gone, and Python would stumble over that.
            os.chdir(self.folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        output = f"{self.folder}/guardian.log"
        try:
            os.close(os.open(output, flags, 0o600))
        except OSError:
            output = "/dev/null"
        pid = os.posix_spawn(
            self.words[0],
            self.words,
            {**os.environ, PAGE: str(self.page.descriptor)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, output, flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsigdef=_IGNORED,
        )
        self.words = self.act
        return pid

    def note(self, text: str) -> None:
        """Leave a line where the output of what it starts goes."""
        try:
            with open(f"{self.folder}/guardian.log", "a") as file:  # noqa: PTH123
                file.write(text + "\n")
        except OSError:
            return


def start_time(pid: int) -> str:
    """The process's start in clock ticks since boot, empty when there is none. Source: proc(5), stat, field 22."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def main() -> None:
    """Guard the run of the page that was inherited."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    guardian = Guardian(Page(int(sys.argv[1])))
    guardian.stand()
    guardian.guard()


if __name__ == "__main__":
    main()
