"""The only importer of yagmail: its connection and login, held to our rules. Import it late, it costs 80 ms.

Of yagmail, the choice of connection, STARTTLS and the login are used. Its messages are not, nor is its ``send``, since
neither can be made to do what a report needs (yagmail 0.16.0, ``message.py`` and ``sender.py``):
- the text part is the HTML source again, so there is no readable alternative; content ids come from ``hash()`` and
  differ in each process; a content that names an existing file is attached instead of shown;
- ``send`` tries three times with pauses of 3, 6 and 9 s, repeats a mail whose acceptance got lost, and answers False.
So the message is a standard ``EmailMessage`` (``outgoing.build``), sent once over yagmail's connection.
"""

from __future__ import annotations

from typing import Any

import yagmail  # type: ignore[import-untyped]  # it has annotations and no py.typed
from yagmail.log import get_logger  # type: ignore[import-untyped]  # as above

from jetrun.notify.deadline import BoundedSMTP, Deadline, tls_context
from jetrun.notify.settings import MailSettings, Security

_QUIT_S = 3.0
"""For the server's good-bye, once it has the mail: real ones answer in milliseconds."""


class Wire(yagmail.Client):  # type: ignore[misc]  # as above: Any to mypy
    """yagmail's client with its traps closed.

    It has a deadline and a verified TLS context, never prompts, asks no keyring, adds no ``@gmail.com`` to a user name,
    writes nothing to stderr, and hangs up only when told.
    """

    def __init__(self, settings: MailSettings, deadline: Deadline) -> None:
        self._deadline = deadline
        security = settings.effective_security
        self._context = None
        if security is not Security.NONE:
            self._context = tls_context(deadline, ca_file=settings.ca_file)
        password = settings.password
        super().__init__(
            user=settings.user or "",
            password=password.reveal() if password is not None else None,
            host=settings.host,
            port=settings.effective_port,
            smtp_ssl=security is Security.TLS,
            smtp_starttls={"context": self._context} if security is Security.STARTTLS else False,
            smtp_skip_login=settings.user is None,
            soft_email_validation=False,
        )
        self.user = settings.user or ""

    @property
    def connection(self) -> Any:
        """What ``login`` opens the session with; yagmail passes host and port."""
        tls = self._context if self.ssl else None
        return lambda host, port: BoundedSMTP(host, int(port), deadline=self._deadline, tls=tls)

    def set_logging(self, *_: Any, **__: Any) -> None:
        """No log of yagmail's own: what fails is raised."""
        self.log = get_logger(None)

    @staticmethod
    def handle_password(user: str, password: str | None) -> str:  # noqa: ARG004 - yagmail's signature
        """The password that was given; without one yagmail would ask the keyring, then the terminal.

        Raises:
            ValueError: none was given.
        """
        if password is None:
            raise ValueError("a login without a password")
        return password

    def hang_up(self, *, politely: bool) -> None:
        """Close the session, with a QUIT first where *politely*. Never raises: the mail's fate is decided by then."""
        self.is_closed = True
        if self.smtp is None:
            return
        try:
            if politely:
                self._deadline.shorten(_QUIT_S)
                self.smtp.quit()
        except (OSError, ValueError):
            pass
        finally:
            self.smtp.close()

    def __del__(self) -> None:
        """Nothing: yagmail would send a QUIT here, whenever memory is tidied up."""
