"""Commands in the docs exist as they are written: each is looked up in the command line and in the Makefile."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Any

import pytest
import typer.main
from markdown import ROOT, blocks, commands, documents

from jetrun.cli.app import app
from jetrun.cli.devcloud import app as devcloud
from jetrun.job_file import schema_example

FILES = pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))


def options(command: Any) -> dict[str, bool]:
    """Each option of a command, and whether a value follows it."""
    found = {"--help": False, "-h": False}
    for parameter in command.params:
        for word in (*parameter.opts, *parameter.secondary_opts):
            if word.startswith("-"):
                found[word] = not parameter.is_flag
    return found


def mistake(line: str) -> str:
    """What is wrong with a command line of jetrun, empty if nothing."""
    words = shlex.split(re.sub(r"\s#.*$", "", line).replace("…", "").replace("...", ""))[1:]
    command: Any = typer.main.get_command(app)
    if words[:1] == ["devcloud"]:
        command, words = typer.main.get_command(devcloud), words[1:]
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"{line}: there is no {words[0]!r}; there are {sorted(command.commands)}"
        command, words = command.commands[words[0]], words[1:]
    known = options(command)
    while words and words[0] != "--":
        word = words.pop(0)
        name, _, given = word.partition("=")
        if name.startswith("-") and name not in known:
            return f"{line}: there is no option {name}; there are {sorted(known)}"
        if known.get(name) and not given and words:
            words.pop(0)
    return ""


@FILES
def test_every_jetrun_command_exists_with_its_options(path):
    """Words in capitals, dots and brackets stand for something; a bare list of names is no command line."""
    for line in commands(path.read_text(encoding="utf-8"), "jetrun"):
        if not re.search(r"\s\|\s|[\[\]<>]", line):
            assert mistake(line) == "", path.name


@FILES
def test_every_make_target_exists(path):
    makefile = (path.parent if path.is_relative_to(ROOT / "examples") else ROOT) / "Makefile"
    for line in commands(path.read_text(encoding="utf-8"), "make"):
        words = [word for word in shlex.split(re.sub(r"\s#.*$", "", line))[1:] if "=" not in word]
        if "-C" in words:
            assert (ROOT / words[words.index("-C") + 1] / "Makefile").is_file()
            continue
        targets = re.findall(r"^([a-zA-Z][\w./-]*):", makefile.read_text(), re.MULTILINE)
        assert {word for word in words if not word.startswith("-")} <= set(targets), line


@FILES
def test_every_toml_block_is_toml(path):
    for language, block in blocks(path.read_text(encoding="utf-8")):
        if language == "toml":
            tomllib.loads(block)


def test_a_wrong_command_is_found():
    """The checker itself: it must not pass everything."""
    assert "no 'rum'" in mistake("jetrun rum job.toml")
    assert "no option --onn" in mistake("jetrun run job.toml --onn vm")
    assert "no option --frobnicate" in mistake("jetrun devcloud up --frobnicate")
    assert mistake("jetrun run job.toml --on my-instance -i data/   # comment --nothing") == ""
    assert mistake("jetrun run -- python3 --version") == ""


def test_the_example_in_the_docs_is_the_one_that_is_shipped():
    """docs/job.toml is a link to the file in the package; both are the schema."""
    assert (ROOT / "docs" / "job.toml").read_text(encoding="utf-8") == schema_example()
