"""Acceptance C3: whoever is killed, and whenever, no instance is up once its lease and the margin are over and one reaper has come.

``JETRUN_KILLS`` says how many runs are killed, ``JETRUN_SEED`` which; 200 need some 310 s of processor time,
and took 417 s on two processors that others kept busy as well (load 11).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from devcloud_subject import embedded_cloud
from kills import Experiment

KILLS = int(os.environ.get("JETRUN_KILLS", "200"))
SEED = int(os.environ.get("JETRUN_SEED", "7"))


@pytest.mark.slow
@pytest.mark.timeout(120 + 15 * KILLS)
def test_no_instance_is_up_whoever_is_killed_and_whenever(tmp_path: Path) -> None:
    """Nobody types ``continue``: guardian, switch and reaper are all there is."""
    with embedded_cloud(timings="quick") as cloud:
        experiment = Experiment(cloud=cloud, folder=tmp_path, kills=KILLS, seed=SEED, say=sys.stdout.write)
        experiment.carry_out()
    report = f"{experiment.report()}seed: {SEED}\n"
    sys.stdout.write(report)
    assert not [one for one in experiment.outcomes if one.run.is_up], report
    assert not [one for one in experiment.outcomes if one.wrong], report
