"""jetrun runs a script on an OpenStack instance and does not finish until the instance is proven down.

The public Python API is loaded on first use, so that ``import jetrun`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["JetrunError", "Job", "Receipt", "Result", "__version__", "run"]

if TYPE_CHECKING:
    from jetrun.api import Result, run
    from jetrun.errors import JetrunError
    from jetrun.guarantee.receipt import Receipt
    from jetrun.job import Job

_HOMES = {
    "Job": "jetrun.job",
    "JetrunError": "jetrun.errors",
    "Receipt": "jetrun.guarantee.receipt",
    "Result": "jetrun.api",
    "run": "jetrun.api",
}


def __getattr__(name: str) -> Any:
    """The public name *name*, imported from its home on first use."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'jetrun' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
