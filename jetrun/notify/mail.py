"""Sends one mail: one attempt, bounded in time, that ends as accepted or as a MailError.

What can wait, waits in the outbox, which is the journal's; nothing here tries twice, prompts or logs. An attempt whose
last answer gets lost counts as failed, though the mail may have arrived: the next attempt carries the same Message-ID,
so that mail programs and people can see that it is the same one. Rather told twice than not at all.
"""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parseaddr
from typing import TYPE_CHECKING, Any

from jetrun.notify.deadline import Deadline
from jetrun.notify.measures import size
from jetrun.notify.outgoing import Outgoing, build
from jetrun.notify.settings import MailSettings, Security
from jetrun.notify.verdicts import is_permanent_code, mail_error, reply_text

if TYPE_CHECKING:
    from jetrun.notify.wire import Wire

__all__ = ["Accepted", "MailSettings", "Outgoing", "RefusedRecipient", "Security", "send"]

_TOO_LARGE = frozenset({523, 552})
"""Reply codes for a mail over the server's limit (RFC 1870, and RFC 3463's x.3.4 in use)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRecipient:
    """One whom the server did not take while it took others. Worth another attempt for them alone unless permanent."""

    address: str
    code: int
    said: str
    permanent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A server has the mail.

    Attributes:
        recipients: for whom; never empty.
        refused: for whom not.
        without_files: the server refused the mail's size, so it went without its files, which it names instead.
    """

    message_id: str
    recipients: tuple[str, ...]
    refused: tuple[RefusedRecipient, ...] = ()
    without_files: bool = False


def send(
    message: Outgoing,
    settings: MailSettings,
    recipients: Sequence[str],
    *,
    now: Callable[[], float] = time.monotonic,
) -> Accepted:
    """Hand *message* to the server, once.

    Effects: one SMTP session of ``settings.timeout_s`` at most; reads the attached files.

    Raises:
        MailError: nobody's copy was accepted, as far as is known.
    """
    from jetrun.notify.wire import Wire  # noqa: PLC0415 - yagmail costs 80 ms that only a mail is worth

    deadline = Deadline(settings.timeout_s, now=now)
    wire: Wire | None = None
    done = False
    try:
        wire = Wire(settings, deadline)
        wire.login()
        refused, slim = _deliver(wire, message, settings, recipients)
        done = True
    except Exception as error:
        # yagmail's own classes derive from Exception; whatever else a strange server provokes is a mail not sent too.
        raise mail_error(error, settings, deadline) from error
    finally:
        if wire is not None:
            wire.hang_up(politely=done)
    return Accepted(
        message_id=message.message_id,
        recipients=tuple(address for address in recipients if _spec(address) not in refused),
        refused=tuple(
            RefusedRecipient(
                address=address, code=code, said=reply_text(reply, settings), permanent=is_permanent_code(code)
            )
            for address, (code, reply) in refused.items()
        ),
        without_files=slim,
    )


def _deliver(
    wire: Wire, message: Outgoing, settings: MailSettings, recipients: Sequence[str]
) -> tuple[dict[str, Any], bool]:
    """Send; without the files where the server says that it is too large. The refused, and whether files are missing."""
    mail = build(message, sender=settings.sender, recipients=recipients)
    has_files = bool(message.images or message.attachments)
    limit = _limit_bytes(wire)
    if has_files and limit and len(mail.as_bytes()) > limit:
        return _transmit(wire, _slim(message, limit, settings, recipients), settings, recipients), True
    try:
        return _transmit(wire, mail, settings, recipients), False
    except (smtplib.SMTPDataError, smtplib.SMTPSenderRefused) as error:
        if error.smtp_code not in _TOO_LARGE or not has_files:
            raise
    return _transmit(wire, _slim(message, limit, settings, recipients), settings, recipients), True


def _slim(message: Outgoing, limit: int, settings: MailSettings, recipients: Sequence[str]) -> EmailMessage:
    """The mail without its files."""
    why = f"the mail server takes {size(limit)} at most" if limit else "the mail server refuses a mail of this size"
    return build(message.without_files(why), sender=settings.sender, recipients=recipients)


def _transmit(wire: Wire, mail: EmailMessage, settings: MailSettings, recipients: Sequence[str]) -> dict[str, Any]:
    """One SMTP transaction; the refused recipients where others were taken.

    Raises:
        smtplib.SMTPException: nobody was.
    """
    return dict(
        wire.smtp.send_message(mail, from_addr=_spec(settings.sender), to_addrs=[_spec(to) for to in recipients])
    )


def _limit_bytes(wire: Wire) -> int:
    """What the server announces as its limit (RFC 1870), 0 for none."""
    wire.smtp.ehlo_or_helo_if_needed()  # a session without TLS and login has not asked yet
    announced = str(wire.smtp.esmtp_features.get("size", ""))
    return int(announced) if announced.isdigit() else 0


def _spec(address: str) -> str:
    """The address itself, without a name.

    Raises:
        ValueError: it is none.
    """
    spec = parseaddr(address)[1]
    if "@" not in spec or not spec.isprintable() or any(character.isspace() for character in spec):
        raise ValueError(f"{address!r} is no mail address")
    return spec
