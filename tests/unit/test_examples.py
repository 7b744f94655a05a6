"""The examples: their jobs are valid, their scripts do what the READMEs say, their pictures are pictures."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from jetrun.guarantee.lifecycle import Phase
from jetrun.guarantee.power import Disposition
from jetrun.guarantee.receipt import Receipt
from jetrun.job import Job
from jetrun.job_disk import check_files
from jetrun.job_file import load

EXAMPLES = Path(__file__).parents[2] / "examples"
WITH_RECEIPT = ["genome", "survey"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each example's work folder after its script has run, staged as jetrun stages it: inputs under their own names."""
    folders = {}
    for name in WITH_RECEIPT:
        job = load(EXAMPLES / name / "job.toml", folder=EXAMPLES)
        folders[name] = run_here(job, tmp_path_factory.mktemp(name))
    return folders


def run_here(job: Job, base: Path) -> Path:
    work = base / "work"
    work.mkdir()
    for source in map(Path, job.inputs):
        (shutil.copytree if source.is_dir() else shutil.copy)(source, work / source.name)
    command = [job.script] if job.script else [sys.executable, *job.command[1:]]
    environ = {"PATH": os.environ["PATH"], **job.env}
    subprocess.run(command, cwd=work, env=environ, check=True, stdout=subprocess.DEVNULL, timeout=60)
    return work


def expected(name: str) -> dict[str, Any]:
    return json.loads((EXAMPLES / name / "expected-receipt.json").read_text())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.toml")), ids=lambda path: path.parent.name)
def test_every_job_file_is_valid(path, tmp_path):
    """The pipeline's input is made by its Makefile; the others are there as they stand."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("build", "out"))
    copy = tmp_path / "examples" / path.relative_to(EXAMPLES)
    (copy.parent / "build" / "data").mkdir(parents=True)
    job = load(copy, folder=tmp_path)
    assert job.disposition is Disposition.SHELVE
    assert check_files(job, origin=str).files >= 3


def test_the_genome_example_finds_every_annotated_gene(done):
    results = done["genome"] / "results"
    frames = rows(results / "orfs.csv")
    ends = {(row["end"], "1") if row["strand"] == "1" else (row["start"], "-1") for row in frames}
    text = (EXAMPLES / "genome/data/NC_005816.gb").read_text()
    genes = re.findall(r"^     CDS +(complement\()?(\d+)\.\.(\d+)", text, re.MULTILINE)
    assert len(genes) == 10
    assert {(low, "-1") if minus else (high, "1") for minus, low, high in genes} <= ends


def test_the_genome_example_knows_the_gc_content_of_the_plasmid(done):
    text = (EXAMPLES / "genome/data/NC_005816.gb").read_text().partition("ORIGIN")[2]
    bases = re.sub(r"[^acgt]", "", text)
    true = 100 * (bases.count("g") + bases.count("c")) / len(bases)
    windows = [float(row["gc_percent"]) for row in rows(done["genome"] / "results/gc_windows.csv")]
    assert sum(windows) / len(windows) == pytest.approx(true, abs=0.2)


def test_the_genome_example_counts_every_codon_of_the_genes(done):
    usage = rows(done["genome"] / "results/codon_usage.csv")
    assert len(usage) == 64
    stops = sum(int(row["count"]) for row in usage if row["amino_acid"] == "*")
    assert stops == 10
    for amino in {row["amino_acid"] for row in usage}:
        assert sum(float(row["share"]) for row in usage if row["amino_acid"] == amino) == pytest.approx(1, abs=1e-4)


def test_the_genome_example_sets_the_genera_apart(done):
    """Orchids of one genus are nearer to each other than to Cypripedium, in the mean."""
    near: list[float] = []
    far: list[float] = []
    for row in rows(done["genome"] / "results/orchid_distances.csv"):
        (
            near if row["one"][0] == row["other"][0] == "C" else far if "C" in (row["one"][0], row["other"][0]) else []
        ).append(float(row["distance"]))
    assert len(near) + len(far) > 1000
    assert sum(near) / len(near) < 0.75 * sum(far) / len(far)
    tree = (done["genome"] / "results/orchids.nwk").read_text()
    assert tree.count(",") == 93
    assert tree.count("(") == tree.count(")") == 93


def test_the_survey_covers_its_grid_and_reports_its_least_error(done):
    grid = rows(done["survey"] / "results/grid.csv")
    best = json.loads((done["survey"] / "results/best.json").read_text())
    assert len(grid) == 13 * 12
    least = min(grid, key=lambda row: float(row["rmse"]))
    assert (int(least["terms"]), float(least["rmse"])) == (best["best"]["terms"], best["best"]["rmse"])
    assert best["simplest"]["terms"] <= best["best"]["terms"]


def test_the_survey_agrees_with_what_is_known_of_its_data(done):
    """Least squares on these patients errs by 54 to 57 in the literature, the mean alone by 77."""
    best = json.loads((done["survey"] / "results/best.json").read_text())
    assert 53 < best["best"]["rmse"] < 57
    assert {"bmi", "s5"} <= set(best["weights"])
    pairs = rows(done["survey"] / "results/predictions.csv")
    assert len(pairs) == 442
    mean = sum(float(row["progression"]) for row in pairs) / 442
    assert sum(float(row["predicted"]) for row in pairs) / 442 == pytest.approx(mean, abs=0.01)


def pixels(path: Path) -> tuple[int, int, bytes]:
    """Width, height and raw rows of a PNG of 8-bit RGB without filters; every checksum is looked at."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body, size = 8, b"", (0, 0)
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        content = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + content)
        size = struct.unpack(">II", content[:8]) if kind == b"IHDR" else size
        body += content if kind == b"IDAT" else b""
        at += 12 + length
    return *size, zlib.decompress(body)


@pytest.mark.parametrize(("name", "picture"), [("genome", "plasmid"), ("genome", "orchids"), ("survey", "error")])
def test_a_picture_is_a_png_with_something_on_it_and_small_enough_for_a_mail(done, name, picture):
    path = done[name] / "results" / f"{picture}.png"
    width, height, raw = pixels(path)
    assert len(raw) == height * (1 + 3 * width)
    middle = [raw[row * (1 + 3 * width) + 1 :][: 3 * width] for row in range(0, height, 7)]
    assert len({line[at : at + 3] for line in middle for at in range(0, len(line), 21)}) > 5
    assert path.stat().st_size < 1_000_000
    assert (done[name] / "results" / f"{picture}.svg").read_text().startswith("<svg ")


@pytest.mark.parametrize("name", WITH_RECEIPT)
def test_the_expected_receipt_lists_exactly_what_the_script_leaves(done, name):
    """Users compare with this file: a path that never comes would send them looking."""
    listed = [one["path"] for one in expected(name)["outputs"]]
    found = sorted(str(path.relative_to(done[name])) for path in (done[name] / "results").rglob("*") if path.is_file())
    assert listed == found
    told = (EXAMPLES / name / "README.md").read_text()
    assert all(f"`{Path(path).name}`" in told for path in found)


@pytest.mark.parametrize("name", WITH_RECEIPT)
def test_the_expected_receipt_has_the_shape_of_a_receipt(name):
    document = expected(name)
    assert set(document["receipt"]) == set(
        Receipt(
            verified=False, disposition=Disposition.SHELVE, status=None, requested_at=None, verified_at=None
        ).to_dict()
    )
    assert [phase["name"] for phase in document["phases"]] == [one.value for one in Phase if one is not Phase.CLOSED]
    assert document["receipt"]["verified"] is True
    assert document["name"] == load(EXAMPLES / name / "job.toml", folder=EXAMPLES).name


def test_the_pipeline_is_up_to_date_after_it_ran_and_runs_again_when_an_input_changes(tmp_path):
    """A stand-in for jetrun writes the outputs with old times, as an instance does; make must not run it twice."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("build", "out", "report.md"))
    folder = tmp_path / "examples" / "pipeline"
    ran = tmp_path / "ran"
    step = tmp_path / "jetrun"
    found = {choice: {"terms": 1, "penalty": 1, "rmse": 1} for choice in ("best", "simplest")}
    step.write_text(
        f"#!/bin/sh\nset -e\necho once >> {ran}\nmkdir -p build/out/results\n"
        f"echo '{json.dumps(found)}' > build/out/results/best.json\n"
        "touch -d 2020-01-01 build/out/results/best.json build/out/results/grid.csv build/out/results/error.png\n"
        """echo '{"run_id":"r","instance":{"name":"vm"},"receipt":{"status":"SHELVED_OFFLOADED","observations":[]}}'\n"""
        'case "$*" in *--on?my\\ vm*) ;; *) exit 9 ;; esac\n'
    )
    step.chmod(0o755)

    def make(*words: str) -> int:
        command = ["make", f"JETRUN={step}", f"PYTHON={sys.executable}", "ON=my vm", *words]
        environ = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
        return subprocess.run(command, cwd=folder, capture_output=True, env=environ, check=False).returncode

    assert make() == 0
    assert "SHELVED_OFFLOADED" in (folder / "report.md").read_text()
    assert make() == 0
    assert ran.read_text().split() == ["once"]
    os.utime(tmp_path / "examples/survey/ridge.py")
    assert make() == 0
    assert ran.read_text().split() == ["once", "once"]
    assert make("JETRUN=false", "-B", "build/out/results/grid.csv") != 0


def test_the_schedule_files_are_what_the_command_prints(tmp_path):
    """Whoever copies them gets what ``jetrun schedule`` would have installed."""
    from jetrun.cli.services import scheduled

    (tmp_path / "survey.toml").write_text("")
    printed = scheduled(tmp_path / "survey.toml", "Mon 06:00", install=False)
    printed = printed.replace(str(tmp_path), "/home/me/survey").replace(
        sys.executable, "/home/me/jetrun/.venv/bin/python3"
    )
    for path in (EXAMPLES / "schedule").iterdir():
        if path.suffix != ".md":
            assert path.read_text().strip() in printed, path.name
