"""A mail survives the outbox, and the message made from it is sound whatever is in it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from documents import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from jetrun.notify.outgoing import MAX_ATTACHED_BYTES, Attachment, InlineImage, Outgoing, build, message_id

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20
AT = datetime(2026, 11, 20, 14, 3, 28, tzinfo=UTC)


def outgoing(**changes: object) -> Outgoing:
    values: dict[str, object] = {
        "subject": "train: succeeded",
        "text": "proven down\n",
        "html": "<html><body><p>proven down</p></body></html>\n",
        "message_id": "<run.report@example.edu>",
        "created_at": AT,
        **changes,
    }
    return Outgoing(**values)  # type: ignore[arg-type]


def parsed(message: Outgoing) -> EmailMessage:
    """The message as a mail program reads it."""
    mail = build(message, sender="jetrun <me@example.edu>", recipients=["a@example.edu", "b@example.edu"])
    read = message_from_bytes(mail.as_bytes(), policy=default)
    assert isinstance(read, EmailMessage)
    assert not any(part.defects for part in read.walk())
    return read


def shape(part: EmailMessage) -> object:
    """The tree of content types."""
    if part.is_multipart():
        return (part.get_content_subtype(), [shape(one) for one in part.iter_parts()])  # type: ignore[arg-type]
    return part.get_content_type()


def content(part: object) -> str:
    assert isinstance(part, EmailMessage)
    return str(part.get_content()).replace("\r\n", "\n")


def file(folder: Path, name: str, data: bytes = PNG) -> str:
    path = Path(os.path.realpath(folder)) / name
    path.write_bytes(data)
    return str(path)


def test_a_mail_survives_json() -> None:
    message = outgoing(
        subject="Größe \udce9",
        images=(InlineImage(cid="picture-1@jetrun", path="/o/a.png", name="a.png"),),
        attachments=(Attachment(path="/o/caf\udce9.csv", name="caf\udce9.csv"),),
        left_out=("big.npz (12 MB): /o/big.npz",),
        urgent=True,
    )
    assert Outgoing.from_dict(json.loads(json.dumps(message.to_dict()))) == message


def test_a_mail_of_a_newer_jetrun_is_refused() -> None:
    with pytest.raises(ValueError, match="version 2"):
        Outgoing.from_dict(outgoing().to_dict() | {"version": 2})


def test_text_and_page_are_alternatives_of_one_content() -> None:
    mail = parsed(outgoing())
    assert shape(mail) == ("alternative", ["text/plain", "text/html"])
    assert content(mail.get_body(("plain",))) == "proven down\n"
    assert "<p>proven down</p>" in content(mail.get_body(("html",)))


def test_images_go_with_the_page_and_files_with_the_mail(tmp_path: Path) -> None:
    message = outgoing(
        images=(InlineImage(cid="picture-1@jetrun", path=file(tmp_path, "a.png"), name="a.png"),),
        attachments=(Attachment(path=file(tmp_path, "t.csv", b"a,b\n"), name="t.csv"),),
    )
    mail = parsed(message)
    related = ("related", ["text/html", "image/png"])
    assert shape(mail) == ("mixed", [("alternative", ["text/plain", related]), "text/csv"])
    image = next(part for part in mail.walk() if part.get_content_type() == "image/png")
    assert image["Content-ID"] == "<picture-1@jetrun>"
    assert image.get_content_disposition() == "inline"
    assert image.get_payload(decode=True) == PNG
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "t.csv"
    assert attached.get_payload(decode=True) == b"a,b\n"


def test_the_headers_say_who_what_when_and_that_no_person_wrote_it() -> None:
    mail = parsed(outgoing(urgent=True))
    assert mail["Message-ID"] == "<run.report@example.edu>"
    assert mail["Date"].datetime == AT
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["From"] == "jetrun <me@example.edu>"
    assert mail["To"] == "a@example.edu, b@example.edu"
    assert mail["Importance"] == "high"


def test_an_ordinary_report_is_not_marked_as_important() -> None:
    assert parsed(outgoing())["Importance"] is None


def test_the_message_id_is_the_same_for_every_attempt() -> None:
    assert message_id("20261120-train", "alarm", "jetrun <me@uni.edu>") == "<20261120-train.alarm@uni.edu>"
    assert message_id("a\nb>c", "report", "me@localhost") == "<a-b-c.report@localhost>"
    assert message_id("r", "report", "me@ünï.edu") == "<r.report@jetrun.invalid>"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_name_reaches_neither_the_headers_nor_the_structure(tmp_path: Path, text: str) -> None:
    path = file(tmp_path, "x.png")
    message = outgoing(
        subject=text,
        text=text,
        html=f"<html><body>{text}</body></html>",
        images=(InlineImage(cid="picture-1@jetrun", path=path, name=text + ".png"),),
        attachments=(Attachment(path=path, name=text),),
        left_out=(text,),
    )
    mail = parsed(message)
    assert mail["Bcc"] is None
    assert set(mail.keys()) == {
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "MIME-Version",
        "Content-Type",
    }
    assert "\n" not in mail["Subject"]
    (attached,) = mail.iter_attachments()
    assert not set(attached.get_filename() or "") & set("/\r\n\x00")


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_any_text_makes_a_mail_that_can_be_read_back(subject: str, text: str) -> None:
    mail = parsed(outgoing(subject=subject, text=text))
    assert len(mail["Subject"]) <= 180
    assert all(len(line) <= 998 for line in mail.as_bytes().split(b"\n"))


def test_a_log_line_that_names_a_file_does_not_send_the_file(tmp_path: Path) -> None:
    secret = file(tmp_path, "id_ed25519", b"PRIVATE")
    assert b"PRIVATE" not in parsed(outgoing(text=secret, html=secret)).as_bytes()


def missing(path: Path) -> str:
    return str(path / "gone.csv")


def link(path: Path) -> str:
    secret = file(path, "secret", b"PRIVATE")
    (path / "link.csv").symlink_to(secret)
    return str(path / "link.csv")


def linked_folder(path: Path) -> str:
    (path / "real").mkdir()
    file(path / "real", "t.csv", b"PRIVATE")
    (path / "folder").symlink_to(path / "real")
    return str(path / "folder" / "t.csv")


def fifo(path: Path) -> str:
    os.mkfifo(path / "fifo")
    return str(path / "fifo")


def folder(path: Path) -> str:
    return str(path)


def grown(path: Path) -> str:
    return file(path, "grown.csv", b"x" * (MAX_ATTACHED_BYTES + 1))


def nul(path: Path) -> str:
    return str(path / "nul\x00.csv")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("made", [missing, link, linked_folder, fifo, folder, grown, nul])
def test_a_file_that_cannot_be_sent_is_named_and_the_mail_goes_on(tmp_path: Path, made: object) -> None:
    """A mail may wait for days: what it was to carry may be gone, or be a link to a private key by then."""
    assert callable(made)
    path = made(Path(os.path.realpath(tmp_path)))
    mail = parsed(outgoing(attachments=(Attachment(path=path, name="t.csv"),)))
    assert not list(mail.iter_attachments())
    assert b"PRIVATE" not in mail.as_bytes()
    assert "not in this mail" in content(mail.get_body(("plain",)))
    assert "Not in this mail" in content(mail.get_body(("html",)))


def test_all_files_together_stay_within_the_limit(tmp_path: Path) -> None:
    half = MAX_ATTACHED_BYTES // 2 + 1
    files = tuple(Attachment(path=file(tmp_path, f"{n}.bin", b"x" * half), name=f"{n}.bin") for n in range(3))
    mail = parsed(outgoing(attachments=files))
    assert [one.get_filename() for one in mail.iter_attachments()] == ["0.bin"]
    text = content(mail.get_body(("plain",)))
    assert files[1].path in text
    assert files[2].path in text


def test_a_mail_without_its_files_names_them(tmp_path: Path) -> None:
    path = file(tmp_path, "a.png")
    message = outgoing(images=(InlineImage(cid="c", path=path, name="a.png"),)).without_files("too large")
    mail = parsed(message)
    assert shape(mail) == ("alternative", ["text/plain", "text/html"])
    assert f"a.png (too large): {path}" in content(mail.get_body(("plain",)))


def test_a_page_in_an_attachment_is_not_sent_as_a_page(tmp_path: Path) -> None:
    path = file(tmp_path, "evil.html", b"<script>")
    (attached,) = parsed(outgoing(attachments=(Attachment(path=path, name="evil.html"),))).iter_attachments()
    assert attached.get_content_type() == "application/octet-stream"
