"""Whether the mail server answers and takes the login. Sends nothing."""

from __future__ import annotations

from jetrun.notify.deadline import Deadline
from jetrun.notify.settings import MailSettings
from jetrun.notify.verdicts import mail_error


def probe(settings: MailSettings) -> str:
    """What the server said to a login, within the settings' time.

    Raises:
        MailError: it does not answer, or refuses.
    """
    import time  # noqa: PLC0415

    from jetrun.notify.wire import Wire  # noqa: PLC0415 - yagmail costs 80 ms

    deadline = Deadline(settings.timeout_s, now=time.monotonic)
    wire: Wire | None = None
    try:
        wire = Wire(settings, deadline)
        wire.login()
    except Exception as error:
        raise mail_error(error, settings, deadline) from error
    finally:
        if wire is not None:
            wire.hang_up(politely=True)
    return "ready"
