"""The project's Markdown files, and what is in them: links, headings, code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def documents() -> list[Path]:
    """Every Markdown file of the project; not of an environment or of what an example wrote."""
    hidden = {".venv", "build", "out", "node_modules", ".git", ".pytest_cache"}
    return sorted(path for path in ROOT.rglob("*.md") if not hidden & set(path.relative_to(ROOT).parts))


def without_code(text: str) -> str:
    """The prose, with fenced and inline code blanked out."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))


def links(text: str) -> list[str]:
    """Targets of all links and pictures."""
    found = re.findall(r"\]\(<?([^)>\s]+)>?(?:\s+\"[^\"]*\")?\)", without_code(text))
    return found + re.findall(r"^\[[^\]]+\]:\s+(\S+)", without_code(text), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    heads = re.findall(r"^#+ +(.+?)\s*$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", head).lower()).replace(" ", "-") for head in heads}


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    return [(found[1], found[2]) for found in _FENCE.finditer(text)]


def commands(text: str, program: str) -> list[str]:
    """Each command line of *program* in shell blocks and inline code, continued lines joined, prompts removed."""
    found = []
    for language, block in blocks(text):
        if language in {"", "sh", "bash", "shell", "console"}:
            joined = block.replace("\\\n", " ")
            found += [re.sub(r"^\s*[$#] ", "", line).strip() for line in joined.splitlines()]
    found += re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
    parts = [part.strip() for line in found for part in re.split(r"&&|\|\||;", line)]
    return [part for part in parts if part.startswith(f"{program} ")]
