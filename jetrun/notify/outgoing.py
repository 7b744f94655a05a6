"""A mail before it is sent: a value that can wait in the outbox, and the MIME message made from it.

Text and HTML are kept inline, files by path: they are read when the mail is built, perhaps hours later and in another
process. So everything about them is looked at again then, and a file that is gone, grown or replaced is named in the
text instead of being sent. A link is never followed: what is sent is what was picked.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from html import escape
from pathlib import Path
from typing import Any

from jetrun.notify.clean import file_name, one_line
from jetrun.notify.measures import size

MAX_ATTACHED_BYTES = 5_000_000
"""Of all files of one mail together, before base64 adds 37 %: many campus relays refuse mails over 10 MB."""

SUBJECT_CHARS = 180
"""A subject that still fits every mail program's list; RFC 5322 allows 998 in a line."""

_TYPES = {
    ".png": ("image", "png"),
    ".jpg": ("image", "jpeg"),
    ".jpeg": ("image", "jpeg"),
    ".gif": ("image", "gif"),
    ".svg": ("image", "svg+xml"),
    ".pdf": ("application", "pdf"),
    ".csv": ("text", "csv"),
}
"""Of attachments. A file is never sent as text/html: mail programs run what they are told to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineImage:
    """A picture shown within the HTML. ``cid`` is its content id there, ``name`` what people read."""

    cid: str
    path: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that goes with the mail."""

    path: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One mail, not yet sent.

    Attributes:
        message_id: the same for every attempt at the same mail, so that a repeat can be recognised (see
            :func:`message_id`).
        created_at: when it was written, which is what its Date says however late it is sent.
        left_out: sentences about files that are not in the mail, with their local paths.
        urgent: an alarm: marked as important.
    """

    subject: str
    text: str
    html: str
    message_id: str
    created_at: datetime
    images: tuple[InlineImage, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    left_out: tuple[str, ...] = ()
    urgent: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The mail as plain data for JSON."""
        return {
            "version": 1,
            "subject": self.subject,
            "text": self.text,
            "html": self.html,
            "message_id": self.message_id,
            "created_at": self.created_at.isoformat(),
            "images": [{"cid": one.cid, "path": one.path, "name": one.name} for one in self.images],
            "attachments": [{"path": one.path, "name": one.name} for one in self.attachments],
            "left_out": list(self.left_out),
            "urgent": self.urgent,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outgoing:
        """The mail that ``to_dict`` wrote.

        Raises:
            ValueError: written by a newer jetrun, in a shape that this one does not know.
        """
        if data["version"] != 1:
            raise ValueError(f"a mail of version {data['version']}; this jetrun knows version 1")
        return cls(
            subject=data["subject"],
            text=data["text"],
            html=data["html"],
            message_id=data["message_id"],
            created_at=datetime.fromisoformat(data["created_at"]),
            images=tuple(InlineImage(**one) for one in data["images"]),
            attachments=tuple(Attachment(**one) for one in data["attachments"]),
            left_out=tuple(data["left_out"]),
            urgent=data["urgent"],
        )

    def without_files(self, why: str) -> Outgoing:
        """The same mail for a server that refuses its size; the files are named instead."""
        files: tuple[InlineImage | Attachment, ...] = (*self.images, *self.attachments)
        notes = (f"{one.name} ({why}): {one.path}" for one in files)
        return replace(self, images=(), attachments=(), left_out=(*self.left_out, *notes))


def message_id(run: str, kind: str, sender: str) -> str:
    """The Message-ID of the mail of that kind about that run: the same at each attempt, from any process."""
    domain = parseaddr(sender)[1].rpartition("@")[2]
    if not re.fullmatch(r"[A-Za-z0-9.-]+", domain):
        domain = "jetrun.invalid"
    return f"<{_atom(run)}.{_atom(kind)}@{domain}>"


def build(message: Outgoing, *, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """The MIME message: text, HTML with its images, attachments.

    Shape: mixed(alternative(plain, related(html, images)), attachments), the outer parts only where they are needed.
    Effects: reads the files.

    Raises:
        ValueError: an address that cannot stand in a header.
    """
    read, lost = _read_all((*message.images, *message.attachments))
    names = _file_names(tuple(read))
    notes = [one_line(note, most=500) for note in (*message.left_out, *lost)]
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = one_line(message.subject, most=SUBJECT_CHARS)
    mail["Date"] = format_datetime(message.created_at)
    mail["Message-ID"] = message.message_id
    mail["Auto-Submitted"] = "auto-generated"
    if message.urgent:
        mail["Importance"] = "high"
        mail["X-Priority"] = "1"
    mail.set_content(_encodable(_noted_text(message.text, notes)), cte="quoted-printable")
    mail.add_alternative(_encodable(_noted_html(message.html, notes)), subtype="html", cte="quoted-printable")
    html = mail.get_body(preferencelist=("html",))
    for image in message.images:
        if image in read and isinstance(html, EmailMessage):
            main, sub = _type_of(image.name)
            html.add_related(
                read[image],
                maintype=main,
                subtype=sub,
                cid=f"<{image.cid}>",
                filename=names[image],
                disposition="inline",
            )
    for one in message.attachments:
        if one in read:
            main, sub = _type_of(one.name)
            mail.add_attachment(read[one], maintype=main, subtype=sub, filename=names[one])
    return mail


def read_regular(path: str, *, most: int) -> bytes:
    """The content of a regular file at exactly that path, no link on the way, of at most *most* bytes.

    Raises:
        OSError: it cannot be read, is no regular file, has moved behind a link, or is larger.
    """
    if os.path.realpath(path) != path:
        raise OSError("it is behind a link now")
    # O_NONBLOCK: opening a FIFO would wait for ever.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor has no Path
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("it is no regular file")
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError("it is too large")
    return content


def _read_all(files: Sequence[InlineImage | Attachment]) -> tuple[dict[InlineImage | Attachment, bytes], list[str]]:
    """The files' contents within the limit for all, and a sentence about each that is left out."""
    read: dict[InlineImage | Attachment, bytes] = {}
    lost = []
    left = MAX_ATTACHED_BYTES
    for one in files:
        try:
            read[one] = read_regular(one.path, most=left)
            left -= len(read[one])
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            lost.append(f"{one.name} ({why}): {one.path}")
    return read, lost


def _file_names(files: Sequence[InlineImage | Attachment]) -> dict[InlineImage | Attachment, str]:
    """The names that the files are sent under: the last part, or the whole where two would be the same."""
    short = {one: file_name(one.name.rpartition("/")[2]) for one in files}
    several = Counter(short.values())
    return {one: name if several[name] == 1 else file_name(one.name) for one, name in short.items()}


def _type_of(name: str) -> tuple[str, str]:
    """The MIME type for a file's name; application/octet-stream for what is not known to be harmless."""
    return _TYPES.get(Path(name).suffix.lower(), ("application", "octet-stream"))


def _noted_text(text: str, notes: Sequence[str]) -> str:
    """The text with the notes below it."""
    if not notes:
        return text
    limit = size(MAX_ATTACHED_BYTES)
    return "\n".join(
        [text.rstrip("\n"), "", f"not in this mail (it carries {limit} at most):", *(f"  {n}" for n in notes), ""]
    )


def _noted_html(html: str, notes: Sequence[str]) -> str:
    """The page with the notes at its end."""
    if not notes:
        return html
    items = "".join(f"<div>{escape(note)}</div>" for note in notes)
    block = (
        '<div style="max-width:640px;margin:0 auto;padding:0 14px 18px;font-size:13px;overflow-wrap:anywhere">'
        f"<b>Not in this mail (it carries {size(MAX_ATTACHED_BYTES)} at most)</b>{items}</div>"
    )
    head, end, rest = html.rpartition("</body>")
    return f"{head}{block}{end}{rest}" if end else html + block


def _encodable(text: str) -> str:
    """*text* without lone surrogates, which no mail can carry."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _atom(text: str) -> str:
    """*text* as a part of a Message-ID."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:80] or "none"
