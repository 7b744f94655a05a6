"""Makes the clouds under test importable beside the contract, and lives the lives that the tests read from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

from plain_subjects import PLAIN_SUBJECTS, PlainSubject  # noqa: E402
from story import Story  # noqa: E402
from whole_life import live, never_hosted  # noqa: E402


@pytest.fixture(scope="session", params=PLAIN_SUBJECTS)
def plain(request: pytest.FixtureRequest) -> Iterator[PlainSubject]:
    """A cloud in plain requests: model and embedded cloud, or the real one that JETRUN_LAB_CLOUDS names."""
    with PLAIN_SUBJECTS[request.param]() as subject:
        yield subject


@pytest.fixture(scope="session")
def life(plain: PlainSubject) -> Story:
    """One instance through every state; a minute and a half on a real cloud."""
    return live(plain)


@pytest.fixture(scope="session")
def hostless(plain: PlainSubject) -> Story:
    """One instance that never found a host."""
    return never_hosted(plain)
