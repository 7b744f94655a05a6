"""The examples as a user runs them: their receipts have the shape that is shipped with them, their outputs are the script's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import Desk

from jetrun.devcloud.client import Running

EXAMPLES = Path(__file__).parents[2] / "examples"

SHAPES = {
    "<run>": r"\d{8}T\d{6}-[0-9a-f]{4}",
    "<uuid>": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "<instant>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00",
    "<request>": r"req-[0-9a-f-]{36}",
    "<sha256>": r"[0-9a-f]{64}",
    "<text>": r".+",
    "<integer>": r"\d+",
    "<number>": r"\d+(\.\d+)?",
    "<number or null>": r"None|\d+(\.\d+)?(e-\d+)?",
}


def assert_shaped(expected: Any, found: Any, path: str = "") -> None:
    """*found* is *expected*, where a word in angle brackets stands for any value of its kind."""
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert list(found) == list(expected), path
        for key, value in expected.items():
            assert_shaped(value, found[key], f"{path}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), path
        for index, value in enumerate(expected):
            assert_shaped(value, found[index], f"{path}[{index}]")
    elif isinstance(expected, str) and expected in SHAPES:
        assert re.fullmatch(SHAPES[expected], str(found)), (path, expected, found)
    else:
        assert found == expected, path


@pytest.fixture
def desk(cloud: Running, tmp_path: Path) -> Desk:
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("build", "out", "report.md"))
    return Desk(cloud=cloud, folder=tmp_path)


@pytest.mark.parametrize("name", ["genome", "survey"])
def test_an_example_ends_with_the_receipt_that_is_shipped_with_it(desk: Desk, name: str) -> None:
    key = desk.instance(name)
    ended = desk.run(f"examples/{name}/job.toml", on=key, within_s=100)
    assert ended.code == 0, ended.err
    assert_shaped(json.loads((EXAMPLES / name / "expected-receipt.json").read_text()), ended.document)
    folder = Path(ended.document["output_dir"])
    assert folder.parent == desk.folder / "examples" / name / "out"
    for output in ended.document["outputs"]:
        assert (folder / output["path"]).stat().st_size == output["size_bytes"]
    assert desk.is_down(key)


def test_the_pipeline_makes_its_report_without_a_terminal_and_stops_where_the_run_fails(desk: Desk) -> None:
    key = desk.instance("pipeline")
    jetrun = desk.folder / "jetrun"
    jetrun.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jetrun "$@"\n')
    jetrun.chmod(0o755)
    folder = desk.folder / "examples" / "pipeline"

    def make(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["make", f"JETRUN={jetrun}", f"PYTHON={sys.executable}", f"ON={key}", *words]
        environ = {**desk.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        options = {"cwd": folder, "env": environ, "stdin": subprocess.DEVNULL, "timeout": 100}
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    ended = make()
    assert ended.returncode == 0, ended.stderr
    assert "SHELVED_OFFLOADED" in (folder / "report.md").read_text()
    (folder.parent / "survey" / "ridge.py").write_text("raise SystemExit(7)\n")
    failed = make()
    assert failed.returncode == 2
    assert "Error 7" in failed.stderr
    assert not (folder / "build/out/results/best.json").exists()
    assert desk.is_down(key)
