"""Small files of the home that keep when something last happened, by name: a message was accepted, a cloud was swept."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import datetime
from pathlib import Path


def read(path: Path) -> dict[str, datetime]:
    """When each of them last happened; empty where the file is not there, or cannot be read."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): datetime.fromisoformat(at) for name, at in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def note(path: Path, name: str, at: datetime) -> None:
    """It happened. A disk that takes no writes changes nothing else."""
    kept = {**read(path), name: at}
    with contextlib.suppress(OSError):
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.write_text(json.dumps({one: moment.isoformat() for one, moment in kept.items()}), encoding="utf-8")
        fresh.replace(path)
