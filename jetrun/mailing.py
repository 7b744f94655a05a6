"""The mails of this user's runs: what is told of a run, and what waits for a server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from jetrun.config import Config
from jetrun.engine.context import Screen
from jetrun.errors import MailError
from jetrun.guarantee.lifecycle import Kind
from jetrun.guarantee.power import RunId
from jetrun.job import Job
from jetrun.journal.outbox import Outbox, Waiting
from jetrun.journal.store import Journal

SETTINGS_ERRORS = frozenset(
    {"mail-login-refused", "mail-certificate-refused", "mail-not-supported", "mail-sender-refused"}
)
"""Refusals that are about the settings, not about the mail: it waits until they are mended."""


class Mailing:
    """Tells people by mail.

    Args:
        now: gives the wall time.
    """

    def __init__(self, config: Config, journal: Journal, *, now: Callable[[], datetime]) -> None:
        self.outbox = Outbox(journal, now=now)
        self._config = config
        self._journal = journal
        self._now = now
        self._mailed: dict[RunId, str] = {}

    def tell(self, run: RunId, job: Job, document: dict[str, Any], screen: Screen) -> None:
        """Queue the mail about a run and try to send it; the document says what became of it. Never raises."""
        if not job.email.to:
            return
        if job.email.when == "failure" and document["exit_code"] == 0:
            return
        from jetrun.notify.compose import run_mail  # noqa: PLC0415 - only where a mail is wanted

        settings = self._config.mail
        sender = settings.sender if settings is not None else "jetrun@localhost"
        receipt = document.get("receipt") or {}
        kind = "report" if receipt.get("verified", True) else "alarm"
        self._mailed[run] = label = self._label(run, kind)
        message = run_mail(document, sender=sender, created_at=self._now(), kind=kind, attach=job.email.attach)
        self.outbox.queue(run, label, {"to": list(job.email.to), "mail": message.to_dict()})
        self.send_due(screen, run=run)
        document["mail"] = {"state": self.outbox.state(run, label)}

    def _label(self, run: RunId, kind: str) -> str:
        """The mail's name in the outbox, which takes one of each: an alarm after it was healed is another one."""
        healed = sum(one.kind is Kind.RECEIPT and bool(one.data["verified"]) for one in self._journal.records(run))
        return f"{kind} {healed + 1}" if kind == "alarm" and healed else kind

    def state(self, run: RunId) -> str:
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
        if self._config.mail is None:
            what = f"no mail server is configured ([smtp] in {self._config.path})"
            self.outbox.failed(waiting, what, permanent=False)
            screen.event("mail.waiting", what=what)
            return 0
        try:
            accepted = send(Outgoing.from_dict(waiting.message["mail"]), self._config.mail, recipients)
        except MailError as error:
            # A wrong login or certificate is mended by the user, and then the same mail goes through.
            self.outbox.failed(waiting, error.what, permanent=error.permanent and error.code not in SETTINGS_ERRORS)
            screen.event("mail.waiting", what=error.what)
            return 0
        self.outbox.sent(waiting)
        later = [one.address for one in accepted.refused if not one.permanent]
        if later:
            self.outbox.queue(waiting.run, f"{waiting.kind} again", {**waiting.message, "to": later})
        screen.event("mail.sent", to=", ".join(accepted.recipients))
        return 1
