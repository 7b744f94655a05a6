"""``systemd-run`` inside an instance: a service or a timer that lives until it ends or the instance does. Source: systemd-run(1)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from jetrun.devcloud.instance_systemctl import Answer
from jetrun.devcloud.instance_unit_files import BadUnit, parse, quote
from jetrun.devcloud.instance_units import Units

_TIMER_KEYS = {
    "--on-active": "OnActiveSec", "--on-boot": "OnBootSec", "--on-startup": "OnStartupSec", "--on-unit-active": "OnUnitActiveSec",
    "--on-unit-inactive": "OnUnitInactiveSec", "--on-calendar": "OnCalendar",
}  # fmt: skip
_WITH_VALUE = {*_TIMER_KEYS, "--unit", "--description", "--property", "--setenv", "--working-directory", "--service-type",
               "--timer-property", "--slice", "--uid", "--gid", "--nice"}  # fmt: skip
_SHORT = {"-u": "--unit", "-p": "--property", "-E": "--setenv", "-G": "--collect", "-r": "--remain-after-exit", "-q": "--quiet",
          "-d": "--same-dir"}  # fmt: skip
_FLAGS = {"--collect", "--remain-after-exit", "--quiet", "--same-dir", "--wait", "--no-block", "--no-ask-password", "--user",
          "--system", "--send-sighup"}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class _Wish:
    unit: str = ""
    description: str = ""
    service: list[str] = field(default_factory=list)
    timer: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    argv: list[str] = field(default_factory=list)


async def systemd_run(units: Units, argv: Sequence[str], *, is_root: bool, cwd: str) -> Answer:
    """Carry out one command line (without the program's name)."""
    answer = Answer()
    try:
        wish = _read(argv, cwd)
    except BadUnit as error:
        answer.fail(1, f"systemd-run: {error}")
        return answer
    name = wish.unit.removesuffix(".service").removesuffix(".timer") or f"run-{uuid.uuid4().hex[:16]}"
    service, timer = f"{name}.service", f"{name}.timer"
    kind = "timer" if wish.timer else "service"
    if not is_root:
        answer.fail(1, f"Failed to start transient {kind} unit: Interactive authentication required.")
    elif units.find(service) is not None and (
        units.find(service) != units.volatile / service or units.is_active(service)
    ):
        answer.fail(
            1, f"Failed to start transient {kind} unit: Unit {name}.{kind} was already loaded or has a fragment file."
        )
    if answer.code:
        return answer
    try:
        _write(units, wish, service, timer)
        units.start(timer if wish.timer else service)
    except BadUnit as error:
        answer.fail(1, f"Failed to start transient {kind} unit: {error}")
        return answer
    if "--quiet" not in wish.flags:
        answer.err.append(f"Running {'timer ' if wish.timer else ''}as unit: {name}.{kind}")
        answer.err += [f"Will run service as unit: {service}"] if wish.timer else []
    if "--wait" in wish.flags and not wish.timer:
        state = units.state(service)
        await state.over.wait()
        answer.code = abs(state.exit_code)
    return answer


def _read(argv: Sequence[str], cwd: str) -> _Wish:
    """The command line as a wish."""
    wish, rest = _Wish(), list(argv)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        key, equals, value = word.partition("=")
        key = _SHORT.get(key, key)
        if key in _FLAGS and not equals:
            wish.flags.add(key)
        elif key in _WITH_VALUE:
            if not equals and not rest:
                raise BadUnit(f"option '{word}' requires an argument")
            _take(wish, key, value if equals else rest.pop(0))
        else:
            raise BadUnit(f"unrecognized option '{word}'")
    if "--user" in wish.flags:
        raise BadUnit("Failed to connect to bus: No medium found (there is no user's systemd in an instance)")
    if not rest:
        raise BadUnit("Command line to execute required.")
    if "--same-dir" in wish.flags:
        wish.service.append(f"WorkingDirectory={cwd}")
    if "--remain-after-exit" in wish.flags:
        wish.service.append("RemainAfterExit=yes")
    wish.argv = rest
    return wish


def _take(wish: _Wish, key: str, value: str) -> None:
    """One option with a value."""
    if "\n" in value:
        raise BadUnit(f"option '{key}' does not go over lines")
    match key:
        case "--unit":
            wish.unit = value
        case "--description":
            wish.description = value
        case "--property":
            wish.service.append(value)
        case "--timer-property":
            wish.timer.append(value)
        case "--setenv":
            wish.service.append(f"Environment={quote([value])}")
        case "--working-directory":
            wish.service.append(f"WorkingDirectory={value}")
        case "--service-type":
            wish.service.append(f"Type={value}")
        case _ if key in _TIMER_KEYS:
            wish.timer.append(f"{_TIMER_KEYS[key]}={value}")


def _write(units: Units, wish: _Wish, service: str, timer: str) -> None:
    """The unit files; what cannot be read leaves none."""
    shown = wish.description or quote(wish.argv).replace('"', "")
    head = f"[Unit]\nDescription={shown}\n"
    texts = {service: f"{head}[Service]\n" + "\n".join(wish.service) + f"\nExecStart={quote(wish.argv)}\n"}
    if wish.timer:
        texts[timer] = f"{head}[Timer]\n" + "\n".join(wish.timer) + "\n"
    for name, text in texts.items():
        parse(name, text)
        (units.volatile / name).write_text(text)
        units.state(name).loaded = None
