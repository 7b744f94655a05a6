"""docs/failure-model.md names tests that exist, and bounds that are the code's."""

from __future__ import annotations

import re

from markdown import ROOT

from jetrun.guarantee.constants import Bounds
from jetrun.guarantee.ladder import Reason

PAGE = (ROOT / "docs" / "failure-model.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    """A claim without its test is a wish."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 15
    for path, test in named:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in text, f"{path}::{test}"


def test_the_bounds_are_the_codes() -> None:
    """Whoever changes a constant changes the page."""
    bounds = Bounds()
    table = PAGE.partition("## What is not covered")[0]
    for value in (bounds.shelve_s, bounds.settle_s, bounds.foreign_task_s, bounds.unreachable_s, bounds.ssh_s):
        assert f"{value:g} s" in table
    assert bounds.orphan_s == 1800
    assert "30 min" in table


def test_every_reason_is_explained() -> None:
    """Whoever is told 119 at midnight finds the word here."""
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE))
    assert listed == {reason.value for reason in Reason}
