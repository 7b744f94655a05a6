"""The driver's side of its guardian: starting it, giving it signs of life, and telling it how the run ended."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jetrun.engine import guardian
from jetrun.engine.guardian import Page
from jetrun.errors import InternalError
from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.ladder import Reason
from jetrun.guarantee.receipt import Receipt
from jetrun.journal.owner import Owner

STANDS_S = 10.0
"""Until a guardian that was started must stand; it takes 0.03 s on an idle machine."""
LOOK_S = 0.002
"""Between two looks whether it stands: nothing may be spent before."""

TIMES = (1, 2, 5, 10)
"""How the guardian's patience grows, in ``retry_s``; the last stands for all later tries."""

CONFINED = {
    "SLURM_JOB_ID": "batch job",
    "PBS_JOBID": "batch job",
    "LSB_JOBID": "batch job",
    "KUBERNETES_SERVICE_HOST": "container",
    "container": "container",
}
"""Variables that tell of a surrounding that ends all of its processes together."""
LINGER = "/var/lib/systemd/linger"
"""A file for each user whose systemd goes on without a session. Source: loginctl(1), enable-linger."""
CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")


_NOWHERE = (
    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    (os.POSIX_SPAWN_DUP2, 1, 2),
)
"""Whoever reads this process's output must not have to wait for the guardian's end."""


class Guard(Protocol):
    """What a run knows of its guardian."""

    def stand(self) -> Mapping[str, Any] | None:
        """Wait until it stands: what the journal keeps of it (owner, scope); None where the run does without, or has it already.

        Raises:
            InternalError: it cannot be started.
        """

    def release(self, receipt: Receipt | None, *, told: bool) -> None:
        """The run ended so: the guardian ends as well, or goes on trying. *told*: a person knows."""


class Unguarded:
    """A run without a guardian."""

    def stand(self) -> None:
        """There is none."""

    def release(self, receipt: Receipt | None, *, told: bool) -> None:
        """Nobody asks."""


class Guarded:
    """A run with a guardian: one that this process starts, or the one that started this process.

    Args:
        page: what is shared with it.
    """

    def __init__(self, page: Page) -> None:
        self.page = page

    @classmethod
    def inherited(cls, environ: MutableMapping[str, str]) -> Guarded | None:
        """The guardian that has started this process; None without one. No child of ours learns of it."""
        word = environ.pop(guardian.PAGE, None)
        if word is None:
            return None
        os.set_inheritable(int(word), False)
        return cls(Page(int(word)))

    @property
    def typed(self) -> dict[str, str]:
        """Passwords that a person typed for the run's first process, by what asked for them."""
        found: dict[str, str] = self.page.order["typed"]
        return found

    def stand(self) -> Mapping[str, Any] | None:
        """It has stood for long."""
        return None

    def release(self, receipt: Receipt | None, *, told: bool) -> None:
        """The run ended so: the guardian ends as well, or goes on trying."""
        theirs = receipt is not None and receipt.reason == Reason.SOMEBODY_ELSES
        if receipt is None or receipt.verified or (theirs and told):
            self.page.verdict = guardian.DONE
        else:
            self.page.verdict = guardian.TOLD if told else guardian.UNTOLD


class NewlyGuarded(Guarded):
    """A run whose guardian this process starts; it is not waited for before ``stand``.

    Args:
        folder: the run's, which exists. environ: what whoever continues the run shall read.
        only_end: whoever continues the run only collects and ends it. bounds: of the cloud.
        typed: passwords that a person typed, by what asked for them. mail_s: how long one mail may take without a sign of life.
        detached: whoever carries the run first, as soon as this process is gone, carries it whole.
        retry: this process does not carry it: it is over and unproven, or nobody's. A person has been told.
    """

    def __init__(
        self,
        run: str,
        folder: Path,
        *,
        environ: Mapping[str, str],
        only_end: bool,
        bounds: Bounds,
        typed: Mapping[str, str],
        mail_s: float = 0.0,
        detached: bool = False,
        retry: bool = False,
    ) -> None:
        me = Owner.of_this_process()
        still_s = max(bounds.stand_still_s, mail_s + STANDS_S)
        # -P: a module of the user's own in the folder that they work in must not stand for one of Python's.
        words = [sys.executable, "-P", "-m", "jetrun", "continue", run]
        act = [*words, *(["--only-end"] if only_end else [])]
        order = {
            "driver": me.pid,
            "started": me.start_time,
            "begin": words if detached else act,
            "act": act,
            "folder": str(folder),
            "still_s": still_s,
            "look_s": min(guardian.LOOK_S, still_s / 4),
            "waits_s": [*([0.0] if retry else []), *(bounds.retry_s * times for times in TIMES)],
            "told_s": guardian.TOLD_S,
            "typed": dict(typed),
        }
        super().__init__(Page.make(order))
        if retry:
            self.page.verdict = guardian.TOLD
        self._environ = dict(environ)
        self._words = [sys.executable, "-I", "-S", guardian.__file__, str(self.page.descriptor), run]
        self._scope = _scope(run, environ)
        self._failure = ""
        self._pid = self._start()

    def stand(self) -> Mapping[str, Any] | None:
        """Wait until it stands: what the journal keeps of it.

        Raises:
            InternalError: it could not be started, has ended, or does not stand within ``STANDS_S``.
        """
        until = time.monotonic() + STANDS_S
        while not (standing := self.page.standing):
            if self._pid and os.waitpid(self._pid, os.WNOHANG)[0] and not self.page.standing:
                self._failure = "it ended at once"
                self._pid = 0
                if self._scope:
                    # There is a systemd of the user's, and it does not take it.
                    self._scope, self._failure = (), ""
                    self._pid = self._start()
            if not self._failure and time.monotonic() > until:
                self._failure = f"it does not stand after {STANDS_S:.0f} s"
            if self._failure:
                raise _missing(self._failure)
            time.sleep(LOOK_S)
        scope = confined(self._environ) or ("systemd" if self._scope else "")
        return {"owner": Owner.of(standing).to_text(), "scope": scope}

    def _start(self) -> int:
        """Start it, in a session of its own; its pid, or that of what starts it, 0 where no process can be made."""
        words = [*self._scope, *self._words]
        try:
            os.set_inheritable(self.page.descriptor, True)
            return os.posix_spawn(words[0], words, self._environ, setsid=True, file_actions=_NOWHERE)
        except OSError as error:
            self._failure = str(error)
            return 0
        finally:
            os.set_inheritable(self.page.descriptor, False)


def _scope(run: str, environ: Mapping[str, str]) -> Sequence[str]:
    """The command that puts a process in a scope of the user's own systemd; empty where that would not outlive the login.

    Without lingering the user's systemd ends with their last session, and everything in it; a session of its own may well go on.
    """
    bus = environ.get("XDG_RUNTIME_DIR", "")
    if not bus or not Path(bus, "systemd", "private").exists() or not Path(LINGER, _user()).exists():
        return ()
    program = shutil.which("systemd-run", path=environ.get("PATH"))
    if program is None:
        return ()
    return (program, "--user", "--scope", "--quiet", "--collect", f"--unit=jetrun-guardian-{run}-{os.getpid()}")


def _user() -> str:
    """This user's name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def confined(environ: Mapping[str, str]) -> str:
    """What ends all processes of this surrounding together; empty where nothing is known to."""
    for name, what in CONFINED.items():
        if environ.get(name):
            return what
    return "container" if any(Path(name).exists() for name in CONTAINER_FILES) else ""


def _missing(why: str) -> InternalError:
    return InternalError(
        code="no-guardian",
        what=f"the guardian, which ends the run if this process dies, cannot be started: {why}",
        state="not started by this run",
        next='on_driver_loss = "nothing"   # at the top of the job file; then the switch and jetrun reap alone cover that',
    )
