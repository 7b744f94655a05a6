"""What a tired researcher at midnight must see at once."""

from __future__ import annotations

import re
from datetime import UTC
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from documents import HOSTILE, INSTANCE, RUN, document, receipt, untouched, unverified
from hypothesis import given
from hypothesis import strategies as st

from jetrun.guarantee.ladder import Reason
from jetrun.notify.clean import cells
from jetrun.notify.instance_verdict import _REASONS, Tone
from jetrun.notify.outgoing import InlineImage
from jetrun.notify.report import mail_html, mail_text, subject, terminal
from jetrun.notify.story import story_of


def plain(data: dict[str, Any], **changes: Any) -> str:
    return terminal(data, **{"width": 80, "color": False, "zone": UTC, **changes})


def faces(data: dict[str, Any]) -> list[str]:
    """Every face of the report."""
    return [plain(data), mail_text(data, zone=UTC), Page(mail_html(data, zone=UTC)).text]


class Page(HTMLParser):
    """The text, the tags and the attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_face_says_proven_down_with_its_two_readings_and_the_cost() -> None:
    for face in faces(document()):
        assert "PROVEN DOWN: SHELVED_OFFLOADED" in face
        assert "read twice, at 14:03:22Z and 14:03:28Z" in face
        assert "costs now: 0 SU/h" in face
        assert f"jetrun show {RUN}" in face


@pytest.mark.invariant(3)
def test_every_face_says_not_verified_down_and_what_to_type() -> None:
    for face in faces(unverified()):
        assert "NOT VERIFIED DOWN" in face
        assert "PROVEN DOWN" not in face
        assert "costs now: 16 SU/h" in face
        assert "ACTIVE, read 4 s ago" in face
        assert f"openstack --os-cloud js2 server shelve {INSTANCE} && jetrun verify {RUN}" in face


@pytest.mark.invariant(3)
@pytest.mark.parametrize("outcome", ["succeeded", "failed", "a word of tomorrow"])
def test_no_outcome_turns_an_unverified_receipt_into_good_news(outcome: str) -> None:
    data = unverified() | {"outcome": outcome, "exit_code": 0}
    assert story_of(data).tone is Tone.ALARM
    assert subject(data).startswith("ALARM: gpu-lab-3 NOT VERIFIED DOWN")
    assert all("NOT VERIFIED DOWN" in face and "PROVEN DOWN" not in face for face in faces(data))


def test_a_script_that_ran_without_any_receipt_is_an_alarm() -> None:
    assert story_of(document(receipt=None)).tone is Tone.ALARM
    assert "NOT VERIFIED DOWN" in plain(document(receipt=None))


def test_an_instance_that_was_never_asked_for_is_called_untouched() -> None:
    for face in faces(untouched()):
        assert "NOT TOUCHED" in face
        assert "ACTIVE, read 1 s ago" in face
        assert "DOWN" not in face
    assert "not touched" in subject(untouched())


def test_a_state_that_costs_is_said_to_be_charged() -> None:
    data = document(receipt=receipt("SHUTOFF"), cost={"unit": "SU", "run": 1.0, "now_per_hour": 8.0})
    assert story_of(data).verdict.tone is Tone.WARN
    assert all("costs now: 8 SU/h; it is still charged" in face for face in faces(data))


def test_a_deleted_instance_is_called_deleted() -> None:
    assert all("PROVEN DOWN: DELETED" in face for face in faces(document(receipt=receipt("ABSENT"))))


def test_every_reason_of_the_ladder_has_words_for_people() -> None:
    assert set(_REASONS) == {reason.value for reason in Reason}


def test_an_unknown_cost_is_not_shown_as_free() -> None:
    data = document(cost={"unit": "SU", "run": None, "now_per_hour": None})
    assert all("costs now: not known" in face for face in faces(data))


def test_the_subject_tells_a_healed_instance_from_a_report() -> None:
    assert subject(document(kind="healed")) == "all clear: gpu-lab-3 is proven down (train)"
    assert subject(document()) == "train: succeeded; gpu-lab-3 is proven down"


@pytest.mark.parametrize(
    ("estimate", "shown"), [(12.5, "12.5 SU at worst"), ("96 SU, 12 h", "96 SU, 12 h"), (None, None)]
)
def test_what_was_said_before_it_began_stands_beside_the_cost(estimate: object, shown: str | None) -> None:
    for face in faces(document(estimate=estimate)):
        assert ("estimate" in face) == (shown is not None)
        assert shown is None or shown in face


def test_the_cost_of_a_run_that_may_go_on_is_not_called_its_most() -> None:
    assert all("41 SU so far" in face for face in faces(unverified()))
    assert all("3.47 SU at most" in face for face in faces(document()))


def test_an_interrupted_script_without_an_exit_code_is_said_so() -> None:
    ended = document()["script"] | {"exit_code": None}
    data = document(outcome="interrupted", exit_code=130, script=ended)
    assert all("the script's exit code is not known" in face for face in faces(data))


def test_many_phases_are_wrapped_and_none_is_lost() -> None:
    phases = [
        {"name": f"phase_{n}", "started_at": "2026-11-20T13:00:00+00:00", "ended_at": "2026-11-20T13:00:42+00:00"}
        for n in range(12)
    ]
    shown = plain(document(phases=phases), width=60)
    assert all(f"phase_{n} 42 s" in shown for n in range(12))
    assert all(len(line) <= 60 for line in shown.splitlines() if "phase_" in line)


def test_a_killed_script_names_its_signal() -> None:
    data = document(outcome="failed", exit_code=137, script=document()["script"] | {"exit_code": 137})
    assert all("exit code 137, killed by SIGKILL" in face for face in faces(data))


def test_twenty_outputs_are_named_and_the_rest_is_counted() -> None:
    files = [{"path": f"results/{n:03}.csv", "size_bytes": n} for n in range(57)]
    for face in faces(document(outputs=files)):
        assert "results/019.csv" in face
        assert "results/020.csv" not in face
        assert "and 37 more" in face


def test_the_error_is_shown_in_its_three_parts() -> None:
    error = {"code": "outputs-missing", "what": "one is missing", "state": "SHELVED", "next": f"jetrun collect {RUN}"}
    for face in faces(document(outcome="outputs missing", exit_code=121, error=error)):
        assert "one is missing" in face
        assert "SHELVED" in face
        assert f"jetrun collect {RUN}" in face


def test_warnings_notes_and_missing_outputs_are_in_every_face() -> None:
    data = document(
        warnings=["the journal was lost"],
        receipt=receipt(notes=["shelve was refused, stopped instead"]),
        outputs_missing=["results/x"],
    )
    for face in faces(data):
        assert "the journal was lost" in face
        assert "shelve was refused, stopped instead" in face
        assert "missing output: results/x" in face


def test_the_log_is_shown_on_the_terminal_only_where_it_helps() -> None:
    assert "epoch 3" not in plain(document())
    assert "epoch 3" in plain(document(outcome="failed", exit_code=3))
    assert "epoch 3" in mail_text(document())


def test_the_readers_time_stands_beside_utc_where_it_differs() -> None:
    assert "14:03:28Z (09:03 EST)" in mail_text(document(), zone=ZoneInfo("America/New_York"))
    assert "(14:03" not in mail_text(document(), zone=UTC)


def test_on_a_terminal_verdict_and_command_come_last_and_in_a_mail_first() -> None:
    shown = plain(document())
    assert shown.index("results/loss.csv") < shown.index("PROVEN DOWN") < shown.index("next:")
    assert shown.rstrip().endswith(f"jetrun show {RUN}")
    text = mail_text(document())
    assert text.index("PROVEN DOWN") < text.index("next:") < text.index("results/loss.csv")


@pytest.mark.parametrize("width", [1, 40, 63, 80, 300])
@pytest.mark.parametrize("name", ["温度計" * 8, "a-very-long-instance-name-" * 3, "gpu"])
def test_the_box_is_straight_and_fits(width: int, name: str) -> None:
    shown = plain(document(instance={"id": INSTANCE, "name": name, "launched_by_run": True}), width=width)
    box = [line for line in shown.splitlines() if line[:1] in {"┏", "┃", "┗"}]
    widths = {cells(line) for line in box}
    assert len(box) >= 4
    assert len(widths) == 1
    assert widths.pop() <= min(max(width, 40), 100)


def test_without_colour_there_is_no_escape_and_without_unicode_no_drawing() -> None:
    assert "\x1b" not in plain(document())
    assert "\x1b[32m" in plain(document(), color=True)
    plain_box = plain(document(), unicode=False)
    assert "+---" in plain_box
    assert not set(plain_box) & set("┏━┓┃┗┛·…")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_give_no_control_character_and_no_tag(text: str) -> None:
    data = document(
        name=text,
        run_id=text,
        instance={"id": INSTANCE, "name": text, "launched_by_run": False},
        outputs=[{"path": text, "size_bytes": 1}],
        log_tail=text,
        warnings=[text],
        output_dir=text,
        outcome="failed",
        error={"code": "x", "what": text, "state": text, "next": text},
        receipt=receipt(notes=[text]),
    )
    shown = plain(data) + mail_text(data, zone=UTC)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    page = Page(mail_html(data, [InlineImage(cid="picture-1@jetrun", path=text, name=text)], zone=UTC))
    assert set(page.tags) <= ALLOWED_TAGS
    assert "\n" not in subject(data)
    assert len(subject(data)) <= 180
    (shown + page.text + subject(data)).encode("utf-8")


ALLOWED_TAGS = {"html", "head", "meta", "title", "body", "div", "p", "span", "table", "tr", "td", "pre", "img", "b"}


@given(st.text(st.characters(exclude_categories=())))
def test_no_text_breaks_out_of_the_page(text: str) -> None:
    data = document(name=text, log_tail=text, outputs=[{"path": text, "size_bytes": 1}], outcome=text)
    image = InlineImage(cid='p"1', path="", name=text)
    page = Page(mail_html(data, [image], zone=UTC))
    assert set(page.tags) <= ALLOWED_TAGS
    assert {name for name, _ in page.attributes} <= ALLOWED_ATTRIBUTES


ALLOWED_ATTRIBUTES = {
    "lang", "style", "charset", "name", "content", "role", "cellpadding", "cellspacing", "src", "alt",
}  # fmt: skip


def test_the_page_fetches_nothing_and_needs_no_style_sheet() -> None:
    html = mail_html(document(), [InlineImage(cid="picture-1@jetrun", path="/x", name="loss.png")])
    page = Page(html)
    assert not re.search(r"https?:|//|url\(|<style|<link|<script|@import", html.replace("<!DOCTYPE", ""))
    assert [value for name, value in page.attributes if name == "src"] == ["cid:picture-1@jetrun"]
    assert ("content", "light dark") in page.attributes


def test_tables_of_the_page_have_two_columns() -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", mail_html(document()))
    assert rows
    assert all(row.count("<td") == 2 for row in rows)


def test_a_document_with_the_bare_minimum_is_reported() -> None:
    bare = {"schema": 1, "run_id": RUN, "exit_code": 125, "receipt": None, "outcome": "jetrun failed"}
    assert all("NOT TOUCHED" in face and f"jetrun logs {RUN}" in face for face in faces(bare))
