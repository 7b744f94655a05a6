"""A small engine for systemd units inside an instance: services and timers, enough for a dead-man's switch.

Source: systemd.timer(5), systemd.service(5). Unit files are those below etc/systemd/system and run/systemd/system of the
instance's root; a service's programs run as the instance's root.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|min|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, None: 1, "": 1}


class Units:
    """The units of one running instance.

    Args:
        root: the instance's root folder. run: executes an argv as root and gives its exit code.
    """

    def __init__(self, root: Path, run: Callable[[list[str]], Awaitable[int]]) -> None:
        self._folders = (root / "etc/systemd/system", root / "run/systemd/system")
        self._enabled = root / "etc/systemd/system" / "enabled"
        self._run = run
        self._booted = time.monotonic()
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._services: dict[str, asyncio.Task[int]] = {}

    def boot(self) -> None:
        """Start what is enabled."""
        self._booted = time.monotonic()
        for name in sorted(self._enabled_names()):
            if self._read(name) is not None:
                self._start(name)

    async def command(self, argv: list[str]) -> dict[str, Any]:
        """One ``systemctl`` or ``systemd-run``: its output and exit code."""
        program, *rest = argv
        if program == "systemd-run":
            return self._transient(rest)
        flags = [one for one in rest if one.startswith("-")]
        words = [one for one in rest if not one.startswith("-")]
        verb, names = (words[0], words[1:]) if words else ("", [])
        full = [name if "." in name else f"{name}.service" for name in names]
        out: list[str] = []
        code = 0
        for name in full or [""]:
            code = max(code, await self._one(verb, name, flags, rest, out))
        return {"out": "\n".join(out) + ("\n" if out else ""), "code": code}

    async def _one(self, verb: str, name: str, flags: list[str], rest: list[str], out: list[str]) -> int:
        """One verb on one unit."""
        match verb:
            case "enable" | "disable":
                names = self._enabled_names()
                names = names | {name} if verb == "enable" else names - {name}
                self._enabled.parent.mkdir(parents=True, exist_ok=True)
                self._enabled.write_text("\n".join(sorted(names)))
                if "--now" in flags:
                    return await self._one("start" if verb == "enable" else "stop", name, [], rest, out)
            case "start" | "restart":
                if self._read(name) is None:
                    out.append(f"Failed to start {name}: Unit {name} not found.")
                    return 5
                self._stop(name)
                self._start(name)
                if name.endswith(".service") and self._value(name, "Service", "Type", "simple") == "oneshot":
                    return await self._services[name]
            case "stop":
                self._stop(name)
            case "is-active":
                active = self._is_active(name)
                out.append("active" if active else "inactive")
                return 0 if active else 3
            case "is-enabled":
                enabled = name in self._enabled_names()
                out.append("enabled" if enabled else "disabled")
                return 0 if enabled else 1
            case "is-system-running":
                out.append("running")
            case "show":
                out.append(f"Id={name}\nActiveState={'active' if self._is_active(name) else 'inactive'}")
                out.append(f"LoadState={'loaded' if self._read(name) is not None else 'not-found'}")
            case "cat":
                out.append(self._text(name))
            case "daemon-reload" | "status" | "list-timers" | "reset-failed" | "mask" | "unmask":
                if verb == "list-timers":
                    out.extend(sorted(self._timers))
            case "poweroff" | "reboot" | "halt":
                return 64
            case _:
                out.append(f"Unknown command verb {verb}.")
                return 1
        return 0

    def _transient(self, rest: list[str]) -> dict[str, Any]:
        """``systemd-run``: a unit that lives until it ends or the instance does."""
        name, options, words = f"run-{time.monotonic_ns()}", [], list(rest)
        while words and words[0].startswith("--"):
            word = words.pop(0)
            if word == "--":
                break
            if word.startswith("--unit="):
                name = word.removeprefix("--unit=").removesuffix(".service")
            options.append(word)
        folder = self._folders[1]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.service").write_text(f"[Service]\nType=simple\nExecStart={shlex.join(words)}\n")
        timer = [
            f"On{key}={value}"
            for word in options
            for key, value in [word.removeprefix("--on-").partition("=")[::2]]
            if word.startswith("--on-")
        ]
        kind = "service"
        if timer:
            kind = "timer"
            lines = [line.replace("Onactive", "OnActiveSec").replace("Oncalendar", "OnCalendar").replace("Onboot", "OnBootSec")
                     for line in timer]  # fmt: skip
            (folder / f"{name}.timer").write_text("[Timer]\n" + "\n".join(lines) + "\n")
        self._start(f"{name}.{kind}")
        return {"out": f"Running {kind} as unit: {name}.{kind}\n", "code": 0}

    # --- unit files ---

    def _enabled_names(self) -> set[str]:
        """What is started at boot."""
        return set(self._enabled.read_text().split()) if self._enabled.exists() else set()

    def _text(self, name: str) -> str:
        """A unit file's text, empty without one."""
        for folder in self._folders:
            if (folder / name).is_file():
                return (folder / name).read_text()
        return ""

    def _read(self, name: str) -> dict[str, list[tuple[str, str]]] | None:
        """A unit file by sections; None without one."""
        text = self._text(name)
        if not text:
            return None
        sections: dict[str, list[tuple[str, str]]] = {}
        current = ""
        for line in text.splitlines():
            stripped = line.strip()
            if stripped.startswith("[") and stripped.endswith("]"):
                current = stripped[1:-1]
            elif "=" in stripped and not stripped.startswith(("#", ";")):
                key, _, value = stripped.partition("=")
                sections.setdefault(current, []).append((key.strip(), value.strip()))
        return sections

    def _values(self, name: str, section: str, key: str) -> list[str]:
        """All values of a key."""
        return [value for one, value in (self._read(name) or {}).get(section, []) if one == key]

    def _value(self, name: str, section: str, key: str, default: str) -> str:
        """The last value of a key."""
        return (self._values(name, section, key) or [default])[-1]

    # --- running ---

    def _is_active(self, name: str) -> bool:
        """Whether a timer waits or a service runs."""
        task = self._timers.get(name) or self._services.get(name)
        return task is not None and not task.done()

    def _start(self, name: str) -> None:
        """Start a timer or a service; what already runs is left."""
        if self._is_active(name):
            return
        if name.endswith(".timer"):
            self._timers[name] = asyncio.ensure_future(self._tick(name))
        else:
            self._services[name] = asyncio.ensure_future(self._serve(name))

    def _stop(self, name: str) -> None:
        """Stop a timer; a service's programs are left to their end."""
        task = self._timers.pop(name, None)
        if task is not None:
            task.cancel()

    async def _serve(self, name: str) -> int:
        """A service's programs, one after the other."""
        for line in self._values(name, "Service", "ExecStart"):
            code = await self._run(shlex.split(line.lstrip("-")))
            if code != 0 and not line.startswith("-"):
                return code
        return 0

    async def _tick(self, name: str) -> None:
        """Wait for a timer's moments and start its unit at each."""
        unit = self._value(name, "Timer", "Unit", name.removesuffix(".timer") + ".service")
        started = time.monotonic()
        first = [
            max(0.0, base + span(value) - time.monotonic())
            for key, base in (("OnBootSec", self._booted), ("OnActiveSec", started))
            for value in self._values(name, "Timer", key)
        ]
        first += [max(0.0, until(value)) for value in self._values(name, "Timer", "OnCalendar")]
        again = [
            span(one) for key in ("OnUnitActiveSec", "OnUnitInactiveSec") for one in self._values(name, "Timer", key)
        ]
        if not first and again:
            first = [min(again)]
        if first:
            await asyncio.sleep(min(first))
            await self._serve(unit)
        while again:
            await asyncio.sleep(min(again))
            await self._serve(unit)


def span(text: str) -> float:
    """Seconds of a systemd time span such as ``1min 30s``. Source: systemd.time(7)."""
    return sum(float(number) * _SECONDS[unit or ""] for number, unit in _SPAN.findall(text))


def until(text: str) -> float:
    """Seconds until an absolute UTC instant ``2026-11-20 21:00:00 UTC``; of all calendar forms only that one."""
    at = datetime.strptime(text.removesuffix(" UTC"), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return (at - datetime.now(UTC)).total_seconds()
