"""What a failed attempt to send means: try again later, or never with this mail and these settings.

Decided by exception class and SMTP code, never by an error's words. Every exception class of smtplib and yagmail is in
the table; a test looks for new ones. What is not known is transient: a mail tried in vain once more costs nothing, one
given up too early leaves a person untold.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Mapping
from enum import StrEnum

from jetrun.errors import MailError
from jetrun.notify.clean import one_line
from jetrun.notify.deadline import Deadline
from jetrun.notify.settings import MailSettings


class Meaning(StrEnum):
    """How a class of failures is to be taken."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    BY_CODE = "by-code"
    BY_RECIPIENT = "by-recipient"


SMTP_MEANINGS: Mapping[type[BaseException], tuple[Meaning, str]] = {
    smtplib.SMTPServerDisconnected: (Meaning.TRANSIENT, "mail-server-disconnected"),
    smtplib.SMTPConnectError: (Meaning.BY_CODE, "mail-server-busy"),
    smtplib.SMTPHeloError: (Meaning.BY_CODE, "mail-server-refused"),
    smtplib.SMTPAuthenticationError: (Meaning.BY_CODE, "mail-login-refused"),
    smtplib.SMTPSenderRefused: (Meaning.BY_CODE, "mail-sender-refused"),
    smtplib.SMTPRecipientsRefused: (Meaning.BY_RECIPIENT, "mail-recipients-refused"),
    smtplib.SMTPDataError: (Meaning.BY_CODE, "mail-refused"),
    smtplib.SMTPResponseException: (Meaning.BY_CODE, "mail-server-refused"),
    # The server lacks AUTH, STARTTLS or SMTPUTF8: it will lack them tomorrow.
    smtplib.SMTPNotSupportedError: (Meaning.PERMANENT, "mail-not-supported"),
    # The bare class: no login method in common.
    smtplib.SMTPException: (Meaning.PERMANENT, "mail-not-supported"),
}
"""Of smtplib. The most derived class that fits decides."""

NETWORK_MEANINGS: Mapping[type[BaseException], tuple[Meaning, str]] = {
    ssl.SSLCertVerificationError: (Meaning.PERMANENT, "mail-certificate-refused"),
    ssl.SSLError: (Meaning.TRANSIENT, "mail-tls-failed"),
    # Also "no such host": a laptop without network says so of every host.
    socket.gaierror: (Meaning.TRANSIENT, "mail-server-not-found"),
    TimeoutError: (Meaning.TRANSIENT, "mail-timed-out"),
    OSError: (Meaning.TRANSIENT, "mail-server-unreachable"),
    # A header or a command that cannot be written, a reply that cannot be read.
    ValueError: (Meaning.PERMANENT, "mail-malformed"),
}
"""Of the network and the standard library, by the most derived class that fits."""

YAGMAIL_MEANINGS: Mapping[str, tuple[Meaning, str]] = {
    "YagConnectionClosed": (Meaning.TRANSIENT, "mail-server-disconnected"),
    "YagAddressError": (Meaning.PERMANENT, "mail-malformed"),
    "YagInvalidEmailAddress": (Meaning.PERMANENT, "mail-malformed"),
}
"""Of yagmail, by name: this module does not import it."""

_NEXT = {
    "mail-login-refused": "check smtp.user and JETRUN_SMTP_PASSWORD, then: jetrun doctor",
    "mail-certificate-refused": 'check smtp.host, or name the campus certificate: smtp.ca_file = "campus-ca.pem"',
    "mail-not-supported": 'check smtp.port and smtp.security ("starttls" for 587, "tls" for 465), then: jetrun doctor',
    "mail-sender-refused": "check smtp.sender: many servers accept only the address of the one who logs in",
    "mail-recipients-refused": "check [email] to in the job file",
}


def is_permanent_code(code: int) -> bool:
    """Whether an SMTP reply code says that the same mail will be refused again (RFC 5321, section 4.2.1: 5yz)."""
    return 500 <= code <= 599


def mail_error(error: BaseException, settings: MailSettings, deadline: Deadline) -> MailError:
    """The failure in our words."""
    if deadline.is_over():
        meaning, code = NETWORK_MEANINGS[TimeoutError]
        said = f"the mail server {_server(settings)} has not taken the mail within {settings.timeout_s:g} s"
        return MailError(what=said, next="jetrun doctor", permanent=False, code=code)
    meaning, code = _meaning(error)
    return MailError(
        what=f"the mail server {_server(settings)} has not taken the mail: {_said(error, settings)}",
        next=_NEXT.get(code, "jetrun doctor"),
        permanent=_is_permanent(error, meaning),
        code=code,
    )


def reply_text(reply: object, settings: MailSettings) -> str:
    """What a server said, on one line, without the password should the server repeat it."""
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)
    if settings.password is not None:
        text = text.replace(settings.password.reveal(), "****")
    return one_line(" ".join(text.split()), most=200)


def _meaning(error: BaseException) -> tuple[Meaning, str]:
    """By the most derived class that is in a table."""
    for kind in type(error).__mro__:
        if kind.__module__.startswith("yagmail") and kind.__name__ in YAGMAIL_MEANINGS:
            return YAGMAIL_MEANINGS[kind.__name__]
        found = SMTP_MEANINGS.get(kind) or NETWORK_MEANINGS.get(kind)
        if found is not None:
            return found
    return Meaning.TRANSIENT, "mail-failed"


def _is_permanent(error: BaseException, meaning: Meaning) -> bool:
    """Whether the same mail will be refused again."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        # One that may be accepted later makes a later attempt worth while.
        return bool(error.recipients) and all(is_permanent_code(code) for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException) and meaning is Meaning.BY_CODE:
        return is_permanent_code(error.smtp_code)
    return meaning is Meaning.PERMANENT


def _said(error: BaseException, settings: MailSettings) -> str:
    """What went wrong, in the server's words where it spoke."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        refused = (
            f"{one_line(address, most=80)}: {code} {reply_text(reply, settings)}"
            for address, (code, reply) in error.recipients.items()
        )
        return one_line("; ".join(refused), most=400)
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {reply_text(error.smtp_error, settings)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        why = getattr(error, "verify_message", "") or error.strerror  # only set where OpenSSL judged
        return f"its certificate is not trusted ({reply_text(why, settings)})"
    if isinstance(error, UnicodeError):  # its text would show a piece of what was encoded
        return "a text cannot be encoded"
    return reply_text(error, settings) or type(error).__name__


def _server(settings: MailSettings) -> str:
    """Host and port."""
    return f"{one_line(settings.host, most=80)}:{settings.effective_port}"
