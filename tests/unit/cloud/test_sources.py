"""An openrc file in the place of the environment: what counts, what is asked, what another process can do with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetrun.cloud import sources
from jetrun.cloud.credentials import choose
from jetrun.errors import UsageError

WHOLE = """export OS_AUTH_TYPE=v3applicationcredential
export OS_AUTH_URL=https://cloud.uni.edu:5000/v3
export OS_APPLICATION_CREDENTIAL_ID=1
export OS_APPLICATION_CREDENTIAL_SECRET=hunter2
"""
ASKING = """export OS_AUTH_URL=https://cloud.uni.edu:5000/v3
export OS_USERNAME=ada
export OS_PROJECT_NAME=lab
export OS_USER_DOMAIN_NAME=Default
export OS_PROJECT_DOMAIN_NAME=Default
read -sr OS_PASSWORD_INPUT
export OS_PASSWORD=$OS_PASSWORD_INPUT
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    sources._asked.clear()
    yield
    sources._asked.clear()


def written(folder: Path, text: str) -> str:
    path = folder / "lab-openrc.sh"
    path.write_text(text)
    return sources.named(path)


def test_an_application_credential_file_can_be_used_again_by_another_process(tmp_path: Path) -> None:
    name = written(tmp_path, WHOLE)
    choice = choose(name, os.environ)
    assert (choice.name, choice.auth_type, choice.can_be_reloaded) == (name, "applicationcredential", True)
    assert choice.region.config["auth"]["application_credential_secret"] == "hunter2"
    assert choose(choice.name, os.environ).region.config["auth"] == choice.region.config["auth"]


def test_a_password_is_asked_for_once_and_the_question_says_whose(tmp_path: Path) -> None:
    name, questions = written(tmp_path, ASKING), []

    def ask(question: str) -> str:
        questions.append(question)
        return "hunter2"

    first, second = choose(name, os.environ, ask), choose(name, os.environ, ask)
    assert [one.region.config["auth"]["password"] for one in (first, second)] == ["hunter2", "hunter2"]
    assert not first.can_be_reloaded
    (question,) = questions
    assert "ada" in question
    assert "lab" in question


def test_nobody_at_the_terminal_is_told_what_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError) as caught:
        choose(written(tmp_path, ASKING), os.environ)
    assert caught.value.code == "nobody-to-ask"
    assert "application credential" in str(caught.value.next)


def test_nothing_typed_is_refused_and_asked_again(tmp_path: Path) -> None:
    name = written(tmp_path, ASKING)
    with pytest.raises(UsageError, match="no password"):
        choose(name, os.environ, lambda _: "")
    assert choose(name, os.environ, lambda _: "hunter2").region.config["auth"]["password"] == "hunter2"


def test_the_environment_counts_for_nothing_beside_the_file_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_PROJECT_NAME", "left-over")
    monkeypatch.setenv("OS_CLOUD", "nowhere")
    choice = choose(written(tmp_path, WHOLE), os.environ)
    assert "project_name" not in choice.region.config["auth"]
    (warning,) = choice.warnings
    assert "OS_CLOUD, OS_PROJECT_NAME" in warning
    assert os.environ["OS_PROJECT_NAME"] == "left-over"
    assert "OS_APPLICATION_CREDENTIAL_SECRET" not in os.environ


def test_a_wrong_line_is_named_with_file_and_number(tmp_path: Path) -> None:
    name = written(tmp_path, WHOLE + "export OS_PROJECT_ID=2\n")
    with pytest.raises(UsageError) as caught:
        choose(name, os.environ)
    assert f"{tmp_path}/lab-openrc.sh:5: OS_PROJECT_ID" in caught.value.what
    assert caught.value.next == "remove line 5"


@pytest.mark.parametrize("make", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, make: str) -> None:
    path = tmp_path / "rc"
    if make == "folder":
        path.mkdir()
    if make == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=str(path)):
        choose(sources.named(path), os.environ)


def test_an_html_escape_in_a_sourced_variable_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_PASSWORD", "hunter&amp;2")
    with pytest.raises(UsageError) as caught:
        choose(None, os.environ)
    assert "OS_PASSWORD" in caught.value.what
    assert "hunter" not in caught.value.render()
