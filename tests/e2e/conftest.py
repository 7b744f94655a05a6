"""Makes the servers of the e2e tests importable beside them, and gives ``devcloud``, an embedded cloud of a test's own."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from devcloud_subject import devcloud

__all__ = ["devcloud"]
