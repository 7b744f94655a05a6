"""Signals as flags that the loop reads: each leads to collecting what there is and a verified shutdown, none shortens it.

Installed by the CLI around one run. A second Ctrl-C changes nothing and says what the instance is doing; Ctrl-Z is
refused with a word why. Handlers only set flags and write to the terminal with ``os.write``.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

CAUSES = {
    signal.SIGINT: "SIGINT",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "SIGHUP",
    signal.SIGUSR1: "cancel",
}
"""What each signal asks. SIGUSR1 is how ``jetrun cancel`` reaches the driver."""


class Interrupts:
    """Why the run was asked to end; empty while it was not.

    Attributes:
        cause: the first signal's name, ``cancel``, or empty.
        describe: gives the sentence that a second Ctrl-C shows; set by the engine.
    """

    def __init__(self) -> None:
        self.cause = ""
        self.describe: Callable[[], str] = lambda: "jetrun is ending the run"
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers."""
        for number in CAUSES:
            self._before[number] = signal.signal(number, self._asked)
        self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._refuse)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _asked(self, number: int, _frame: FrameType | None) -> None:
        """Note the first request; at a later one say how things stand."""
        if self.cause:
            _tell(f"\n{self.describe()}\n")
            return
        self.cause = CAUSES[signal.Signals(number)]
        _tell(f"\n{self.cause}: ending the run: collecting what there is, then bringing the instance down.\n")

    def _refuse(self, _number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z would leave the instance running with nobody watching."""
        _tell(
            "\nCtrl-Z is refused: a stopped jetrun could not bring the instance down. "
            "Ctrl-C ends the run; run it in tmux, or with &, to have the terminal back.\n"
        )


def _tell(text: str) -> None:
    """Write to the terminal, which may be gone, or held by Ctrl-S: then nothing is said."""
    try:
        if select.select([], [2], [], 0)[1]:
            os.write(2, text.encode())
    except (OSError, ValueError):
        return
