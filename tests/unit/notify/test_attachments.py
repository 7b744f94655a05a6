"""Which files go with a mail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from documents import HOSTILE, document, unverified
from test_outgoing import AT, PNG

from jetrun.notify.attachments import MAX_FILES, Picked, pick
from jetrun.notify.compose import run_mail
from jetrun.notify.outgoing import MAX_ATTACHED_BYTES, build


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    results = tmp_path / "out" / "results"
    results.mkdir(parents=True)
    (results / "loss.png").write_bytes(PNG)
    (results / "loss.svg").write_text("<svg/>")
    (results / "table.csv").write_text("a,b\n")
    (results / "deep").mkdir()
    (results / "deep" / "more.csv").write_text("c\n")
    return tmp_path / "out"


def names(picked: Picked) -> list[str]:
    return [one.name for one in (*picked.images, *picked.attachments)]


def test_pictures_are_shown_inline_and_other_files_are_attached(outputs: Path) -> None:
    picked = pick(outputs, ["results/*"])
    assert [one.name for one in picked.images] == ["results/loss.png"]
    assert [one.name for one in picked.attachments] == [
        "results/deep/more.csv",
        "results/loss.svg",
        "results/table.csv",
    ]


def test_a_picture_by_name_only_is_attached(outputs: Path) -> None:
    (outputs / "results" / "loss.png").write_bytes(b"<html>")
    assert not pick(outputs, ["results/*.png"]).images


def test_a_file_is_taken_once_in_the_order_of_the_patterns(outputs: Path) -> None:
    assert names(pick(outputs, ["results/*.csv", "results/t*", "**/*.csv"])) == [
        "results/table.csv",
        "results/deep/more.csv",
    ]


def test_a_folder_means_the_files_in_it(outputs: Path) -> None:
    assert names(pick(outputs, ["results"])) == ["results/loss.png", "results/loss.svg", "results/table.csv"]


@pytest.mark.parametrize(
    "pattern", ["", "/etc/passwd", "../*", "**/..", "[", "nothing*", "\x00", "results/../../secret"]
)
def test_a_pattern_that_leads_nowhere_picks_nothing(outputs: Path, pattern: str) -> None:
    (outputs.parent / "secret").write_text("PRIVATE")
    assert names(pick(outputs, [pattern])) == []


def test_a_link_out_of_the_output_folder_is_not_followed(outputs: Path) -> None:
    """The outputs came from the instance: a link in them could point at a private key of this machine."""
    (outputs.parent / "secret.csv").write_text("PRIVATE")
    (outputs / "results" / "link.csv").symlink_to(outputs.parent / "secret.csv")
    (outputs / "results" / "folder").symlink_to(outputs.parent)
    assert names(pick(outputs, ["results/link.csv", "results/folder", "results/folder/*.csv"])) == []


def test_a_fifo_does_not_hold_up_the_end_of_the_run(outputs: Path) -> None:
    os.mkfifo(outputs / "results" / "fifo.png")
    assert names(pick(outputs, ["results/fifo.png"])) == []


def test_what_does_not_fit_is_named_with_its_size_and_path(outputs: Path) -> None:
    (outputs / "results" / "a-big.bin").write_bytes(b"x" * (MAX_ATTACHED_BYTES + 1))
    picked = pick(outputs, ["results/*.bin", "results/*.csv"])
    assert names(picked) == ["results/table.csv"]
    assert picked.left_out == (f"results/a-big.bin (5.0 MB): {os.path.realpath(outputs)}/results/a-big.bin",)


def test_only_so_many_files_are_taken_and_the_rest_is_counted(outputs: Path) -> None:
    for number in range(100):
        (outputs / f"{number:03}.txt").write_text("x")
    picked = pick(outputs, ["*.txt"])
    assert len(picked.attachments) == MAX_FILES
    assert len(picked.left_out) == MAX_FILES + 1
    assert picked.left_out[-1] == f"and {100 - 2 * MAX_FILES} more files below {outputs}"


def test_an_output_folder_that_is_not_there_gives_no_files(tmp_path: Path) -> None:
    assert pick(tmp_path / "none", ["*"]) == Picked()


@pytest.mark.parametrize("name", [one for one in HOSTILE if "\x00" not in one and "/" not in one])
def test_files_with_hostile_names_are_sent(tmp_path: Path, name: str) -> None:
    (tmp_path / name[:200]).write_bytes(b"data")
    message = run_mail(document(output_dir=str(tmp_path)), sender="me@example.edu", created_at=AT, attach=["*"])
    mail = build(message, sender="me@example.edu", recipients=["a@example.edu"])
    (attached,) = mail.iter_attachments()
    assert attached.get_payload(decode=True) == b"data"
    mail.as_bytes()


def test_files_of_the_same_name_are_told_apart(outputs: Path) -> None:
    (outputs / "results" / "deep" / "table.csv").write_text("d")
    message = run_mail(document(output_dir=str(outputs)), sender="me@example.edu", created_at=AT, attach=["**/*.csv"])
    mail = build(message, sender="me@example.edu", recipients=["a@example.edu"])
    sent = {one.get_filename() for one in mail.iter_attachments()}
    assert sent == {"more.csv", "results_table.csv", "results_deep_table.csv"}


def test_the_mail_about_a_run_shows_its_pictures_by_content_id(outputs: Path) -> None:
    data = document(output_dir=str(outputs))
    message = run_mail(data, sender="me@example.edu", created_at=AT, attach=["results/*"])
    assert f'src="cid:{message.images[0].cid}"' in message.html
    assert message.message_id == f"<{data['run_id']}.report@example.edu>"
    assert not message.urgent


def test_the_mail_about_an_unverified_instance_is_urgent() -> None:
    message = run_mail(unverified(), sender="me@example.edu", created_at=AT, kind="alarm")
    assert message.urgent
    assert message.subject.startswith("ALARM: ")
    assert ".alarm@" in message.message_id


def test_the_mail_about_a_healed_instance_has_an_id_of_its_own() -> None:
    message = run_mail(document(), sender="me@example.edu", created_at=AT, kind="healed")
    assert message.subject.startswith("all clear: ")
    assert ".healed@" in message.message_id
