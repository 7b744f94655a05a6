"""The job: what the user asks for, validated. Pure: no files, no environment, no clock.

``from_mapping`` takes what a job file or a command line gave and names every mistake by its key's path, with the nearest
valid name. Whether files exist is asked by ``job_file.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from jetrun.guarantee.constants import DEFAULT_MAX_LIFETIME_S
from jetrun.guarantee.power import Disposition
from jetrun.job_fields import Origin, Table, duration_text, exact_text, noted, seconds, toml_text
from jetrun.job_rules import (
    LAUNCH_ONLY,
    NO_INPUTS_S,
    ON_DRIVER_LOSS,
    SECTIONS,
    addresses,
    below,
    environment,
    lifetime,
    no_collisions,
    output_dir,
    self_shelve,
    take_over,
    what_runs,
)

__all__ = ["SECTIONS", "Email", "Job", "Launch", "On", "Ssh", "duration_text", "from_mapping", "seconds", "to_mapping"]


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
        security_groups: empty for the project's default. name: None for ``jetrun-RUN``.
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
        timeout_s: of the script; from a job file never None: without one it is the longest that fits the lifetime.
        grace_s: between TERM and KILL.
        boot_s, stage_in_s, stage_out_s, shutdown_s: time set aside for each; the lease must hold them all.
        take_over: ``no``, ``yes``, or ``force`` (also with people logged in, who are warned).
        deadman: arm the switch on the instance.
        on_driver_loss: what the guardian does when the driver is gone: ``continue`` the run, ``end`` it; ``nothing``: no guardian.
        self_shelve: the switch asks the cloud to shelve the instance first, with a credential that the run makes, or with that
            of the entry of clouds.yaml that is named.
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
    on_driver_loss: str = "continue"
    self_shelve: bool | str = False
    ssh: Ssh = field(default_factory=Ssh)
    email: Email = field(default_factory=Email)

    def output_folder(self, run: str) -> str:
        """``output_dir`` of one run, its placeholders replaced; a name cannot leave the folder."""
        safe = self.name.replace("/", "_")
        values = {"run": run, "name": "_" if safe in {".", ".."} else safe}
        return re.sub(r"\{(run|name)\}", lambda found: values[found[1]], self.output_dir)


def from_mapping(data: Mapping[str, Any], *, origin: str | Origin) -> Job:
    """The job that *data* describes.

    Args:
        data: as TOML gives it; see docs/job.toml.
        origin: where it came from, for messages; or a function that says it for each key's path.

    Raises:
        UsageError: the first mistake, with its key's path, what was found, and the line to write.
    """
    where: Origin = (lambda _: origin) if isinstance(origin, str) else origin
    given = Table(data, "", schema=SECTIONS, origin=where)
    instance, budget, ssh = given.section("instance"), given.section("budget"), given.section("ssh")
    script, command = what_runs(given)
    target = _target(instance)
    inputs = given.texts("inputs")
    boot_s, grace_s = budget.duration("boot") or 900.0, given.duration("grace") or 30.0
    stage_in_s, stage_out_s = budget.duration("stage_in") or 1800.0, budget.duration("stage_out") or 1800.0
    shutdown_s = budget.duration("shutdown") or 1080.0
    around = {"boot": boot_s, "stage_in": stage_in_s if inputs else min(stage_in_s, NO_INPUTS_S)}
    around |= {"grace": grace_s, "stage_out": stage_out_s, "shutdown": shutdown_s}
    lifetime_s, timeout_s = lifetime(given, instance, around)
    return Job(
        name=given.text("name") or PurePosixPath(script or command[0]).stem or "job",
        instance=target,
        script=script,
        command=command,
        inputs=no_collisions(given, inputs),
        excludes=given.texts("excludes"),
        outputs=below(given, "outputs", "the script's work folder"),
        output_dir=output_dir(given),
        timeout_s=timeout_s,
        grace_s=grace_s,
        env=environment(given),
        disposition=_disposition(given, target),
        max_lifetime_s=lifetime_s,
        boot_s=boot_s,
        stage_in_s=stage_in_s,
        stage_out_s=stage_out_s,
        shutdown_s=shutdown_s,
        take_over=take_over(instance),
        deadman=instance.boolean("deadman", default=True),
        on_driver_loss=given.choice("on_driver_loss", ON_DRIVER_LOSS) or "continue",
        self_shelve=self_shelve(instance),
        ssh=Ssh(
            user=ssh.text("user"), port=ssh.integer("port", 1, 65535), host=ssh.text("host"), keys=ssh.texts("keys")
        ),
        email=_email(given.section("email")),
    )


def to_mapping(job: Job) -> dict[str, Any]:
    """*job* as ``from_mapping`` takes it, so that the same job comes back; the journal keeps it."""
    instance: dict[str, Any] = {
        "max_lifetime": exact_text(job.max_lifetime_s),
        "take_over": job.take_over,
        "deadman": job.deadman,
    }
    if job.self_shelve:
        instance["self_shelve"] = job.self_shelve
    match job.instance:
        case On(name_or_id=name):
            instance["on"] = name
        case Launch() as launch:
            made = {key: getattr(launch, key) for key in LAUNCH_ONLY}
            instance |= {
                key: list(value) if isinstance(value, tuple) else value for key, value in made.items() if value
            }
    ssh = {"user": job.ssh.user, "port": job.ssh.port, "host": job.ssh.host, "keys": list(job.ssh.keys)}
    data: dict[str, Any] = {
        "name": job.name,
        "inputs": list(job.inputs),
        "excludes": list(job.excludes),
        "outputs": list(job.outputs),
        "output_dir": job.output_dir,
        "grace": exact_text(job.grace_s),
        "env": dict(job.env),
        "disposition": job.disposition.value,
        "on_driver_loss": job.on_driver_loss,
        "instance": instance,
        "ssh": {key: value for key, value in ssh.items() if value},
        "email": {"to": list(job.email.to), "attach": list(job.email.attach), "when": job.email.when},
        "budget": {
            "boot": exact_text(job.boot_s),
            "stage_in": exact_text(job.stage_in_s),
            "stage_out": exact_text(job.stage_out_s),
            "shutdown": exact_text(job.shutdown_s),
        },
    }
    if job.timeout_s is not None:
        data["timeout"] = exact_text(job.timeout_s)
    return data | ({"script": job.script} if job.script else {"command": list(job.command)})


def _target(given: Table) -> On | Launch:
    """Where to run."""
    on = given.text("on")
    makes = [key for key in LAUNCH_ONLY if key in given]
    if on and makes:
        raise given.wrong(
            makes[0],
            "describes a new instance, but an existing one is given with on",
            noted(given.line("on", toml_text(on)), f"without {', '.join(makes)}"),
        )
    if on:
        return On(name_or_id=on)
    if not makes:
        raise given.wrong("on", "neither an existing instance (on) nor image and flavor of a new one are given")
    image, flavor = given.text("image"), given.text("flavor")
    if image is None or flavor is None:
        raise given.wrong("image" if image is None else "flavor", "is needed to launch an instance")
    return Launch(
        image=image,
        flavor=flavor,
        network=given.text("network") or "auto",
        key=given.text("key") or "auto",
        floating_ip=given.choice("floating_ip", ["auto", "no"]) or "auto",
        security_groups=given.texts("security_groups"),
        name=given.text("name"),
    )


def _disposition(given: Table, target: On | Launch) -> Disposition:
    """How the instance must end."""
    wanted = Disposition(given.choice("disposition", list(Disposition)) or Disposition.SHELVE)
    if wanted is Disposition.DELETE and isinstance(target, On):
        raise given.wrong(
            "disposition",
            '"delete" is only for an instance that this run launches',
            given.line("disposition", '"shelve"'),
        )
    return wanted


def _email(given: Table) -> Email:
    """Whom to tell."""
    attach = below(given, "attach", "the output folder")
    return Email(to=addresses(given, "to"), attach=attach, when=given.choice("when", ["always", "failure"]) or "always")
