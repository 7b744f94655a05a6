"""``systemctl`` inside an instance: its verbs over the units, with systemd's words and exit codes. Source: systemctl(1)."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

from jetrun.devcloud.instance_unit_files import BadUnit
from jetrun.devcloud.instance_units import Units

READS = {"is-active", "is-enabled", "is-failed", "is-system-running", "show", "status", "cat", "list-timers", "list-units",
         "list-unit-files"}  # fmt: skip
_STATE_WORDS = {"active": 0, "activating": 3, "inactive": 3, "failed": 3}


@dataclass(slots=True, kw_only=True)
class Answer:
    """What a program prints and how it ends."""

    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    code: int = 0

    def fail(self, code: int, line: str) -> None:
        """An error; the worst code counts."""
        self.err.append(line)
        self.code = max(self.code, code)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    units: Units
    options: Sequence[str]
    properties: Sequence[str]
    answer: Answer

    @property
    def is_quiet(self) -> bool:
        return bool({"-q", "--quiet"} & set(self.options))


async def systemctl(units: Units, argv: Sequence[str], *, is_root: bool) -> Answer:
    """Carry out one command line (without the program's name)."""
    answer, options, words, properties = Answer(), [], [], []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word in {"-p", "--property"} and rest:
            properties += rest.pop(0).split(",")
        elif word.startswith("--property="):
            properties += word.partition("=")[2].split(",")
        elif word in {"-n", "--lines", "-t", "--type", "-o", "--output"} and rest:
            rest.pop(0)
        elif word.startswith("-") and word != "--":
            options.append(word)
        elif word != "--":
            words.append(word)
    verb, names = (words[0], words[1:]) if words else ("list-units", [])
    call = _Call(units=units, options=options, properties=properties, answer=answer)
    if verb not in READS and not is_root:
        answer.fail(1, f"Failed to {verb} {' '.join(names)}: Interactive authentication required.")
        return answer
    whole, single = _WHOLE.get(verb), _SINGLE.get(verb)
    if whole is not None:
        whole(call)
    elif single is None:
        answer.fail(1, f"Unknown command verb {verb}.")
    elif not names and verb != "reset-failed":
        answer.fail(1, "Too few arguments.")
    else:
        for name in names or units.names():
            await single(call, name if "." in name else f"{name}.service")
    return answer


# --- verbs on one unit ---


async def _start(call: _Call, name: str) -> None:
    units, answer = call.units, call.answer
    if units.is_masked(name):
        return answer.fail(1, f"Failed to start {name}: Unit {name} is masked.")
    unit = units.load(name)
    if unit is None:
        return answer.fail(5, f"Failed to start {name}: Unit {name} not found.")
    try:
        units.start(name)
    except BadUnit as error:
        return answer.fail(1, f"Failed to start {name}: Unit {name} has a bad unit file setting.\n{error}")
    if name.endswith(".service") and unit.is_oneshot and "--no-block" not in call.options:
        await units.state(name).over.wait()
        if units.state(name).active == "failed":
            answer.fail(1, f"Job for {name} failed because the control process exited with error code.")
    return None


async def _stop(call: _Call, name: str) -> None:
    if call.units.load(name) is None:
        return call.answer.fail(5, f"Failed to stop {name}: Unit {name} not loaded.")
    return await call.units.stop(name)


async def _restart(call: _Call, name: str) -> None:
    if call.units.is_active(name):
        await call.units.stop(name)
    await _start(call, name)


async def _enable(call: _Call, name: str) -> None:
    units, answer = call.units, call.answer
    path, unit = units.find(name), units.load(name)
    if path is None or unit is None:
        return answer.fail(1, f"Failed to enable unit: Unit file {name} does not exist.")
    if not unit.wanted_by:
        answer.err.append(
            "The unit files have no installation config (WantedBy=, RequiredBy=, UpheldBy=, Also=, or Alias= settings)"
        )
    for target in unit.wanted_by:
        link = units.etc / f"{target}.wants" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(Path("..", name) if path.parent == units.etc else path)
            answer.err.append(f"Created symlink {link} -> {path}.")
    if "--now" in call.options:
        await _start(call, name)
    return None


async def _disable(call: _Call, name: str) -> None:
    links = call.units.wants(name)
    if call.units.find(name) is None and not links:
        return call.answer.fail(1, f"Failed to disable unit: Unit file {name} does not exist.")
    for link in links:
        link.unlink()
        call.answer.err.append(f'Removed "{link}".')
    if "--now" in call.options:
        await call.units.stop(name)
    return None


async def _mask(call: _Call, name: str) -> None:
    path = call.units.etc / name
    if path.exists() and not path.is_symlink():
        return call.answer.fail(1, f"Failed to mask unit: File {path} already exists.")
    path.unlink(missing_ok=True)
    path.symlink_to(os.devnull)
    return None


async def _unmask(call: _Call, name: str) -> None:
    if call.units.is_masked(name):
        (call.units.etc / name).unlink()


async def _is_active(call: _Call, name: str) -> None:
    word = call.units.state(name).active
    call.answer.out += [] if call.is_quiet else [word]
    # One that is active makes the whole answer yes.
    first = len(call.answer.out) <= 1
    call.answer.code = _STATE_WORDS[word] if first else min(call.answer.code, _STATE_WORDS[word])


async def _is_failed(call: _Call, name: str) -> None:
    word = call.units.state(name).active
    call.answer.out += [] if call.is_quiet else [word]
    call.answer.code = 0 if word == "failed" else 1


async def _is_enabled(call: _Call, name: str) -> None:
    word = enabled_word(call.units, name)
    if not word:
        return call.answer.fail(1, f"Failed to get unit file state for {name}: No such file or directory")
    call.answer.out += [] if call.is_quiet else [word]
    call.answer.code = max(call.answer.code, 0 if word in {"enabled", "static", "transient"} else 1)
    return None


async def _reset_failed(call: _Call, name: str) -> None:
    state = call.units.state(name)
    if state.active == "failed":
        state.active, state.sub, state.result = "inactive", "dead", "success"


async def _cat(call: _Call, name: str) -> None:
    path = call.units.find(name)
    if path is None:
        return call.answer.fail(1, f"No files found for {name}.")
    call.answer.out += [f"# {path}", *path.read_text(errors="replace").splitlines()]
    return None


async def _show(call: _Call, name: str) -> None:
    found = properties(call.units, name)
    wanted = call.properties or list(found)
    value_only = "--value" in call.options
    call.answer.out += [found[key] if value_only else f"{key}={found[key]}" for key in wanted if key in found]


async def _status(call: _Call, name: str) -> None:
    units, state = call.units, call.units.state(name)
    path = units.find(name)
    if path is None:
        return call.answer.fail(4, f"Unit {name} could not be found.")
    call.answer.out += [
        f"* {name} - {properties(units, name)['Description']}",
        f"     Loaded: loaded ({path}; {enabled_word(units, name)})",
        f"     Active: {state.active} ({state.sub})",
    ]
    call.answer.code = max(call.answer.code, 0 if state.active == "active" else 3)
    return None


def enabled_word(units: Units, name: str) -> str:
    """What ``is-enabled`` says, empty without a file."""
    if units.is_masked(name):
        return "masked"
    path = units.find(name)
    if path is None:
        return ""
    if path.parent == units.volatile:
        return "transient"
    if units.wants(name):
        return "enabled"
    unit = units.load(name)
    return "disabled" if unit is not None and unit.wanted_by else "static"


def properties(units: Units, name: str) -> dict[str, str]:
    """What ``show`` tells of a unit."""
    state, unit = units.state(name), units.load(name)
    loaded = "masked" if units.is_masked(name) else "loaded" if unit is not None else "not-found"
    found = {
        "Id": name,
        "Description": (unit.last("Unit", "Description") if unit is not None else "") or name,
        "LoadState": loaded,
        "ActiveState": state.active,
        "SubState": state.sub,
        "UnitFileState": enabled_word(units, name),
        "Result": state.result,
        "NeedDaemonReload": "no",
    }
    if name.endswith(".timer"):
        wait = None if state.due is None else timedelta(seconds=state.due - monotonic())
        found["NextElapseUSecRealtime"] = "" if wait is None else stamp(datetime.now(UTC) + wait)
        found["LastTriggerUSec"] = "n/a" if state.triggered_at is None else stamp(state.triggered_at)
    else:
        found["ExecMainStatus"] = str(abs(state.exit_code))
        found["InvocationID"] = state.invocation
    return found


def stamp(at: datetime) -> str:
    """An instant as systemd prints it."""
    return at.strftime("%a %Y-%m-%d %H:%M:%S UTC")


# --- verbs on everything ---


def _daemon_reload(call: _Call) -> None:
    call.units.reload()


def _is_system_running(call: _Call) -> None:
    call.answer.out += [] if call.is_quiet else ["running"]


def _list_timers(call: _Call) -> None:
    names = call.units.timers()
    legend = [] if "--no-legend" in call.options else ["NEXT LAST UNIT ACTIVATES"]
    rows = []
    for name in names:
        found, unit = properties(call.units, name), call.units.load(name)
        service = unit.last("Timer", "Unit", name.removesuffix(".timer") + ".service") if unit is not None else ""
        rows.append(f"{found['NextElapseUSecRealtime'] or '-'} {found['LastTriggerUSec']} {name} {service}")
    tail = [] if "--no-legend" in call.options else ["", f"{len(names)} timers listed."]
    call.answer.out += [*legend, *rows, *tail]


def _list_units(call: _Call) -> None:
    for name in call.units.names():
        found = properties(call.units, name)
        call.answer.out.append(
            f"{name} {found['LoadState']} {found['ActiveState']} {found['SubState']} {found['Description']}"
        )


_WHOLE: dict[str, Callable[[_Call], None]] = {
    "daemon-reload": _daemon_reload, "is-system-running": _is_system_running, "list-timers": _list_timers,
    "list-units": _list_units, "list-unit-files": _list_units,
}  # fmt: skip
_SINGLE: dict[str, Callable[[_Call, str], Awaitable[None]]] = {
    "start": _start, "stop": _stop, "restart": _restart, "enable": _enable, "disable": _disable, "mask": _mask,
    "unmask": _unmask, "is-active": _is_active, "is-failed": _is_failed, "is-enabled": _is_enabled, "cat": _cat,
    "reset-failed": _reset_failed, "show": _show, "status": _status,
}  # fmt: skip
