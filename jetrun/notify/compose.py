"""Writes the mail about a run: the report's text and page, the pictures, the attachments, the id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from jetrun.notify.attachments import Picked, pick
from jetrun.notify.instance_verdict import is_unverified
from jetrun.notify.outgoing import Outgoing, message_id
from jetrun.notify.report import mail_html, mail_text, subject


def run_mail(
    document: Mapping[str, Any],
    *,
    sender: str,
    created_at: datetime,
    kind: str = "report",
    label: str = "",
    attach: Sequence[str] = (),
    zone: tzinfo | None = None,
) -> Outgoing:
    """The mail about a run, ready for the outbox.

    Args:
        document: schema 1 (see ``story.story_of``). Files are looked for below its ``output_dir``.
        sender: as in the settings; its domain goes into the Message-ID.
        kind: ``report``, ``alarm`` or ``healed``. label: with the run's id it makes the Message-ID; by default the kind.
        attach: the job's patterns.

    Effects: reads the output folder.
    """
    told = {**document, "kind": kind}
    folder = document.get("output_dir")
    picked = pick(Path(str(folder)), attach) if folder and attach else Picked()
    return Outgoing(
        subject=subject(told),
        text=mail_text(told, zone=zone),
        html=mail_html(told, picked.images, zone=zone),
        message_id=message_id(str(document.get("run_id") or "none"), label or kind, sender),
        created_at=created_at,
        images=picked.images,
        attachments=picked.attachments,
        left_out=picked.left_out,
        urgent=is_unverified(told),
    )
