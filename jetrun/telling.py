"""What tells people of a run: mails through a server, alarms through channels besides, all by way of the outbox.

*Told* means that a mail server or a channel accepted it. Reports go by mail alone; that an instance is not proven down, and that
it is after all, goes through every channel as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from jetrun.config import Config
from jetrun.engine.context import Screen
from jetrun.errors import MailError
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import RunId
from jetrun.job import Job
from jetrun.journal import moments
from jetrun.journal.outbox import BY, Outbox, Waiting
from jetrun.journal.store import Journal

SETTINGS_ERRORS = frozenset(
    {"mail-login-refused", "mail-certificate-refused", "mail-not-supported", "mail-sender-refused"}
)
"""Refusals that are about the settings, not about the mail: it waits until they are mended."""

LATELY = timedelta(days=30)
"""How long a mail server or a channel that accepted something is believed to work: passwords and tokens end without a word."""

MARK = "told.json"
"""In the home: when each way to tell a person last took something."""

MAIL = "mail"
"""The mail server's name among the channels."""


class Telling:
    """Tells people.

    Args:
        now: gives the wall time.
    """

    def __init__(self, config: Config, journal: Journal, *, now: Callable[[], datetime]) -> None:
        self.outbox = Outbox(journal, now=now)
        self._config = config
        self._journal = journal
        self._now = now
        self._announced: dict[RunId, str] = {}

    def tell(self, run: RunId, job: Job, document: dict[str, Any], screen: Screen) -> None:
        """Queue the messages about a run and try to send them; the document says what became of the mail."""
        receipt = document.get("receipt") or {}
        proven = "healed" if document.get("unproven") else "report"
        kind = proven if receipt.get("verified", True) else "alarm"
        to: Sequence[str] = job.email.to
        if kind == "report" and job.email.when == "failure" and document["exit_code"] == 0:
            to = ()
        self.announce(run, kind, self._episode(run, kind), document, to, screen, attach=job.email.attach)

    def announce(
        self,
        run: RunId,
        kind: str,
        label: str,
        document: dict[str, Any],
        to: Sequence[str],
        screen: Screen,
        *,
        attach: Sequence[str] = (),
    ) -> None:
        """Queue one message and try to send it at once.

        Args:
            kind: ``report`` goes by mail alone; ``alarm`` and ``healed`` through every channel. label: its name in the outbox,
                which takes one of each: who is told once is not told again.
        """
        channels = self._config.channels if kind != "report" else ()
        if not to and not channels:
            return
        from jetrun.notify.compose import run_mail  # noqa: PLC0415 - only where somebody is to be told

        self._announced[run] = label
        if kind == "healed":
            # An alarm that waits still must not be the last word.
            self.outbox.withdraw(run, "alarm", "reaper alarm")
        settings = self._config.mail
        sender = settings.sender if settings is not None else "jetrun@localhost"
        message = run_mail(document, sender=sender, created_at=self._now(), kind=kind, label=label, attach=attach)
        if to:
            self.outbox.queue(run, label, {"to": list(to), "mail": message.to_dict()})
        for one in channels:
            pushed = {"title": message.subject, "body": message.text, "urgent": message.urgent}
            self.outbox.queue(run, f"{label}{BY}{one.name}", {"channel": one.name, **pushed})
        self.send_due(screen, run=run)
        document["mail"] = {"state": self.outbox.state(run, label)}

    def told(self, run: RunId) -> bool:
        """Whether what is newest about the run's instance was accepted by a mail server or a channel."""
        return self.outbox.accepted(run, self._newest(run))

    def state(self, run: RunId) -> str:
        """``none``, ``queued``, ``sent`` or ``refused``, of the run's newest mail."""
        return self.outbox.state(run, self._newest(run))

    def _newest(self, run: RunId) -> str:
        """The label of the newest message about a run."""
        if run in self._announced:
            return self._announced[run]
        if not all(self._receipts(run)[-1:]):
            return self._episode(run, "alarm")
        healed = self._episode(run, "healed")
        return healed if self.outbox.state(run, healed) != "none" else "report"

    def _episode(self, run: RunId, kind: str) -> str:
        """The message's name in the outbox: an alarm after it was healed is another one."""
        if kind == "report":
            return kind
        seen = [True, *self._receipts(run)]
        number = sum(before != after and after == (kind == "healed") for before, after in pairwise(seen))
        return f"{kind} {number}" if number > 1 else kind

    def _receipts(self, run: RunId) -> list[bool]:
        """Whether each receipt of the run proves the instance down, oldest first; to collect again begins anew."""
        kinds = {Kind.RECEIPT, Kind.COLLECT_ASKED}
        found = [one for one in self._journal.records(run) if one.kind in kinds]
        return [one.kind is Kind.COLLECT_ASKED or bool(one.data["verified"]) for one in found]

    # --- sending ---

    def send_due(self, screen: Screen, *, run: RunId | None = None) -> int:
        """Try the messages that are due; how many were accepted. Never raises."""
        accepted = 0
        for waiting in self.outbox.due(run):
            name = str(waiting.message.get("channel", MAIL))
            if name not in self.ways:
                # Another process may know that way: what only the environment names, cron does not.
                missing = f"no mail server is configured ([smtp] in {self._config.path})"
                screen.event("mail.waiting", what=missing if name == MAIL else f"channel {name} is not known here")
            elif self.outbox.claim(waiting):
                accepted += self._send(waiting, screen)
        return accepted

    def _send(self, waiting: Waiting, screen: Screen) -> int:
        """One attempt at one message."""
        try:
            if "channel" in waiting.message:
                name = str(waiting.message["channel"])
                self._push(name, waiting)
                screen.event("alarm.pushed", channel=name)
            else:
                name = MAIL
                screen.event("mail.sent", to=", ".join(self._mail(waiting)))
        except MailError as error:
            # A wrong login or certificate is mended by the user, and then the same mail goes through.
            self.outbox.failed(waiting, error.what, permanent=error.permanent and error.code not in SETTINGS_ERRORS)
            screen.event("mail.waiting", what=error.what)
            return 0
        self.outbox.sent(waiting)
        self._note_worked(name)
        return 1

    def _mail(self, waiting: Waiting) -> Sequence[str]:
        """One mail; who got it."""
        from jetrun.notify.mail import send  # noqa: PLC0415
        from jetrun.notify.outgoing import Outgoing  # noqa: PLC0415

        settings = self._config.mail
        if settings is None:
            raise MailError(code="mail-not-set-up", what="no mail server is configured", next="jetrun init")
        accepted = send(Outgoing.from_dict(waiting.message["mail"]), settings, list(waiting.message["to"]))
        later = [one.address for one in accepted.refused if not one.permanent]
        if later:
            self.outbox.queue(waiting.run, f"{waiting.kind} again", {**waiting.message, "to": later})
        return accepted.recipients

    def _push(self, name: str, waiting: Waiting) -> None:
        """One push."""
        found = next(one for one in self._config.channels if one.name == name)
        from jetrun.notify.channels import push  # noqa: PLC0415

        message = waiting.message
        push(found, title=str(message["title"]), body=str(message["body"]), urgent=bool(message["urgent"]))

    # --- what is known to work ---

    @property
    def ways(self) -> tuple[str, ...]:
        """The names of all ways to tell a person: the mail server and the channels that are set up."""
        mail = (MAIL,) if self._config.mail is not None else ()
        return (*mail, *(one.name for one in self._config.channels))

    def worked_lately(self) -> dict[str, datetime]:
        """Which of the ways have accepted something lately, and when."""
        kept = moments.read(self._config.home / MARK)
        return {name: kept[name] for name in self.ways if name in kept and self._now() - kept[name] < LATELY}

    def _note_worked(self, name: str) -> None:
        """A message went that way."""
        moments.note(self._config.home / MARK, name, self._now())

    def test(self, to: Sequence[str]) -> dict[str, MailError | None]:
        """Send a message that says that it is a test through every way there is: what went wrong with each, None for nothing."""
        found: dict[str, MailError | None] = {}
        title = "jetrun: a test of the alarm; no instance is concerned"
        body = "This is what an alarm of jetrun's arrives by. Nothing is wrong, and nothing is to be done.\n"
        for name in self.ways:
            try:
                if name == MAIL:
                    self._test_mail(title, body, to)
                else:
                    from jetrun.notify.channels import push  # noqa: PLC0415

                    one = next(one for one in self._config.channels if one.name == name)
                    push(one, title=title, body=body, urgent=True)
            except MailError as error:
                found[name] = error
            else:
                found[name] = None
                self._note_worked(name)
        return found

    def _test_mail(self, title: str, body: str, to: Sequence[str]) -> None:
        """One mail that is a test."""
        from jetrun.notify.mail import send  # noqa: PLC0415
        from jetrun.notify.outgoing import Outgoing, message_id  # noqa: PLC0415

        settings = self._config.mail
        if settings is None or not to:
            raise MailError(
                code="nobody-to-mail",
                what="it is not known whom to mail",
                next=f"name them: --email me@uni.edu, or [defaults] email.to in {self._config.path}",
            )
        now = self._now()
        mail = Outgoing(
            subject=title,
            text=body,
            html=f"<p>{body}</p>",
            message_id=message_id(f"{now:%Y%m%dT%H%M%S}", "test", settings.sender),
            created_at=now,
            urgent=True,
        )
        send(mail, settings, list(to))
