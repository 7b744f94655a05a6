"""A researcher's desk before the real cloud: a folder, a home, a clouds.yaml, a mailbox, and the command line as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import truth
import yaml
from lab import place
from smtp_servers import Mailbox

QUICK = {
    "verify_gap_s": 2, "settle_s": 30, "task_seen_s": 15, "shelve_s": 60, "stop_s": 100, "unshelve_s": 60, "foreign_task_s": 30,
    "build_s": 90, "delete_s": 60, "unreachable_s": 30, "ssh_s": 90, "api_timeout_s": 20, "lease_margin_s": 10,
}  # fmt: skip
"""Bounds for a cloud whose instances boot in ten seconds: a fault is given up on within a test's patience."""


@dataclass(kw_only=True)
class Ended:
    """A command line that has ended.

    Attributes:
        took_s: wall time. at: time.monotonic() of its end.
    """

    code: int
    out: str
    err: str
    took_s: float

    @property
    def document(self) -> dict[str, Any]:
        """The ``--json`` document."""
        return dict(json.loads(self.out))

    @property
    def receipt(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.document["receipt"]
        return found

    @property
    def is_verified(self) -> bool:
        return self.receipt is not None and bool(self.receipt["verified"])

    def __str__(self) -> str:
        return f"exit code {self.code} after {self.took_s:.1f} s\n{self.err}\n{self.out}"


@dataclass(kw_only=True)
class Desk:
    """One researcher.

    Attributes:
        mailbox: where her mail goes. bounds: over QUICK. entry: more of her cloud's entry in clouds.yaml.
    """

    folder: Path
    mailbox: Mailbox
    cloud: str = "lab"
    bounds: dict[str, float] = field(default_factory=dict)
    entry: dict[str, Any] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.toml").write_text(
            f'[smtp]\nhost = "127.0.0.1"\nport = {self.mailbox.port}\nsender = "jetrun@uni.edu"\nsecurity = "none"\ntimeout = "5s"\n'
            '[defaults]\non_driver_loss = "nothing"\n'
        )
        self.write_clouds()

    def write_clouds(self, **more: Any) -> None:
        """Her clouds.yaml: the lab's entry, with her bounds and whatever else."""
        entry = yaml.safe_load((place.STATE / "clouds.yaml").read_text())["clouds"][self.cloud]
        entry["jetrun"] |= {"bounds": {**QUICK, **self.bounds}, "rates": {"m1": 1.0}}
        (self.folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {self.cloud: entry | self.entry | more}}))

    @property
    def environ(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
        return {
            **kept,
            "HOME": str(self.folder),
            "JETRUN_HOME": str(self.folder / "home"),
            "JETRUN_CONFIG": str(self.folder / "config.toml"),
            "OS_CLIENT_CONFIG_FILE": str(self.folder / "clouds.yaml"),
            "OS_CLOUD": self.cloud,
        }

    def script(self, text: str, name: str = "job.sh") -> Path:
        path = self.folder / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    def start(self, *words: str) -> Running:
        """A command line that goes on."""
        with (self.folder / "stdout").open("wb") as out, (self.folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "jetrun", *words],
                cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip
        self.started.append(Running(process=process, folder=self.folder, begun=time.monotonic()))
        return self.started[-1]

    def leave(self) -> None:
        """No process of hers outlives the test."""
        for one in self.started:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()

    def jetrun(self, *words: str, within_s: float = 300) -> Ended:
        """A command line, to its end."""
        return self.start(*words).end(within_s)

    def run(self, script: Path | str, *words: str, on: str | None = None, within_s: float = 300) -> Ended:
        """``jetrun run --json``."""
        return self.jetrun("run", str(script), *(("--on", on) if on else ()), "--json", *words, within_s=within_s)

    def events(self) -> list[dict[str, Any]]:
        """The log of the newest run."""
        newest = max(
            (self.folder / "home/runs").glob("*/run.jsonl"), key=lambda path: path.stat().st_mtime, default=None
        )
        return [json.loads(line) for line in newest.read_text().splitlines()] if newest else []

    def has_seen(self, event: str) -> bool:
        """Whether the newest run logged that."""
        return any(one.get("event") == event for one in self.events())


@dataclass(kw_only=True)
class Running:
    """A command line under way."""

    process: subprocess.Popen[bytes]
    folder: Path
    begun: float

    def end(self, within_s: float = 300) -> Ended:
        """Waits for its end."""
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"jetrun did not end within {within_s:.0f} s:\n{self.err}") from None
        took_s = time.monotonic() - self.begun
        return Ended(code=code, out=(self.folder / "stdout").read_text(errors="replace"), err=self.err, took_s=took_s)

    @property
    def err(self) -> str:
        return (self.folder / "stderr").read_text(errors="replace")


def tells_the_truth(ended: Ended, instance: str) -> truth.Row:
    """What must hold whatever happened: verified means down by the database and by libvirt, and anything else was told."""
    found = truth.row(instance)
    assert ended.code != 125, f"jetrun itself failed: {ended}"
    receipt = ended.receipt
    if receipt is None:
        return found
    assert receipt["verified"] == (ended.code != 119), str(ended)
    if receipt["verified"]:
        assert found.is_down, f"{found}\n{ended}"
    return found
