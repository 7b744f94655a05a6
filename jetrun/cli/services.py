"""What this machine does by itself (``schedule``, ``reap install``), as systemd user timers or cron lines, shown first."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from jetrun.errors import UsageError
from jetrun.job_fields import seconds

CARRIED = ("OS_CLOUD", "OS_CLIENT_CONFIG_FILE", "JETRUN_HOME", "JETRUN_CONFIG")
"""Settings of this shell that a timer or cron would not have. None of them is a secret: those stay in files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A command of jetrun's that is to be run again and again.

    Attributes:
        name: of its units. words: after ``jetrun``. when: lines of the timer unit. folder: to work in, None for anywhere.
        extra: lines of the service unit.
    """

    name: str
    about: str
    words: tuple[str, ...]
    when: str
    folder: Path | None = None
    extra: str = ""

    def files(self) -> dict[Path, str]:
        """The two units with their texts."""
        command = " ".join([_quoted(sys.executable), "-P", "-m", "jetrun", *(_word(word) for word in self.words)])
        environment = "".join(f"Environment={_quoted(f'{key}={value}')}\n" for key, value in _settings().items())
        folder = f"WorkingDirectory={_escaped(str(self.folder))}\n" if self.folder is not None else ""
        service = (
            f"[Unit]\nDescription={self.about}\n\n[Service]\nType=oneshot\n"
            "# What it has started to outlive it, a guardian, must not end with it.\nKillMode=process\n"
            f"{folder}{environment}ExecStart={command}\n{self.extra}"
        )
        timer = (
            f"[Unit]\nDescription=when {self.about} runs\n\n[Timer]\n{self.when}\n[Install]\nWantedBy=timers.target\n"
        )
        units = platformdirs.user_config_path("systemd") / "user"
        return {units / f"{self.name}.service": service, units / f"{self.name}.timer": timer}

    def cron(self) -> str:
        """What cron runs, without its five fields."""
        exports = "".join(f"{key}={shlex.quote(value)} " for key, value in _settings().items())
        there = f"cd {shlex.quote(str(self.folder))} && " if self.folder is not None else ""
        # In a crontab, % ends the command unless it is escaped (crontab(5)).
        return f"{there}{exports}{shlex.quote(sys.executable)} -P -m jetrun {shlex.join(self.words)}".replace(
            "%", "\\%"
        )

    def install(self) -> None:
        """Write the units and start the timer.

        Raises:
            UsageError: systemd does not take them.
        """
        for target, text in self.files().items():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        for words in (["daemon-reload"], ["enable", "--now", f"{self.name}.timer"]):
            _systemctl(words)


def scheduled(job: Path, on_calendar: str, *, install: bool) -> str:
    """The systemd user timer and the cron line for *job*; installed where *install*.

    Raises:
        UsageError: there is no such job file, or systemd does not take the calendar or the units.
    """
    path = job.resolve()
    if not path.is_file():
        raise UsageError(code="job-file-missing", what=f"{path}: there is no such job file", next="jetrun init")
    _check_calendar(on_calendar)
    service = Service(
        name="jetrun-" + (re.sub(r"[^A-Za-z0-9_.-]", "-", path.stem) or "job"),
        about=f"jetrun {path.name}",
        words=("run", str(path)),
        when=f"OnCalendar={on_calendar}\nPersistent=true\n",
        folder=path.parent,
        extra="# A stop ends the run in order: collect, bring the instance down, prove it.\nTimeoutStopSec=1h\n",
    )
    shown = _shown(service)
    if not install:
        again = f"jetrun schedule {shlex.quote(str(job))} --on-calendar {shlex.quote(on_calendar)} --install"
        cron = f"# the same by cron (choose the five fields yourself):\n# 0 6 * * 1  {service.cron()}\n"
        return f"{shown}{cron}\n# to install: {again}\n"
    service.install()
    return f"{shown}installed; next runs: systemctl --user list-timers {service.name}.timer\n{_linger()}"


def reaper_installed(cloud: str, words: list[str], every: str, *, write: bool, cron: bool) -> str:
    """The systemd user timer or the cron line that sweeps; written where *write*.

    Args:
        cloud: its name; each has a timer of its own. words: after ``jetrun``. every: how often.
        cron: a cron line, also where there is a systemd.

    Raises:
        UsageError: neither systemd nor cron takes it, or cron knows no such interval.
    """
    pause_s = seconds(every)
    slug = re.sub(r"[^A-Za-z0-9_.-]", "-", cloud)
    mark = f"# jetrun reap {slug}"
    service = Service(
        name=f"jetrun-reap-{slug}",
        about=f"jetrun reap, cloud {slug}",
        words=tuple(words),
        when=f"OnActiveSec=1min\nOnUnitActiveSec={pause_s:.0f}s\n",
    )
    by_cron = cron or not _has_user_systemd()
    line = f"{_fields(pause_s)} {service.cron()} {mark}\n" if by_cron else ""
    shown = f"# this line of the crontab:\n{line}" if by_cron else _shown(service)
    if not write:
        return f"{shown}\n# nothing is written yet; to do it, the same command with --yes\n"
    if by_cron:
        _write_crontab(line, mark)
        return f"{shown}installed; to see it: crontab -l\n"
    service.install()
    return f"{shown}installed; next sweeps: systemctl --user list-timers {service.name}.timer\n{_linger()}"


def _fields(pause_s: float) -> str:
    """Cron's five fields for an interval.

    Raises:
        UsageError: it is not one that cron can keep.
    """
    minutes = round(pause_s / 60)
    if 1 <= minutes < 60 and 60 % minutes == 0:
        return f"*/{minutes} * * * *" if minutes > 1 else "* * * * *"
    if minutes % 60 == 0 and 1 <= minutes // 60 < 24 and 24 % (minutes // 60) == 0:
        return f"0 */{minutes // 60} * * *" if minutes > 60 else "0 * * * *"
    raise UsageError(code="interval-wrong", what="cron cannot keep that interval", next="--every 15m   # or 1h, 6h")


def _write_crontab(line: str, mark: str) -> None:
    """Put *line* into this user's crontab in the place of an earlier one with the same *mark* at its end.

    Raises:
        UsageError: there is no cron, or it does not take it.
    """
    try:
        there = _crontab()
        kept = "".join(f"{one}\n" for one in there.splitlines() if not one.rstrip().endswith(mark))
        subprocess.run(["crontab", "-"], input=kept + line, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise UsageError(
            code="no-cron",
            what=f"cron does not take it: {said.strip()}",
            next="let something else run it now and then: jetrun reap",
        ) from error


def _crontab() -> str:
    """This user's crontab, empty where there is none yet.

    Raises:
        OSError, subprocess.SubprocessError: it cannot be read: taken for an empty one, it would be wiped away.
    """
    found = subprocess.run(["crontab", "-l"], capture_output=True, text=True, timeout=30, check=False)
    if found.returncode != 0 and "no crontab" not in found.stderr.lower():
        raise subprocess.SubprocessError(found.stderr or "crontab -l failed")
    return found.stdout


def _has_user_systemd() -> bool:
    """Whether this user has a systemd that takes units."""
    bus = os.environ.get("XDG_RUNTIME_DIR", "")
    return bool(bus) and Path(bus, "systemd", "private").exists()


def _settings() -> dict[str, str]:
    """What the environment says now and would not say to a timer."""
    return {key: os.environ[key] for key in CARRIED if os.environ.get(key)}


def _shown(service: Service) -> str:
    """The units as text."""
    return "".join(f"# {target}\n{text}\n" for target, text in service.files().items())


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


def _word(text: str) -> str:
    """A word of a command line as a unit file needs it."""
    return text if re.fullmatch(r"[A-Za-z0-9_=:.@-]+", text) else _quoted(text)


def _quoted(text: str) -> str:
    """A word of ExecStart. Source: systemd.service(5), command lines; systemd.syntax(7)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$").replace("%", "%%").replace("\n", "\\n")
    return f'"{escaped}"'


def _escaped(text: str) -> str:
    """A path as a unit file's value."""
    return text.replace("%", "%%")
