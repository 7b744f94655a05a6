"""``jetrun init`` and ``jetrun schedule``: files that are written once, shown first."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import platformdirs

from jetrun.config import Config
from jetrun.errors import UsageError
from jetrun.job_fields import toml_text

FIRST_SCRIPT = """\
#!/bin/sh
# Your script: it runs in a folder of its own on the instance, beside the inputs.
set -eu
mkdir -p results
echo "hello from $(hostname)" | tee results/hello.txt
"""


CARRIED = ("OS_CLOUD", "OS_CLIENT_CONFIG_FILE", "JETRUN_HOME", "JETRUN_CONFIG")
"""Settings of this shell that a timer or cron would not have. None of them is a secret: those stay in files."""


def write_first_job(folder: Path, on: str, config: Config) -> str:
    """Write ``job.toml`` and ``script.sh`` to *folder* where they are not there yet; what was done, and what to do next."""
    folder.mkdir(parents=True, exist_ok=True)
    job, script = folder / "job.toml", folder / "script.sh"
    said = []
    text = (
        "# Every key: docs/job.toml. Paths are relative to this file.\n"
        'script = "script.sh"\n# inputs = ["data/"]\noutputs = ["results/"]\ntimeout = "1h"\n\n'
        f'[instance]\non = {toml_text(on)}\nmax_lifetime = "4h"   # the instance is down by then, whatever happens\n\n'
        '# [ssh]\n# user = "exouser"\n\n# [email]\n# to = ["me@uni.edu"]\n'
    )
    for path, content in ((job, text), (script, FIRST_SCRIPT)):
        if path.exists():
            said.append(f"{path} is there already, and is left as it is")
        else:
            path.write_text(content, encoding="utf-8")
            said.append(f"wrote {path}")
    script.chmod(0o755)
    if config.mail is None:
        said.append(
            f"mail: no server is configured; for a mail after each run write into {config.path}:\n"
            '  [smtp]\n  host = "smtp.uni.edu"\n  user = "me@uni.edu"      # the password: JETRUN_SMTP_PASSWORD'
        )
    said.append(f"next: jetrun doctor {shlex.quote(on)} && jetrun run {shlex.quote(str(job))}")
    return "\n".join(said) + "\n"


def scheduled(job: Path, on_calendar: str, *, install: bool) -> str:
    """The systemd user timer and the cron line for *job*; installed where *install*.

    Raises:
        UsageError: there is no such job file, or systemd does not take the calendar or the units.
    """
    path = job.resolve()
    if not path.is_file():
        raise UsageError(code="job-file-missing", what=f"{path}: there is no such job file", next="jetrun init")
    _check_calendar(on_calendar)
    name = "jetrun-" + (re.sub(r"[^A-Za-z0-9_.-]", "-", path.stem) or "job")
    command = f"{_quoted(sys.executable)} -m jetrun run {_quoted(str(path))}"
    settings = {key: os.environ[key] for key in CARRIED if os.environ.get(key)}
    environment = "".join(f"Environment={_quoted(f'{key}={value}')}\n" for key, value in settings.items())
    exports = "".join(f"{key}={shlex.quote(value)} " for key, value in settings.items())
    service = (
        f"[Unit]\nDescription=jetrun {path.name}\n\n[Service]\nType=oneshot\nWorkingDirectory={_escaped(str(path.parent))}\n"
        f"{environment}ExecStart={command}\n"
        "# A stop ends the run in order: collect, bring the instance down, prove it.\nTimeoutStopSec=1h\n"
    )
    timer = (
        f"[Unit]\nDescription=when jetrun {path.name} runs\n\n[Timer]\nOnCalendar={on_calendar}\nPersistent=true\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )
    folder = platformdirs.user_config_path("systemd") / "user"
    files = {folder / f"{name}.service": service, folder / f"{name}.timer": timer}
    shown = "".join(f"# {target}\n{text}\n" for target, text in files.items())
    cron = f"# the same by cron (choose the five fields yourself):\n# 0 6 * * 1  cd {shlex.quote(str(path.parent))} && "
    cron += f"{exports}{shlex.quote(sys.executable)} -m jetrun run {shlex.quote(str(path))}\n"
    if not install:
        again = f"jetrun schedule {shlex.quote(str(job))} --on-calendar {shlex.quote(on_calendar)} --install"
        return f"{shown}{cron}\n# to install: {again}\n"
    folder.mkdir(parents=True, exist_ok=True)
    for target, text in files.items():
        target.write_text(text, encoding="utf-8")
    for words in (["daemon-reload"], ["enable", "--now", f"{name}.timer"]):
        _systemctl(words)
    return f"{shown}installed; next runs: systemctl --user list-timers {name}.timer\n{_linger()}"


def _check_calendar(text: str) -> None:
    """Let systemd itself say whether the calendar is one, where it is there."""
    if not text.strip() or "\n" in text:
        raise UsageError(code="calendar-wrong", what=f"{text!r} is no calendar", next="--on-calendar 'Mon 06:00'")
    try:
        found = subprocess.run(
            ["systemd-analyze", "calendar", text], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    if found.returncode != 0:
        raise UsageError(
            code="calendar-wrong",
            what=f"systemd does not understand {text!r}: {found.stderr.strip()}",
            next="--on-calendar 'Mon 06:00'",
        )


def _systemctl(words: list[str]) -> None:
    """One ``systemctl --user``."""
    try:
        subprocess.run(["systemctl", "--user", *words], check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise UsageError(
            code="no-systemd",
            what=f"the units are written, and systemd does not take them: {said.strip()}",
            next="use the cron line instead: jetrun schedule without --install shows it",
        ) from error


def _linger() -> str:
    """A user's timers run only while the user is logged in, unless lingering is on."""
    return f"so that it also runs while you are logged out: sudo loginctl enable-linger {getpass.getuser()}\n"


def _quoted(text: str) -> str:
    """A word of ExecStart. Source: systemd.service(5), command lines; systemd.syntax(7)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$").replace("%", "%%").replace("\n", "\\n")
    return f'"{escaped}"'


def _escaped(text: str) -> str:
    """A path as a unit file's value."""
    return text.replace("%", "%%")
