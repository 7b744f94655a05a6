"""Makes the clouds under test importable beside the contract, and the embedded cloud of the e2e tests too."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
