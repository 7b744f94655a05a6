"""Alarms through channels besides mail: ntfy, Slack, a webhook and whatever else apprise knows, each named by its URL.

The only importer of apprise (the extra ``alarm``); import it late, it costs 140 ms. A channel's URL often holds the secret that
lets anybody write to it: it is kept out of logs, errors and the journal, which know a channel by its name.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass

from jetrun.errors import MailError, Secret, UsageError
from jetrun.notify.clean import one_line

TIMEOUT_S = 15.0
"""Of one attempt: for the connection, and for the answer."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Where an alarm can be pushed to.

    Attributes:
        url: as apprise reads it, such as ``ntfy://ntfy.example.edu/my-alarms`` (https: ``ntfys://``) or ``json://host/path``.
    """

    url: Secret

    @property
    def name(self) -> str:
        """The kind of channel and a part of the URL's hash: what is shown, and what the journal knows it by."""
        text = self.url.reveal()
        return f"{text.partition('://')[0]}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def channel(text: str, where: str) -> Channel:
    """The channel of a URL.

    Raises:
        UsageError: it is no URL. Whether apprise knows its kind is looked at when it is used.
    """
    if not re.match(r"[a-z][a-z0-9+.-]*://\S+$", text, re.IGNORECASE):
        raise UsageError(
            code="channel-wrong",
            what=f"{where}: a channel must be a URL, such as ntfys://ntfy.example.edu/topic",
            next='channels = ["ntfys://ntfy.example.edu/a-topic-of-yours"]   # kinds: https://appriseit.com/services/',
        )
    return Channel(Secret(text))


def push(to: Channel, *, title: str, body: str, urgent: bool) -> None:
    """Push one message.

    Raises:
        MailError: the channel has not taken it, its kind is not known, or apprise is not installed; never permanent, since a line of
            the configuration mends each.
    """
    try:
        import apprise  # noqa: PLC0415 - costly, and an extra
    except ImportError as error:
        raise MailError(
            code="channel-not-installed",
            what=f"channel {to.name} needs the package apprise, which is not installed",
            next="pip install 'jetrun[alarm]'",
            permanent=False,
        ) from error
    url = to.url.reveal()
    bounded = f"{url}{'&' if '?' in url else '?'}cto={TIMEOUT_S:g}&rto={TIMEOUT_S:g}"
    plugin = apprise.Apprise.instantiate(bounded, suppress_exceptions=True)
    if plugin is None:
        raise MailError(
            code="channel-unknown",
            what=f"channel {to.name}: apprise does not understand its URL",
            next="see https://appriseit.com/services/ for how it is written, then: jetrun doctor --alarm-test",
            permanent=False,
        )
    kind = apprise.NotifyType.FAILURE if urgent else apprise.NotifyType.INFO
    with apprise.LogCapture(level=logging.WARNING) as said:  # type: ignore[no-untyped-call]
        accepted = bool(plugin.notify(body=body, title=title, notify_type=kind))
        words = said.getvalue()
    if not accepted:
        raise MailError(
            code="channel-refused",
            what=f"channel {to.name} has not taken the message: {_shown(words, url)}",
            next="jetrun doctor --alarm-test",
            permanent=False,
        )


def _shown(words: str, url: str) -> str:
    """What apprise said last, on one line, without any part of the URL that could be a secret."""
    last = (words.strip().splitlines() or ["no answer"])[-1]
    for part in re.split(r"[/@:?&=]+", url.partition("://")[2]):
        if len(part) > 3:
            last = last.replace(part, "…")
    return one_line(re.sub(r"^\S+ \S+ - \w+ - ", "", last), most=200)
