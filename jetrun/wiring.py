"""Puts the adapters together for one cloud and one run: configuration, journal, cloud, SSH, mail. Used by the API and the CLI."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import socket
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from jetrun.config import Config, load_config
from jetrun.engine.clock import SystemClock
from jetrun.engine.context import RunContext, Screen
from jetrun.engine.guardian import PAGE
from jetrun.engine.guarding import Guard, Guarded, NewlyGuarded, Unguarded
from jetrun.engine.interrupts import Interrupts
from jetrun.errors import MailError
from jetrun.guarantee.lifecycle import Kind, RunState
from jetrun.guarantee.power import RunId
from jetrun.job import Job, Launch, from_mapping, to_mapping
from jetrun.journal.outbox import Outbox, Waiting
from jetrun.journal.store import Journal
from jetrun.log import RunLog

if TYPE_CHECKING:
    from jetrun.cloud.credentials import CloudChoice
    from jetrun.cloud.interface import ShelveKeys
    from jetrun.cloud.openstack import OpenStackCloud


SETTINGS_ERRORS = frozenset(
    {"mail-login-refused", "mail-certificate-refused", "mail-not-supported", "mail-sender-refused"}
)
"""Refusals that are about the settings, not about the mail: it waits until they are mended."""


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
        self._mailed: dict[RunId, str] = {}
        self.journal = Journal(self.config.home / "journal.sqlite", now=self.clock.now)
        self.outbox = Outbox(self.journal, now=self.clock.now)
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

    def choose_cloud(self, wanted: str | None) -> CloudChoice:
        """The cloud that is meant."""
        from jetrun.cloud.credentials import choose  # noqa: PLC0415 - openstacksdk costs a third of a second

        return choose(wanted or self.config.cloud if not self.environ.get("OS_CLOUD") else wanted, self.environ)

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
            tell=lambda document: self.tell(run, job, document, log),
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
        """A sentence for every run whose instance is not proven down: sticky until it is."""
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
            self.guardian = self._new_guardian(run, job, choice)
        self.clock.sign = self.guardian.page.sign
        return self.guardian

    def _new_guardian(self, run: RunId, job: Job, choice: CloudChoice) -> Guarded:
        """A guardian for this process."""
        from jetrun.cloud.sources import typed  # noqa: PLC0415

        return NewlyGuarded(
            run,
            self.folder(run),
            environ=self.environ,
            only_end=job.on_driver_loss == "end",
            bounds=choice.profile.bounds,
            typed=typed(),
            mail_s=0.0 if self.config.mail is None else self.config.mail.timeout_s,
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

    # --- mail ---

    def tell(self, run: RunId, job: Job, document: dict[str, Any], screen: Screen) -> None:
        """Queue the mail about a run and try to send it; the document says what became of it. Never raises."""
        if not job.email.to:
            return
        if job.email.when == "failure" and document["exit_code"] == 0:
            return
        from jetrun.notify.compose import run_mail  # noqa: PLC0415 - only where a mail is wanted

        settings = self.config.mail
        sender = settings.sender if settings is not None else "jetrun@localhost"
        receipt = document.get("receipt") or {}
        kind = "report" if receipt.get("verified", True) else "alarm"
        self._mailed[run] = label = self._label(run, kind)
        message = run_mail(document, sender=sender, created_at=self.clock.now(), kind=kind, attach=job.email.attach)
        self.outbox.queue(run, label, {"to": list(job.email.to), "mail": message.to_dict()})
        self.send_due(screen, run=run)
        document["mail"] = {"state": self.outbox.state(run, label)}

    def _label(self, run: RunId, kind: str) -> str:
        """The mail's name in the outbox, which takes one of each: an alarm after it was healed is another one."""
        healed = sum(one.kind is Kind.RECEIPT and bool(one.data["verified"]) for one in self.journal.records(run))
        return f"{kind} {healed + 1}" if kind == "alarm" and healed else kind

    def mail_state(self, run: RunId) -> str:
        """``none``, ``queued``, ``sent`` or ``refused``, of the run's newest mail."""
        labels = [self._mailed[run]] if run in self._mailed else ["alarm", "report"]
        states = [self.outbox.state(run, label) for label in labels]
        return next((one for one in states if one != "none"), "none")

    def send_due(self, screen: Screen, *, run: RunId | None = None) -> int:
        """Try the mails that are due; how many a server accepted. Never raises."""
        accepted = 0
        for waiting in self.outbox.due(run):
            accepted += self._send(waiting, screen)
        return accepted

    def _send(self, waiting: Waiting, screen: Screen) -> int:
        """One attempt at one mail."""
        from jetrun.notify.mail import send  # noqa: PLC0415
        from jetrun.notify.outgoing import Outgoing  # noqa: PLC0415

        recipients = list(waiting.message["to"])
        if self.config.mail is None:
            what = f"no mail server is configured ([smtp] in {self.config.path})"
            self.outbox.failed(waiting, what, permanent=False)
            screen.event("mail.waiting", what=what)
            return 0
        try:
            accepted = send(Outgoing.from_dict(waiting.message["mail"]), self.config.mail, recipients)
        except MailError as error:
            # A wrong login or certificate is mended by the user, and then the same mail goes through.
            self.outbox.failed(waiting, error.what, permanent=error.permanent and error.code not in SETTINGS_ERRORS)
            screen.event("mail.waiting", what=error.what)
            return 0
        with contextlib.suppress(sqlite3.Error):
            # It is sent; a disk that is full must not make this an error, nor have it sent again by this process.
            self.outbox.sent(waiting)
        later = [one.address for one in accepted.refused if not one.permanent]
        if later:
            self.outbox.queue(waiting.run, f"{waiting.kind} again", {**waiting.message, "to": later})
        screen.event("mail.sent", to=", ".join(accepted.recipients))
        return 1


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
