"""Puts the adapters together for one cloud and one run: configuration, journal, cloud, SSH, mail. Used by the API and the CLI."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from jetrun.config import Config, load_config
from jetrun.engine.clock import SystemClock
from jetrun.engine.context import RunContext, Screen
from jetrun.engine.guardian import PAGE
from jetrun.engine.guarding import Guard, Guarded, NewlyGuarded, Unguarded
from jetrun.engine.interrupts import Interrupts
from jetrun.guarantee.lifecycle import Kind, RunState
from jetrun.guarantee.power import RunId
from jetrun.job import Job, Launch, from_mapping, to_mapping
from jetrun.journal.store import Journal
from jetrun.log import RunLog
from jetrun.telling import Telling

if TYPE_CHECKING:
    from jetrun.cloud.credentials import CloudChoice
    from jetrun.cloud.interface import ShelveKeys
    from jetrun.cloud.openstack import OpenStackCloud


class House:
    """Everything that belongs to this user on this machine.

    Args:
        environ: the environment to read; the process's own by default.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ = dict(os.environ if environ is None else environ)
        self.config: Config = load_config(self.environ)
        self.clock = SystemClock()
        self.guardian = self._guardian_before_us()
        self.journal = Journal(self.config.home / "journal.sqlite", now=self.clock.now)
        self.telling = Telling(self.config, self.journal, now=self.clock.now)
        self._closing: list[Callable[[], None]] = [self.journal.close]

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        for close in reversed(self._closing):
            close()

    def _guardian_before_us(self) -> Guarded | None:
        """The guardian that started this process, and with it what a person typed for its run."""
        os.environ.pop(PAGE, None)
        found = Guarded.inherited(self.environ)
        if found is not None:
            from jetrun.cloud.sources import remember  # noqa: PLC0415

            remember(found.typed)
        return found

    def choose_cloud(self, wanted: str | None, ask: Callable[[str], str] | None = None) -> CloudChoice:
        """The cloud that is meant; *ask* asks for a password instead of the terminal."""
        from jetrun.cloud.credentials import choose  # noqa: PLC0415 - openstacksdk costs a third of a second

        meant = wanted or self.config.cloud if not self.environ.get("OS_CLOUD") else wanted
        return choose(meant, self.environ) if ask is None else choose(meant, self.environ, ask)

    def open_cloud(self, choice: CloudChoice) -> OpenStackCloud:
        """The adapter of a cloud."""
        from jetrun.cloud.openstack import OpenStackCloud  # noqa: PLC0415

        cloud = OpenStackCloud(choice)
        cloud.wire.alive = self.clock.alive
        self._closing.append(cloud.close)
        return cloud

    # --- runs ---

    def begin(self, job: Job, choice: CloudChoice) -> RunId:
        """Open a run in the journal; its id is time and chance, so that it sorts and never repeats."""
        run = RunId(f"{self.clock.now():%Y%m%dT%H%M%S}-{secrets.token_hex(2)}")
        kept = {**to_mapping(job), "cloud": choice.name, "folder": os.getcwd()}  # noqa: PTH109
        self.journal.open_run(run, name=job.name, job=kept)
        return run

    def context(self, run: RunId, choice: CloudChoice, *, screen: Screen, interrupts: Interrupts) -> RunContext:
        """What the engine needs to carry *run*; the job comes from the journal."""
        from jetrun.remote.ssh import SshRemote  # noqa: PLC0415 - fabric costs 0.2 s

        state = self.journal.state(run)
        job = job_of(state)
        folder = self.folder(run)
        with contextlib.suppress(OSError):
            # A full disk keeps the log out, never a run from its end.
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        shares = bool(job.inputs or job.outputs)
        remote = SshRemote(run, host_keys=self.config.home / "host_keys", shares=shares)
        self._closing.append(remote.close)
        log = RunLog(screen, folder / "run.jsonl", run_id=run, cloud=choice.name, instance_id=state.instance or "")
        self._closing.append(log.close)
        base = Path(str(state.job.get("folder", ".")))
        public_key = self.public_key() if isinstance(job.instance, Launch) else None
        context = RunContext(
            run=run,
            job=job,
            state=state,
            journal=self.journal,
            cloud=self.open_cloud(choice),
            remote=remote,
            clock=self.clock,
            profile=choice.profile,
            screen=log,
            interrupts=interrupts,
            folder=folder,
            output_dir=base / job.output_folder(run),
            cloud_name=choice.name,
            owner=owner(),
            identities=self.identities(job, choice.profile.ssh_key),
            public_key=public_key,
            shelve_keys=self.shelve_keys(job, choice),
            tell=lambda document: self.telling.tell(run, job, document, log),
        )
        # Last: whatever refuses the run has refused it by now.
        context.guard = self.guard(run, job, choice)
        context.clock_skew_s = float((state.cloud or {}).get("clock_skew_s", 0.0))
        return context

    def shelve_keys(self, job: Job, choice: CloudChoice) -> ShelveKeys | None:
        """Where the instance's own credential comes from, None where the job does without.

        Raises:
            UsageError: the entry that the job names is not there.
        """
        if not job.self_shelve:
            return None
        from jetrun.cloud.self_shelve import MintedKeys, OwnKey  # noqa: PLC0415

        keys = MintedKeys(choice) if job.self_shelve is True else OwnKey(self.choose_cloud(job.self_shelve), choice)
        self._closing.append(keys.close)
        return keys

    def alarms(self) -> list[str]:
        """A sentence for every run whose instance is not proven down: sticky until it is, or a person has it."""
        return [
            f"NOT VERIFIED DOWN: run {row.run} ({row.name}), instance {row.instance}: jetrun verify {row.run}"
            for row in self.journal.unverified()
        ]

    def reopen_if_unverified(self, run: RunId) -> None:
        """A closed run whose receipt proves nothing goes up the ladder once more."""
        state = self.journal.state(run)
        if state.receipt is not None and not state.receipt.verified and state.exit_code is not None:
            self.journal.append(run, Kind.SHUTDOWN_BEGAN, dict(state.shutdown or {}))

    def folder(self, run: RunId) -> Path:
        """The run's local folder: its log and what is kept of it."""
        return self.config.home / "runs" / run

    def guard(self, run: RunId, job: Job, choice: CloudChoice) -> Guard:
        """The run's guardian: the one that started this process, or a new one, which is not waited for."""
        if self.guardian is None:
            if job.on_driver_loss == "nothing":
                return Unguarded()
            self.guardian = self.new_guardian(run, job, choice)
        self.clock.sign = self.guardian.page.sign
        return self.guardian

    def new_guardian(
        self, run: RunId, job: Job, choice: CloudChoice, *, detached: bool = False, retry: bool = False
    ) -> Guarded:
        """A guardian that watches this process; see ``NewlyGuarded``."""
        from jetrun.cloud.sources import typed  # noqa: PLC0415

        return NewlyGuarded(
            run,
            self.folder(run),
            environ=self.environ,
            only_end=job.on_driver_loss == "end",
            bounds=choice.profile.bounds,
            typed=typed(),
            mail_s=0.0 if self.config.mail is None else self.config.mail.timeout_s,
            detached=detached,
            retry=retry,
        )

    # --- keys ---

    def identities(self, job: Job, profile_key: str) -> Sequence[Path]:
        """Private keys to try, in order: the job's, the cloud's, jetrun's own, the user's usual ones."""
        given = [Path(key).expanduser() for key in job.ssh.keys]
        if given:
            return given
        usual = [Path("~/.ssh").expanduser() / name for name in ("id_ed25519", "id_ecdsa", "id_rsa")]
        candidates = [Path(profile_key).expanduser()] if profile_key else []
        candidates.append(self._own_key())
        if isinstance(job.instance, Launch) and job.instance.key == "auto":
            candidates.reverse()
        return [path for path in (*candidates, *usual) if path.is_file()]

    def _own_key(self) -> Path:
        """Where jetrun's own private key is, once it was needed."""
        return self.config.home / "keys" / "id_ed25519"

    def public_key(self) -> str:
        """Jetrun's own public key; the pair is made on first use."""
        path = self._own_key()
        if not path.exists():
            from jetrun.remote.keys import make_key  # noqa: PLC0415

            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            make_key(path, comment=f"jetrun {owner()}")
        return path.with_suffix(".pub").read_text(encoding="ascii").strip()


def job_of(state: RunState) -> Job:
    """The run's job, as the journal keeps it."""
    data = {key: value for key, value in state.job.items() if key not in {"cloud", "folder"}}
    return from_mapping(data, origin="journal")


def owner() -> str:
    """user@host, for people who ask whose lease it is."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
