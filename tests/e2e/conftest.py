"""Makes the servers of the e2e tests importable beside them, and gives embedded clouds and a researcher's desk before one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from devcloud_subject import devcloud, embedded_cloud
from runs import Desk

from jetrun.devcloud.client import Running

__all__ = ["devcloud"]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Running]:
    """One embedded cloud for the tests of a file."""
    with embedded_cloud() as running:
        yield running


@pytest.fixture
def desk(cloud: Running, tmp_path: Path) -> Iterator[Desk]:
    """A desk of the test's own before it; what faults the test made are gone afterwards."""
    yield Desk(cloud=cloud, folder=tmp_path)
    cloud.clear_faults()
