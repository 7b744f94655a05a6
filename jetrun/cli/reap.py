"""``jetrun reap``: once, as a service, and ``reap install``, which lets this machine do it by itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from jetrun.cli.which_cloud import Cloud, Rc, meant
from jetrun.config import CHANNELS, PASSWORD

if TYPE_CHECKING:
    from jetrun.wiring import House

Emails = Annotated[
    list[str] | None,
    typer.Option("--email", help="Whom to tell of what was ended or left; default: defaults.email.to."),
]
Everybody = Annotated[
    bool, typer.Option("--all-owners", help="Also leases of other people in the project, as far as the credential may.")
]
Every = Annotated[str, typer.Option("--every", help="How often, such as 15m.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
    group.callback()(reap)
    group.command()(install)
    app.add_typer(group, name="reap")


def reap(
    context: typer.Context,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Go on for ever, as a service.")] = False,
    every: Every = "15m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    all_owners: Everybody = False,
    email: Emails = None,
    cloud: Cloud = None,
    openrc: Rc = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a sweep.")] = False,
) -> int:
    """End instances whose lease has expired, whoever's process is gone. Needs only the cloud's credential."""
    if context.invoked_subcommand is not None:
        return 0
    from jetrun.cli.sweeping import Sweeper  # noqa: PLC0415
    from jetrun.errors import JetrunError  # noqa: PLC0415
    from jetrun.job_fields import seconds  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    pause_s = seconds(every)
    with House() as house:
        sweeper = Sweeper(house, meant(cloud, openrc), to=tuple(email or ()), all_owners=all_owners, dry_run=dry_run)
        while True:
            try:
                rows = sweeper.sweep()
            except JetrunError as error:
                # A service outlives a cloud that does not answer; a single sweep says so.
                if not watch:
                    raise
                sys.stderr.write(error.render() + "\n")
            else:
                sys.stdout.write(json.dumps([row.to_dict() for row in rows]) + "\n" if as_json else sweeper.said(rows))
                sys.stdout.flush()
                if not watch:
                    return 0 if all(row.good for row in rows) else 119
            house.clock.sleep(pause_s)


def install(
    *,
    every: Every = "15m",
    all_owners: Everybody = False,
    email: Emails = None,
    cloud: Cloud = None,
    openrc: Rc = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write it; otherwise it is only shown.")] = False,
    cron: Annotated[bool, typer.Option("--cron", help="A line for cron, also where there is a systemd.")] = False,
) -> int:
    """Show, or with --yes write, the systemd user timer or the cron line that sweeps by itself."""
    from jetrun.cli.services import reaper_installed  # noqa: PLC0415
    from jetrun.errors import UsageError  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        choice = house.choose_cloud(meant(cloud, openrc))
        if not choice.can_be_reloaded:
            raise UsageError(
                code="credential-needs-a-person",
                what=f"cron could not log in to cloud {choice.name}: its credential is in this shell alone, or asks for a password",
                next="an application credential in clouds.yaml or an openrc file: Horizon, Identity, Application Credentials",
            )
        words = ["reap", "--os-cloud", choice.name, *(["--all-owners"] if all_owners else [])]
        words += [word for one in email or () for word in ("--email", one)]
        if openrc is not None:
            words = ["reap", "--openrc", str(openrc.resolve()), *words[3:]]
        sys.stdout.write(reaper_installed(choice.name, words, every, write=yes, cron=cron))
        for line in _untold(house, tuple(email or ()) or house.config.usual_recipients):
            sys.stderr.write(f"note: {line}\n")
    return 0


def _untold(house: House, to: Sequence[str]) -> Iterator[str]:
    """What keeps a sweep that nobody watches from telling anybody."""
    for name in (CHANNELS, PASSWORD):
        if house.environ.get(name):
            yield f"{name} is set in this shell alone, and not written down: put it into {house.config.path} (mode 0600)"
    if not house.config.channels and (house.config.mail is None or not to):
        yield "nobody will be told of what it ends or cannot end: [smtp] with --email, or [alarm] channels, in " + str(
            house.config.path
        )
