"""Makes ``lab`` importable beside the tests, and gives each test a model of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from model_lab import Lab


@pytest.fixture
def lab() -> Lab:
    return Lab()
