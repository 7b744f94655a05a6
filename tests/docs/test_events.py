"""docs/events.md lists every event that the code emits, with its fields, and nothing else."""

from __future__ import annotations

import ast
import re

from markdown import ROOT

from jetrun.log import DEBUG, ERROR, WARNING

PAGE = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")


def emitted() -> dict[str, set[str]]:
    """Every ``...event("name", field=...)`` of the code: the fields of each name."""
    found: dict[str, set[str]] = {"phase.entered": {"phase"}}
    for path in sorted((ROOT / "jetrun").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "event"
                and node.args
            ):
                continue
            fields = {keyword.arg for keyword in node.keywords if keyword.arg}
            if any(keyword.arg is None for keyword in node.keywords):
                fields |= {"code", "what", "state", "next"}
            for name in names(node.args[0]):
                found.setdefault(name, set()).update(fields)
    return found


def names(argument: ast.expr) -> list[str]:
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    if isinstance(argument, ast.JoinedStr):
        actions = ("start", "unshelve", "resume", "unpause", "shelve", "stop", "delete")
        return [f"instance.{action}_requested" for action in actions]
    return []


def listed() -> dict[str, tuple[str, set[str]]]:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (\w+) \| ([^|]*) \|", PAGE, re.MULTILINE)
    return {name: (level, set(re.findall(r"`(\w+)`", fields))) for name, level, fields in rows}


def test_every_event_is_listed_with_its_fields() -> None:
    """Whoever reads a run's log years later must find each word explained."""
    assert {name: fields for name, (_, fields) in listed().items()} == emitted()


def test_the_levels_are_those_of_the_log() -> None:
    """error means that the promise is at risk, and nothing else does."""
    for name, (level, _) in listed().items():
        wanted = "debug" if name in DEBUG else "error" if name in ERROR else "warning" if name in WARNING else "info"
        assert level == wanted, name
