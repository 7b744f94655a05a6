"""The one door: what ``make`` says where the system lacks something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from markdown import ROOT


def packages(tmp_path: Path, *, uid: int = 1000, **programs: str) -> subprocess.CompletedProcess[str]:
    """``.ci/packages`` on a machine that has nothing but *programs*, each a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {"id": f"echo {uid}", "python3": f'exec "{sys.executable}" "$@"', **programs}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return subprocess.run(
        ["/bin/sh", ROOT / ".ci/packages", "demo"],
        env={"PATH": str(folder), "POLICY": str(tmp_path / "policy")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_ordinary_user_is_told_the_exact_command(tmp_path):
    ended = packages(tmp_path)
    assert ended.returncode == 2
    assert "missing on this machine: rsync openssh-client" in ended.stderr
    assert "sudo apt-get install rsync openssh-client " in ended.stderr


def test_a_python_without_venv_is_told(tmp_path):
    """Debian splits it off; the message of venv itself sends people to the wrong package."""
    python = f'case "$2" in *ensurepip*) exit 1 ;; esac; exec "{sys.executable}" "$@"'
    ended = packages(tmp_path, python3=python, rsync="", ssh="")
    assert "sudo apt-get install python3-venv " in ended.stderr


def test_an_old_python_is_told_with_what_to_give_instead(tmp_path):
    python = 'case "$1" in --version) echo Python 3.9.2 ;; *) exit 1 ;; esac'
    ended = packages(tmp_path, python3=python, rsync="", ssh="")
    assert ended.returncode == 2
    assert "python3 is Python 3.9.2; jetrun needs Python 3.11 or newer" in ended.stderr
    assert "make PYTHON=/path/to/python3.11 demo" in ended.stderr


def test_where_nothing_is_missing_nothing_is_said(tmp_path):
    ended = packages(tmp_path, rsync="", ssh="")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_root_installs_what_is_missing_and_says_so(tmp_path):
    """No service is started meanwhile (the policy is asked and says 101), and what apt-get said is shown where it fails."""
    asked = tmp_path / "asked"
    apt = f'echo "$*" >> {asked}; case "$*" in *openssh*) {tmp_path}/policy; echo "policy $?" >> {asked}; echo no room; exit 1 ;; esac'
    kept = {name: f'exec /bin/{name} "$@"' for name in ("cat", "rm", "chmod")}
    ended = packages(tmp_path, uid=0, rsync="", mktemp=f"echo {tmp_path}/said", **kept, **{"apt-get": apt})
    assert ended.stdout == "installing what is missing on this machine: openssh-client\n"
    assert asked.read_text().splitlines() == [
        "update -q",
        "install -q -y --no-install-recommends openssh-client",
        "policy 101",
    ]
    assert "no room" in ended.stderr
    assert not (tmp_path / "policy").exists()
    assert ended.returncode == 2
