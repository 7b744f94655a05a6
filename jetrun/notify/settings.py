"""Where mails go out: the SMTP server, who logs in, and how the way there is protected."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from email.utils import getaddresses
from enum import StrEnum

from jetrun.errors import Secret, UsageError


class Security(StrEnum):
    """How the connection is protected. Certificates are always verified."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


_PORTS = {Security.STARTTLS: 587, Security.TLS: 465, Security.NONE: 25}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """How to reach an SMTP server.

    Attributes:
        host: its name or address. port: None for the usual one (587 for STARTTLS, 465 for TLS, 25 without).
        user: who logs in, exactly as given; None for a relay without login. password: needed with a user.
        sender: the From address, with or without a name.
        security: None decides by port and host: 465 is TLS, this machine is plain, everything else is STARTTLS.
        timeout_s: of one attempt as a whole, connecting included.
        ca_file: certificates to trust besides the system's, for a relay with a certificate of the campus's own.
    """

    host: str
    sender: str
    port: int | None = None
    user: str | None = None
    password: Secret | None = None
    security: Security | None = None
    timeout_s: float = 30.0
    ca_file: str | None = None

    def __post_init__(self) -> None:
        """Refuse settings that could only fail, prompt, or show a password to the network.

        Raises:
            UsageError: with the key in its ``what``.
        """
        if not self.host or any(character.isspace() for character in self.host):
            raise _wrong("smtp.host", "a host name or address", 'smtp.host = "smtp.example.edu"')
        if self.port is not None and not 0 < self.port < 65536:
            raise _wrong("smtp.port", "a number from 1 to 65535", "smtp.port = 587")
        if not 0 < self.timeout_s <= 600:
            raise _wrong("smtp.timeout", "more than 0 s and at most 600 s", 'smtp.timeout = "30s"')
        if not _is_address(self.sender):
            raise _wrong("smtp.sender", "one mail address", 'smtp.sender = "me@example.edu"')
        if self.user is not None and (self.password is None or not self.password.reveal()):
            raise _wrong(
                "smtp.user", "given with a password", "export JETRUN_SMTP_PASSWORD=...   (or remove smtp.user)"
            )
        if self.user is not None and not (self.user.isascii() and self.password and self.password.reveal().isascii()):
            # smtplib encodes both as ASCII and would fail in the middle of the login.
            raise _wrong("smtp.user", "with its password in ASCII", "set an app password for jetrun")
        if self.user is not None and self.effective_security is Security.NONE and not is_loopback(self.host):
            raise _wrong("smtp.security", "not none where a password is sent", 'smtp.security = "starttls"')

    @property
    def effective_security(self) -> Security:
        """The protection that is used. Plain only to this machine, or where it was said."""
        if self.security is not None:
            return self.security
        if self.port == _PORTS[Security.TLS]:
            return Security.TLS
        return Security.NONE if is_loopback(self.host) else Security.STARTTLS

    @property
    def effective_port(self) -> int:
        """The port that is used."""
        return self.port or _PORTS[self.effective_security]


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine, by its spelling alone: a name that resolves to it is another matter."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    """Whether *text* is one mail address with an optional name, safe in a header."""
    found = getaddresses([text])
    if len(found) != 1:
        return False
    name, address = found[0]
    local, at, domain = address.rpartition("@")
    visible = text.isprintable() and name.isprintable()
    return bool(visible and local and at and domain) and not any(c.isspace() or c in "<>," for c in address)


def _wrong(key: str, expected: str, line: str) -> UsageError:
    """A setting that cannot work."""
    return UsageError(what=f"{key} must be {expected}", next=line)
