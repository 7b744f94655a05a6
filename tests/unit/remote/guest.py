"""The program deadman.sh on a made-up machine: its disk below a folder, its clocks and its power button in the test's hands."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib import resources
from pathlib import Path

PROGRAM = resources.files("jetrun.remote").joinpath("guest", "deadman.sh").read_text()

SHELLS = [words for words in (["dash"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(words[0])]

SYSTEMCTL = """#!/bin/sh
root={root}
printf 'systemctl %s\\n' "$*" >>"$root/calls"
[ -e "$root/has-systemd" ] || {{ echo offline; exit 1; }}
case "$*" in
is-system-running) echo running ;;
enable*) touch "$root/active" "$root/enabled" ;;
disable*) rm -f "$root/active" "$root/enabled" ;;
stop*) rm -f "$root/active" ;;
show*)
	if [ -e "$root/active" ]; then echo ActiveState=active; else echo ActiveState=inactive; fi
	cat "$root/substate" 2>/dev/null || echo SubState=waiting
	if [ -e "$root/enabled" ]; then echo UnitFileState=enabled; else echo UnitFileState=disabled; fi
	;;
poweroff) [ ! -e "$root/poweroff-fails" ] ;;
esac
"""

RECORD = """#!/bin/sh
printf '%s %s\\n' "${{0##*/}}" "$*" >>{root}/calls
[ "${{0##*/}}" != wall ] || cat >>{root}/walled
"""

BOOT_A = "aaaaaaaa-0000-4000-8000-000000000001"
BOOT_B = "bbbbbbbb-0000-4000-8000-000000000002"
UUID = "6f1c0000-0000-4000-8000-00000000cafe"


class Guest:
    """A machine whose switch is run by hand."""

    def __init__(self, folder: Path, shell: list[str], *, systemd: bool = True) -> None:
        self.root = folder / "root"
        self.shell = shell
        self.now = 1_800_000_000
        self.uptime = 500
        self.folder = folder / "home" / "run"
        bin_folder = folder / "bin"
        for path in (
            bin_folder,
            self.folder,
            self.root / "proc/sys/kernel/random",
            self.root / "sys/class/dmi/id",
            self.root / "etc",
        ):
            path.mkdir(parents=True)
        for name, text in {"systemctl": SYSTEMCTL, "poweroff": RECORD, "shutdown": RECORD, "wall": RECORD}.items():
            (bin_folder / name).write_text(text.format(root=self.root))
            (bin_folder / name).chmod(0o755)
        self._path = f"{bin_folder}:/usr/bin:/bin"
        self.program = folder / "deadman.sh"
        self.program.write_text(PROGRAM)
        self.boot(BOOT_A, uptime=500)
        self.uuid(UUID.upper())
        if systemd:
            (self.root / "has-systemd").touch()

    def boot(self, boot_id: str, *, uptime: int = 20) -> None:
        (self.root / "proc/sys/kernel/random/boot_id").write_text(f"{boot_id}\n")
        shutil.rmtree(self.root / "run", ignore_errors=True)
        self.uptime = uptime

    def uuid(self, uuid: str) -> None:
        (self.root / "sys/class/dmi/id/product_uuid").write_text(f"{uuid}\n")

    def passes(self, seconds: int) -> None:
        self.now += seconds
        self.uptime += seconds

    def call(self, *words: str) -> tuple[int, dict[str, str], str]:
        """Exit code, the reading, and what went to standard error."""
        done = subprocess.run(
            [*self.shell, str(self.program), *words],
            env={
                "DESTDIR": str(self.root),
                "PATH": self._path,
                "JETRUN_NOW": str(self.now),
                "JETRUN_UPTIME": str(self.uptime),
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        reading = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        return done.returncode, reading, done.stderr

    def arm(
        self, *, lasts: int = 3600, generation: int = 5, run: str = "run-1", countdown: int | None = None
    ) -> dict[str, str]:
        code, reading, errors = self.call(
            "arm",
            f"run={run}",
            f"generation={generation}",
            f"deadline={self.now + lasts}",
            f"countdown={lasts if countdown is None else countdown}",
            "orphan_s=1800",
            "tick_s=60",
            "gap_s=600",
            f"folder={self.folder}",
        )
        assert code == 0, (code, errors)
        return reading

    def tick(self) -> str:
        """One tick; the state after it."""
        code, _, errors = self.call("tick")
        assert code == 0, errors
        return self.state()

    def state(self) -> str:
        return self.call("status")[1]["state"]

    def ticks(self, seconds: int, *, step: int = 60) -> str:
        """Time passes, with its ticks; the state at the end, or when it is no longer armed."""
        left = seconds
        state = ""
        while left > 0:
            self.passes(min(step, left))
            left -= step
            state = self.tick()
            if state not in {"armed", "ending"}:
                break
        return state

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def powered_off(self) -> int:
        """How often the power button was pressed."""
        return sum(
            line in {"systemctl poweroff", "poweroff ", "shutdown -h now"}
            for line in self.calls
            if not (line == "systemctl poweroff" and (self.root / "poweroff-fails").exists())
        )

    @property
    def walled(self) -> str:
        path = self.root / "walled"
        return path.read_text() if path.exists() else ""

    @property
    def motd(self) -> str:
        path = self.root / "etc/motd.d/jetrun"
        return path.read_text() if path.exists() else ""

    def touch(self, name: str, *, age_s: int = 0) -> None:
        path = self.folder / name
        path.touch()
        os.utime(path, (self.now - age_s, self.now - age_s))
