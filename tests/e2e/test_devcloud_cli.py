"""``jetrun devcloud`` starts, tells, plagues and ends an embedded cloud, each command by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from devcloud_subject import embedded_cloud

from jetrun.devcloud import client

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def jetrun(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jetrun", "devcloud", *words, "--dir", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_cloud_is_started_found_and_ended_by_commands_alone():
    with embedded_cloud() as running:
        client.stop(running)
        up = jetrun(running.folder, "up", "--detach", "--timings", "zero")
        assert (up.returncode, up.stderr) == (0, "")
        found = client.find(running.folder)
        assert found is not None
        assert found.url in up.stdout
        assert str(found.clouds) in up.stdout
        again = jetrun(running.folder, "up", "--detach")
        assert again.returncode == 0
        assert client.find(running.folder) == found
        status = json.loads(jetrun(running.folder, "status", "--json").stdout)
        assert [(row["name"], row["status"]) for row in status["instances"]] == [("my-instance", "SHELVED_OFFLOADED")]
        assert jetrun(running.folder, "down").returncode == 0
        assert not found.is_alive()
        assert jetrun(running.folder, "down").returncode == 0


def test_status_without_a_cloud_is_an_error_that_says_how_to_start_one(tmp_path):
    status = jetrun(tmp_path, "status")
    assert status.returncode == 2
    assert "jetrun devcloud up" in status.stderr
    assert status.stdout == ""


def test_faults_are_set_listed_and_cleared(devcloud):
    assert jetrun(devcloud.folder, "fault", "add", "refuse-500", "--on", "nova.show", "--times", "2").returncode == 0
    listed = jetrun(devcloud.folder, "fault", "list").stdout.split()
    assert listed[1:4] == ["refuse-500", "on", "nova.show"]
    assert jetrun(devcloud.folder, "fault", "clear").returncode == 0
    assert jetrun(devcloud.folder, "fault", "list").stdout == ""


def test_an_unknown_fault_is_refused_with_the_names(devcloud):
    refused = jetrun(devcloud.folder, "fault", "add", "sloth")
    assert refused.returncode == 2
    assert "stale-read" in refused.stderr
