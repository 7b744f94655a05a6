"""The run's document as it is printed: for people in a box, for machines as schema 1."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

KEYS = (
    "schema", "run_id", "name", "outcome", "exit_code", "script", "instance", "receipt", "outputs", "cost", "mail", "phases",
    "output_dir", "error", "outputs_missing", "log_path", "warnings", "cloud",
)  # fmt: skip
"""Keys of ``--json``, schema 1; keys may be added, never changed."""


def schema(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as ``--json`` prints it."""
    return {key: document[key] for key in KEYS}


def printed(document: Mapping[str, Any]) -> str:
    """The document for a person at a terminal, or for a file."""
    from jetrun.notify.report import terminal  # noqa: PLC0415

    try:
        on_terminal = sys.stdout.isatty()
        width = os.get_terminal_size(1).columns if on_terminal else 80
    except (OSError, ValueError):
        on_terminal, width = False, 80
    encoding = (getattr(sys.stdout, "encoding", "") or "").lower()
    color = on_terminal and "NO_COLOR" not in os.environ
    return terminal(document, width=width, color=color, unicode="utf" in encoding)
