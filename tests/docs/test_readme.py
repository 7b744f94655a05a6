"""The README's tables and examples are held to the code."""

from __future__ import annotations

import re
import tomllib

from markdown import ROOT, blocks

from jetrun.errors import ExitCode
from jetrun.job import from_mapping

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The part of the README below the heading that contains *title*."""
    found = re.search(rf"^(#+) [^\n]*{title}[^\n]*\n(.*?)(?=^\1 |\Z)", TEXT, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    assert found is not None, f"README.md has no section about {title}"
    return found[2]


def test_the_exit_code_table_is_the_code():
    """Scripts and schedulers rely on it: a code that is missing or invented misleads them."""
    cells = re.findall(r"^\| *([^|]+?) *\|", section("exit code"), re.MULTILINE)
    codes = {int(number) for cell in cells for number in re.findall(r"\b\d+\b", cell)}
    assert codes == {int(code) for code in ExitCode}
    assert any(re.fullmatch(r"`?N`?", cell) for cell in cells)


def test_a_job_file_in_the_readme_is_a_job():
    """What is pasted must work."""
    jobs = [block for language, block in blocks(TEXT) if language == "toml" and "[instance]" in block]
    assert jobs
    for text in jobs:
        from_mapping(tomllib.loads(text), origin="README.md")


def test_the_readme_decides_within_one_page():
    """The shape agreed on: at most about 250 lines, `make demo` and the job file in it, links to the rest."""
    lines = TEXT.splitlines()
    assert 60 <= len(lines) <= 260
    assert any("make demo" in line for line in lines[:80])
    for link in ("docs/job.toml", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "docs/failure-model.md"):
        assert f"({link})" in TEXT, link
