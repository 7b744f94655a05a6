"""``jetrun doctor``: whether a run could be carried to its end from here. Starts nothing, changes nothing.

Green: good. Amber: a run works, and something about the promise is weaker than it could be. Red: a run would fail.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetrun.cli.sweeping import last_sweeps
from jetrun.cloud.interface import command
from jetrun.errors import CloudError, MailError, UsageError
from jetrun.guarantee.constants import DEFAULT_MAX_LIFETIME_S
from jetrun.telling import LATELY

if TYPE_CHECKING:
    from jetrun.cloud.credentials import CloudChoice
    from jetrun.cloud.openstack import OpenStackCloud
    from jetrun.wiring import House

SWEPT_WITHIN = timedelta(hours=25)
"""A sweep older than that has been missed: nobody installs one rarer than daily."""
LEAST_FREE_BYTES = 1 << 30
"""Below this much free space on either side results may not fit: 1 GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. ``level``: green, amber or red; ``next``: what to do, empty when green."""

    level: str
    what: str
    next: str = ""

    def line(self) -> str:
        """As a person reads it."""
        mark = {"green": "ok   ", "amber": "amber", "red": "RED  "}[self.level]
        return f"{mark}  {self.what}" + (f"\n         next: {self.next}" if self.next else "")

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def examine(
    house: House, cloud: str | None, on: str | None, *, mail: bool, alarm_to: Sequence[str] | None = None
) -> list[Finding]:
    """Everything that can be looked at without starting anything.

    Args:
        alarm_to: send a test through every way to tell a person, the mail to these; None for no test.
    """
    findings = [*_unproven(house), *_here(house)]
    try:
        choice = house.choose_cloud(cloud)
        adapter = house.open_cloud(choice)
        findings += _cloud(house, choice, adapter)
        if on is not None:
            findings += _instance(choice, adapter, on)
    except (CloudError, UsageError) as error:
        findings.append(Finding(level="red", what=error.what, next=error.next))
    findings += _mail(house, log_in=mail)
    if alarm_to is not None:
        findings += _alarm_test(house, alarm_to)
    findings += _channels(house)
    return [*findings, *_sweeps(house), *_cover()]


def _unproven(house: House) -> Iterator[Finding]:
    """Instances that an earlier run left unproven."""
    for row in house.journal.unverified():
        what = f"run {row.run} ({row.name}): its instance {row.instance} is NOT VERIFIED DOWN"
        yield Finding(level="red", what=what, next=f"jetrun verify {row.run}")


def _here(house: House) -> Iterator[Finding]:
    """This machine."""
    for program, use in (
        ("ssh", "rsync goes through it"),
        ("rsync", "without it inputs and outputs go by tar, without delta"),
    ):
        found = shutil.which(program)
        level = "green" if found else "red" if program == "ssh" else "amber"
        yield Finding(
            level=level,
            what=f"{program}: {found or 'not found; ' + use}",
            next="" if found else f"sudo apt install {'openssh-client' if program == 'ssh' else program}",
        )
    room = os.statvfs(house.config.home)
    free = room.f_bavail * room.f_frsize
    yield Finding(
        level="green" if free > LEAST_FREE_BYTES else "amber",
        what=f"free space here: {free / 1e9:.1f} GB in {house.config.home}",
        next="" if free > LEAST_FREE_BYTES else f"df -h {house.config.home}",
    )
    keys = [path for path in Path("~/.ssh").expanduser().glob("id_*") if path.suffix != ".pub"]
    if keys:
        yield Finding(level="green", what=f"SSH keys: {', '.join(path.name for path in sorted(keys))}")


def _cloud(house: House, choice: CloudChoice, adapter: OpenStackCloud) -> Iterator[Finding]:
    """The cloud and the credential."""
    identity = adapter.identify()
    who = f"cloud {choice.name}: {identity.user_name} on project {identity.project_name} ({identity.project_id})"
    yield Finding(level="green", what=f"{who}, by {identity.auth_type}")
    for warning in choice.warnings:
        yield Finding(level="amber", what=warning, next="")
    needed_at = house.clock.now() + timedelta(seconds=DEFAULT_MAX_LIFETIME_S)
    ends_at = identity.credential_expires_at
    if ends_at is not None:
        level = "green" if ends_at > needed_at + timedelta(days=14) else "amber" if ends_at > needed_at else "red"
        yield Finding(
            level=level,
            what=f"the credential ends at {ends_at:%Y-%m-%d %H:%MZ}",
            next="" if level == "green" else "make a new one in time: Horizon, Identity, Application Credentials",
        )
    skew_s = identity.clock_skew_s
    good = abs(skew_s) <= choice.profile.bounds.skew_s
    yield Finding(
        level="green" if good else "red",
        what=f"clock: {skew_s:+.1f} s from the cloud's",
        next="" if good else "timedatectl set-ntp true",
    )
    rates = choice.profile.rates
    yield Finding(
        level="green" if rates else "amber",
        what=f"profile {choice.profile.name}: {choice.profile.rate_source}",
        next="" if rates else "jetrun: { rates: { m3: 1.0 } } under this cloud in clouds.yaml",
    )


def _instance(choice: CloudChoice, adapter: OpenStackCloud, name: str) -> Iterator[Finding]:
    """One instance, as far as it can be seen from outside."""
    found = adapter.find_instances(name)
    if len(found) != 1:
        what = f"{len(found)} instances are named {name!r}"
        yield Finding(level="red", what=what, next=f"{command(choice.name)} server list")
        return
    one = found[0]
    read = one.observation
    rate = choice.profile.rate_per_hour(one.flavor, one.vcpus, read.status)
    price = "cost unknown" if rate is None else f"{rate:g} {choice.profile.unit}/h now"
    yield Finding(level="green", what=f"instance {one.name} ({one.id}): {read.status}, flavor {one.flavor}, {price}")
    if read.locked:
        yield Finding(
            level="red",
            what="it is locked: every action would be refused",
            next=f"{command(choice.name)} server unlock {one.id}",
        )
    if read.status == "SHELVED" and read.has_host is False:
        yield Finding(
            level="red",
            what="SHELVED without a host: a corrupt shelve",
            next="ask the cloud's staff to shelve-offload it",
        )
    if adapter.lease_port(one.id) is None:
        yield Finding(
            level="red",
            what="it has no network port: it can neither hold a lease nor be reached",
            next="attach a network",
        )
    rule = adapter.ssh_rule(one.id, choice.profile.ssh_port)
    if rule.allowed is False:
        group = rule.groups[0] if rule.groups else "default"
        create = f"security group rule create --protocol tcp --dst-port {choice.profile.ssh_port} {group}"
        yield Finding(
            level="red",
            what=f"no rule of its security groups ({', '.join(rule.groups) or 'none'}) lets SSH in",
            next=f"{command(choice.name)} {create}",
        )
    elif rule.allowed:
        yield Finding(level="green", what=f"security groups let SSH in: {', '.join(rule.groups)}")
    yield Finding(
        level="amber",
        what="passwordless sudo, rsync and free space on the instance are looked at when it runs",
        next="on the instance: sudo -n true && command -v rsync && df -h ~   (sudoers line: USER ALL=(ALL) NOPASSWD:ALL)",
    )


def _mail(house: House, *, log_in: bool) -> Iterator[Finding]:
    """The mail server."""
    settings = house.config.mail
    if settings is None:
        yield Finding(
            level="amber",
            what="no mail server is configured: nobody is told of a run whose terminal is gone",
            next=f"[smtp] host, user and sender in {house.config.path}",
        )
        return
    if not log_in:
        yield Finding(
            level="green", what=f"mail server {settings.host}, sender {settings.sender} (jetrun doctor --mail tries it)"
        )
        return
    from jetrun.notify.probe import probe  # noqa: PLC0415 - only where it is asked for

    try:
        said = probe(settings)
    except MailError as error:
        yield Finding(level="red", what=error.what, next=error.next)
    else:
        yield Finding(level="green", what=f"mail server {settings.host} answers and takes the login: {said}")


def _channels(house: House) -> Iterator[Finding]:
    """Ways to tell a person besides mail, and what is known of all of them."""
    worked = house.telling.worked_lately()
    for one in house.config.channels:
        yield Finding(level="green", what=f"alarms also go through {one.name}")
    if house.telling.ways and not worked:
        yield Finding(
            level="amber",
            what=f"no alarm has gone out from here in the last {LATELY.days} days: nobody knows whether one would arrive",
            next="jetrun doctor --alarm-test",
        )
    for name, at in worked.items():
        yield Finding(level="green", what=f"{name} accepted a message at {at:%Y-%m-%d %H:%MZ}")


def _alarm_test(house: House, to: Sequence[str]) -> Iterator[Finding]:
    """A message through every way to tell a person."""
    tried = house.telling.test(to or house.config.usual_recipients)
    if not tried:
        line = 'channels = ["ntfys://ntfy.uni.edu/a-secret-topic"] below [alarm], or [smtp], in'
        yield Finding(level="red", what="there is no way to tell a person", next=f"{line} {house.config.path}")
    for name, error in tried.items():
        if error is None:
            yield Finding(level="green", what=f"{name} accepted the test: see whether it arrives")
        else:
            yield Finding(level="red", what=error.what, next=error.next)


def _sweeps(house: House) -> Iterator[Finding]:
    """Whether a reaper runs here."""
    sweeps = last_sweeps(house.config.home)
    now = house.clock.now()
    for cloud, at in sweeps.items():
        fresh = now - at < SWEPT_WITHIN
        yield Finding(
            level="green" if fresh else "amber",
            what=f"jetrun reap last swept cloud {cloud} from here at {at:%Y-%m-%d %H:%MZ}",
            next="" if fresh else "systemctl --user list-timers 'jetrun-reap-*'   # or crontab -l",
        )
    if not sweeps:
        yield Finding(
            level="amber",
            what="no reaper has swept from here: after a crash of this machine, what is left waits until you type something",
            next="jetrun reap install",
        )


def _cover() -> Iterator[Finding]:
    """The honest edge of the promise."""
    yield Finding(
        level="amber",
        what=f"if {socket.gethostname()} is gone for good during a run, the instance is powered off by its deadline (half price on "
        "Jetstream2) and nobody is told",
        next="on another machine: jetrun reap install   (or self_shelve in the job: docs/job.toml)",
    )
