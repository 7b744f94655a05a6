"""Runs of the real command line against an embedded cloud: the process, its JSON, and what is really so in the cloud."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jetrun.devcloud.client import Running

DOWN = {"shelved_offloaded", "stopped", "deleted", "shelved"}


@dataclass(kw_only=True)
class Ended:
    """A command line that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The ``--json`` document."""
        return json.loads(self.out)


@dataclass(kw_only=True)
class Desk:
    """A researcher's desk: a folder, a home, and an embedded cloud to run on.

    Attributes:
        guarded: her runs have guardians; without, a test that kills a driver sees what is left of it.
    """

    cloud: Running
    folder: Path
    extra: dict[str, str] = field(default_factory=dict)
    guarded: bool = False

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.toml").write_text(
            f'[smtp]\nhost = "127.0.0.1"\nport = {self.cloud.mail_port}\nsender = "jetrun@uni.edu"\nsecurity = "none"\ntimeout = "5s"\n'
            + ("" if self.guarded else '[defaults]\non_driver_loss = "nothing"\n')
        )

    @property
    def environ(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
        return {
            **kept,
            "HOME": str(self.folder),
            "JETRUN_HOME": str(self.folder / "home"),
            "JETRUN_CONFIG": str(self.folder / "config.toml"),
            "OS_CLIENT_CONFIG_FILE": str(self.cloud.clouds),
            "OS_CLOUD": "devcloud",
            **self.extra,
        }

    def script(self, text: str, name: str = "job.sh") -> Path:
        path = self.folder / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    def instance(self, name: str, **more: Any) -> str:
        """A shelved instance of its own for a test: its id."""
        return str(self.cloud.do("add", name=name, **more)["id"])

    def start(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        """A command line that goes on."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **more}
        return subprocess.Popen([sys.executable, "-m", "jetrun", *words], cwd=self.folder, env=self.environ, **options)

    def jetrun(self, *words: str, within_s: float = 120) -> Ended:
        """A command line, to its end."""
        with self.start(*words) as process:
            try:
                out, err = process.communicate(timeout=within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                raise AssertionError(f"jetrun {words} did not end:\n{err.decode()}\n{out.decode()}") from None
        return Ended(code=process.returncode, out=out.decode(errors="replace"), err=err.decode(errors="replace"))

    def run(self, script: Path | str, *words: str, on: str, within_s: float = 120) -> Ended:
        """``jetrun run --json``."""
        return self.jetrun("run", str(script), "--on", on, "--json", *words, within_s=within_s)

    def truth(self, instance: str) -> dict[str, Any]:
        """What is really so."""
        return dict(self.cloud.truth(instance))

    def is_down(self, instance: str) -> bool:
        """Whether nothing of it runs, by the model and by its process."""
        truth = self.truth(instance)
        return (
            truth["vm_state"] in DOWN
            and truth["task_state"] is None
            and not truth["really_on"]
            and not truth["process"]
        )


def tells_the_truth(desk: Desk, ended: Ended, instance: str) -> None:
    """The one thing that must hold whatever happened: a verified receipt means down, and only one instance was made."""
    document = ended.document
    assert ended.code != 125, f"jetrun itself failed: {ended.err}"
    receipt = document["receipt"]
    if receipt is not None and receipt["verified"]:
        assert desk.is_down(instance), (ended.err, desk.truth(instance))
        assert ended.code != 119
    if receipt is not None and not receipt["verified"]:
        assert ended.code == 119, ended.err
        assert document["error"]["next"]
    if ended.code in {0, 120, 121, 123, 124}:
        truth = desk.truth(instance)
        assert not truth["really_on"], (ended.err, truth)
    mine = [row for row in desk.cloud.truth()["instances"] if row["metadata"].get("jetrun_run") == document["run_id"]]
    assert len(mine) <= 1, mine
