"""The job: what the user asks for, validated. Pure: no files, no environment, no clock.

``from_mapping`` takes what a job file or a command line gave and names every mistake by its key's path, with the nearest
valid name. Whether files exist is asked by ``job_file.py``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from jetrun.errors import UsageError
from jetrun.guarantee.constants import DEFAULT_MAX_LIFETIME_S
from jetrun.guarantee.power import Disposition


@dataclass(frozen=True, slots=True, kw_only=True)
class On:
    """An existing instance, by name or id."""

    name_or_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """An instance to make. Names or ids; ``auto`` where the cloud or jetrun chooses.

    Attributes:
        key: name of a key pair of the cloud, or ``auto`` for jetrun's own.
        floating_ip: ``auto`` (where there is an external network) or ``no``.
    """

    image: str
    flavor: str
    network: str = "auto"
    key: str = "auto"
    floating_ip: str = "auto"
    security_groups: tuple[str, ...] = ()
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ssh:
    """How to log in; None where the cloud's profile says it."""

    user: str | None = None
    port: int | None = None
    host: str | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Email:
    """Whom to tell. ``attach``: globs below the output folder, small files only; images are shown inline."""

    to: tuple[str, ...] = ()
    attach: tuple[str, ...] = ()
    when: str = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The validated request. Paths are as given; times are seconds.

    Attributes:
        script: a local file that is sent and executed; or ``command``: an argv executed in the work folder.
        inputs: local files and folders, sent into the work folder under their own names. excludes: rsync patterns.
        outputs: paths or globs below the work folder. output_dir: local; ``{run}`` and ``{name}`` are replaced.
        timeout_s: of the script. grace_s: between TERM and KILL.
        boot_s, stage_in_s, stage_out_s, shutdown_s: time set aside for each; the lease must hold them all.
        take_over: ``no``, ``yes``, or ``force`` (also with people logged in, who are warned).
        deadman: arm the switch on the instance.
    """

    name: str
    instance: On | Launch
    script: str | None = None
    command: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    output_dir: str = "out/{run}"
    timeout_s: float | None = None
    grace_s: float = 30.0
    env: Mapping[str, str] = field(default_factory=dict)
    disposition: Disposition = Disposition.SHELVE
    max_lifetime_s: float = DEFAULT_MAX_LIFETIME_S
    boot_s: float = 900.0
    stage_in_s: float = 1800.0
    stage_out_s: float = 1800.0
    shutdown_s: float = 1080.0
    take_over: str = "no"
    deadman: bool = True
    ssh: Ssh = field(default_factory=Ssh)
    email: Email = field(default_factory=Email)


TOP = {
    "name", "script", "command", "inputs", "excludes", "outputs", "output_dir", "timeout", "grace", "env", "disposition",
    "instance", "ssh", "email", "budget",
}  # fmt: skip
INSTANCE = {
    "on", "launch", "image", "flavor", "network", "key", "floating_ip", "security_groups", "name", "max_lifetime", "take_over",
    "deadman",
}  # fmt: skip
SSH = {"user", "port", "host", "keys"}
EMAIL = {"to", "attach", "when"}
BUDGET = {"boot", "stage_in", "stage_out", "shutdown"}
SECTIONS = {"": TOP, "instance": INSTANCE, "ssh": SSH, "email": EMAIL, "budget": BUDGET}
"""Every key of a job file, by section; docs/job.toml is tested against it."""

_MAIL = re.compile(r"[^@\s,;<>\"]+@[^@\s,;<>\"]+\.[^@\s,;<>\"]+|[^@\s,;<>\"]+@localhost")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PIECE = re.compile(r"(\d+(?:\.\d+)?)([dhms])")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def from_mapping(data: Mapping[str, Any], *, origin: str) -> Job:
    """The job that *data* describes.

    Args:
        data: as TOML gives it; see docs/job.toml.
        origin: where it came from, for messages.

    Raises:
        UsageError: the first mistake, with its key's path, what was found, and the line to write.
    """
    given = _Section(data, "", origin)
    where = given.section("instance")
    instance = _instance(where)
    disposition = Disposition(given.choice("disposition", [one.value for one in Disposition], "shelve"))
    if disposition is Disposition.DELETE and isinstance(instance, On):
        raise given.wrong(
            "disposition", '"delete" is only for an instance that this run launches', 'disposition = "shelve"'
        )
    script, command = given.text("script", None), given.texts("command")
    if bool(script) == bool(command):
        raise given.wrong("script", f"{'both script and command are' if script else 'neither script nor command is'} given",
                          'script = "train.sh"')  # fmt: skip
    mail, ssh, budget = given.section("email"), given.section("ssh"), given.section("budget")
    job = Job(
        name=given.text("name", None) or PurePosixPath(script or command[0]).stem or "job",
        instance=instance,
        script=script,
        command=command,
        inputs=given.texts("inputs"),
        excludes=given.texts("excludes"),
        outputs=tuple(_output(given, path) for path in given.texts("outputs")),
        output_dir=given.text("output_dir", "out/{run}") or "out/{run}",
        timeout_s=given.duration("timeout", None),
        grace_s=given.duration("grace", 30.0) or 30.0,
        env=_env(given),
        disposition=disposition,
        max_lifetime_s=where.duration("max_lifetime", None) or DEFAULT_MAX_LIFETIME_S,
        boot_s=budget.duration("boot", 900.0) or 900.0,
        stage_in_s=budget.duration("stage_in", 1800.0) or 1800.0,
        stage_out_s=budget.duration("stage_out", 1800.0) or 1800.0,
        shutdown_s=budget.duration("shutdown", 1080.0) or 1080.0,
        take_over=where.choice("take_over", ["no", "yes", "force"], "no"),
        deadman=where.boolean("deadman", default=True),
        ssh=Ssh(user=ssh.text("user", None), port=_port(ssh), host=ssh.text("host", None), keys=ssh.texts("keys")),
        email=Email(
            to=tuple(_address(mail, one) for one in mail.texts("to")),
            attach=mail.texts("attach"),
            when=mail.choice("when", ["always", "failure"], "always"),
        ),
    )
    _check_lifetime(job, given, timeout_given=job.timeout_s is not None, lifetime_given="max_lifetime" in where.data)
    return job


def to_mapping(job: Job) -> dict[str, Any]:
    """*job* as ``from_mapping`` takes it; the journal keeps it."""
    instance: dict[str, Any] = {
        "max_lifetime": f"{job.max_lifetime_s:g}s",
        "take_over": job.take_over,
        "deadman": job.deadman,
    }
    match job.instance:
        case On(name_or_id=name):
            instance["on"] = name
        case Launch() as launch:
            instance |= {"image": launch.image, "flavor": launch.flavor, "network": launch.network, "key": launch.key}
            instance |= {
                "floating_ip": launch.floating_ip,
                "security_groups": list(launch.security_groups),
                "launch": True,
            }
            instance |= {"name": launch.name} if launch.name else {}
    ssh = {"user": job.ssh.user, "port": job.ssh.port, "host": job.ssh.host, "keys": list(job.ssh.keys)}
    data: dict[str, Any] = {
        "name": job.name,
        "inputs": list(job.inputs),
        "excludes": list(job.excludes),
        "outputs": list(job.outputs),
        "output_dir": job.output_dir,
        "grace": f"{job.grace_s:g}s",
        "env": dict(job.env),
        "disposition": job.disposition.value,
        "instance": instance,
        "ssh": {key: value for key, value in ssh.items() if value},
        "email": {"to": list(job.email.to), "attach": list(job.email.attach), "when": job.email.when},
        "budget": {
            "boot": f"{job.boot_s:g}s",
            "stage_in": f"{job.stage_in_s:g}s",
            "stage_out": f"{job.stage_out_s:g}s",
            "shutdown": f"{job.shutdown_s:g}s",
        },
    }
    if job.timeout_s is not None:
        data["timeout"] = f"{job.timeout_s:g}s"
    return data | ({"script": job.script} if job.script else {"command": list(job.command)})


def seconds(text: str) -> float:
    """The seconds that a duration such as ``6h``, ``1d12h`` or ``90m`` means.

    Raises:
        ValueError: it is none.
    """
    pieces = _PIECE.findall(text)
    if not pieces or "".join(number + unit for number, unit in pieces) != text.replace(" ", ""):
        raise ValueError(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in pieces)


def duration_text(value_s: float) -> str:
    """*value_s* as a person writes it, rounded up to whole minutes above an hour."""
    whole = int(value_s) if value_s < 3600 else -int(-value_s // 60) * 60
    parts = [(whole // 86400, "d"), (whole % 86400 // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s")]
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


class _Section:
    """A table of the job file, whose every access checks the type and names the key's path."""

    def __init__(self, data: Mapping[str, Any], path: str, origin: str) -> None:
        self.data = data
        self._path = path
        self._origin = origin
        for key in data:
            if key not in SECTIONS[path]:
                raise self._unknown(key)

    def section(self, key: str) -> _Section:
        """The table *key*, empty where it is not given."""
        found = self.data.get(key, {})
        if not isinstance(found, Mapping):
            raise self.wrong(key, f"found {_shown(found)}, expected a table", f"[{key}]")
        return _Section(found, key, self._origin)

    def wrong(self, key: str, what: str, line: str) -> UsageError:
        """The error for *key*, with the line to write."""
        return UsageError(code="job-invalid", what=f"{self._origin}: {self._name(key)}: {what}", next=line)

    def text(self, key: str, default: str | None) -> str | None:
        """A text."""
        found = self.data.get(key, default)
        if found is None:
            return None
        if not isinstance(found, str):
            raise self.wrong(key, f"found {_shown(found)}, expected a text", f'{key} = "..."')
        if not found or "\0" in found:
            raise self.wrong(key, "is empty or holds a NUL byte", f'{key} = "..."')
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; one text stands for a list of one."""
        found = self.data.get(key, [])
        many = [found] if isinstance(found, str) else found
        if not isinstance(many, Sequence) or not all(isinstance(one, str) for one in many):
            raise self.wrong(key, f"found {_shown(found)}, expected a list of texts", f'{key} = ["..."]')
        if any(not one or "\0" in one for one in many):
            raise self.wrong(key, "holds an empty text or a NUL byte", f'{key} = ["..."]')
        return tuple(many)

    def choice(self, key: str, allowed: Sequence[str], default: str) -> str:
        """One of *allowed*."""
        found = self.data.get(key, default)
        if key == "take_over" and isinstance(found, bool):
            found = "yes" if found else "no"
        if found not in allowed:
            near = _nearest(str(found), allowed)
            raise self.wrong(key, f"found {_shown(found)}, expected one of {', '.join(allowed)}", f'{key} = "{near}"')
        return str(found)

    def boolean(self, key: str, *, default: bool) -> bool:
        """True or false."""
        found = self.data.get(key, default)
        if not isinstance(found, bool):
            raise self.wrong(key, f"found {_shown(found)}, expected true or false", f"{key} = {str(default).lower()}")
        return found

    def duration(self, key: str, default: float | None) -> float | None:
        """A positive time in seconds."""
        found = self.data.get(key)
        if found is None:
            return default
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            raise self.wrong(key, f"found the number {found}; a time needs a unit", f'{key} = "{found}m"')
        if not isinstance(found, str):
            raise self.wrong(key, f"found {_shown(found)}, expected a time such as 6h or 90m", f'{key} = "6h"')
        if found.strip().lower() in {"unlimited", "none", "never", "inf", "infinite", "forever"}:
            raise self.wrong(key, "unlimited is not offered: an instance that nobody ends is what jetrun is against",
                             f'{key} = "7d"')  # fmt: skip
        try:
            value = seconds(found)
        except ValueError:
            raise self.wrong(
                key, f"found {_shown(found)}, expected a positive time such as 6h, 90m or 1d12h", f'{key} = "6h"'
            ) from None
        if value <= 0:
            raise self.wrong(key, f"found {_shown(found)}, expected more than nothing", f'{key} = "6h"')
        return value

    def _name(self, key: str) -> str:
        """The key's path."""
        return f"{self._path}.{key}" if self._path else key

    def _unknown(self, key: str) -> UsageError:
        """The error for a key that does not exist, with the nearest that does, in any section."""
        names = {f"{section}.{name}" if section else name: name for section, keys in SECTIONS.items() for name in keys}
        near = _nearest(self._name(key), list(names))
        elsewhere = [path for path, name in names.items() if name == key]
        return self.wrong(
            key,
            f"unknown key; did you mean {elsewhere[0] if elsewhere else near}?",
            elsewhere[0] if elsewhere else near,
        )


def _instance(given: _Section) -> On | Launch:
    """Where to run."""
    on = given.text("on", None)
    makes = [key for key in ("image", "flavor") if key in given.data]
    if on and makes:
        raise given.wrong("on", f"both an existing instance and {makes[0]} of a new one are given", f'on = "{on}"')
    if not on and not makes:
        raise given.wrong(
            "on", "neither an existing instance nor image and flavor of a new one are given", 'on = "my-instance"'
        )
    if on:
        return On(name_or_id=on)
    image, flavor = given.text("image", None), given.text("flavor", None)
    if image is None or flavor is None:
        lacking = "image" if image is None else "flavor"
        raise given.wrong(lacking, "is needed to launch an instance", f'{lacking} = "..."')
    return Launch(
        image=image,
        flavor=flavor,
        network=given.text("network", "auto") or "auto",
        key=given.text("key", "auto") or "auto",
        floating_ip=given.choice("floating_ip", ["auto", "no"], "auto"),
        security_groups=given.texts("security_groups"),
        name=given.text("name", None),
    )


def _output(given: _Section, path: str) -> str:
    """An output: below the work folder."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or path.startswith("~"):
        raise given.wrong("outputs", f"{path!r} is outside the script's work folder", 'outputs = ["results/"]')
    return path


def _env(given: _Section) -> dict[str, str]:
    """The script's environment."""
    found = given.data.get("env", {})
    if not isinstance(found, Mapping):
        raise given.wrong("env", f"found {_shown(found)}, expected a table", 'env = { SEED = "1" }')
    for key, value in found.items():
        if not _ENV_NAME.fullmatch(key):
            raise given.wrong("env", f"{key!r} is no name of a variable", 'env = { SEED = "1" }')
        if not isinstance(value, str) or "\0" in value:
            raise given.wrong(f"env.{key}", f"found {_shown(value)}, expected a text", f'env = {{ {key} = "{value}" }}')
    return dict(found)


def _address(given: _Section, text: str) -> str:
    """A mail address."""
    if not _MAIL.fullmatch(text):
        raise given.wrong("to", f"{text!r} is no mail address", 'to = ["me@uni.edu"]')
    return text


def _port(given: _Section) -> int | None:
    """A TCP port."""
    found = given.data.get("port")
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or not 0 < found < 65536:
        raise given.wrong("port", f"found {_shown(found)}, expected a port number", "port = 22")
    return found


def _check_lifetime(job: Job, given: _Section, *, timeout_given: bool, lifetime_given: bool) -> None:
    """Invariant 7: the lease holds the sum of everything that may happen in it.

    Raises:
        UsageError: it does not; names each part, and the lifetime to write.
    """
    parts = {
        "boot": job.boot_s,
        "stage_in": job.stage_in_s if job.inputs else 60.0,
        "timeout": job.timeout_s if timeout_given and job.timeout_s else 60.0,
        "grace": job.grace_s,
        "stage_out": job.stage_out_s,
        "shutdown": job.shutdown_s,
    }
    total = sum(parts.values())
    if job.max_lifetime_s >= total:
        return
    listed = " + ".join(f"{name} {duration_text(value)}" for name, value in parts.items())
    kind = "" if lifetime_given else " (the default)"
    raise UsageError(
        code="lifetime-too-short",
        what=f"{given._origin}: instance.max_lifetime: {duration_text(job.max_lifetime_s)}{kind} is shorter than the sum "  # noqa: SLF001
        f"of its parts: {listed} = {duration_text(total)}",
        next=f'max_lifetime = "{duration_text(total + 60)}"   # under [instance]; or smaller parts under [budget]',
    )


def _nearest(word: str, names: Sequence[str]) -> str:
    """The name most like *word*."""
    found = difflib.get_close_matches(word, names, n=1, cutoff=0.0)
    return found[0] if found else names[0]


def _shown(value: object) -> str:
    """A value as it looks in TOML, cut."""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
