"""The process's end: everything said is out, or that it is not is said."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ENVIRON = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}


def ended(redirection: str) -> subprocess.CompletedProcess[str]:
    command = f'"{sys.executable}" -m jetrun --version {redirection}'
    return subprocess.run(["/bin/sh", "-c", command], env=ENVIRON, capture_output=True, text=True, check=False)


def test_what_was_said_is_out() -> None:
    assert ended("").stdout.startswith("jetrun ")
    assert ended("| cat").stdout.startswith("jetrun ")


def test_output_that_is_lost_is_said() -> None:
    found = ended(">/dev/full")
    assert found.returncode == 125
    assert "could not be written" in found.stderr


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_changes_nothing(redirection: str) -> None:
    assert ended(redirection).returncode == 0
