"""pyproject.toml and the decision about dependencies say the same."""

from __future__ import annotations

import re
import tomllib

from markdown import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs/decisions/0001-dependencies.md").read_text(encoding="utf-8")


def test_every_dependency_is_on_the_page_with_its_range():
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    wanted += [one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra]
    wanted += [one for group in PROJECT["dependency-groups"].values() for one in group]
    assert len(wanted) > 12
    for requirement in wanted:
        name, span = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()
        assert re.search(rf"\b{re.escape(name)}\b[ |(]+`{re.escape(span)}`", PAGE), requirement


def test_every_row_of_the_page_is_a_dependency():
    """What is no longer needed must leave the page too."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z][\w-]+) \| `", PAGE, re.MULTILINE)
    assert len(rows) > 10
    assert all(f'"{name}>=' in text for name in rows)
