"""The schedules are sharp: each of the mutants of mutants.py breaks the promise, and one of them shows it."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from mutants import MUTANTS


@pytest.mark.parametrize("name", list(MUTANTS))
def test_a_mutant_is_caught(name: str) -> None:
    program = Path(__file__).parent / "mutants.py"
    ended = subprocess.run([sys.executable, str(program), name], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("caught after"), ended.stdout


def test_each_invariant_that_the_model_can_judge_has_three() -> None:
    assert all(
        Counter(one.invariant for one in MUTANTS.values())[number] >= 3 for number in (1, 2, 3, 4, 5, 6, 7, 8, 10)
    )
