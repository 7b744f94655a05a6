"""The commands that prepare: ``init``, ``doctor``, ``schedule``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from jetrun.cli.which_cloud import Cloud, Rc, meant


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (init, doctor, schedule):
        app.command()(command)


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write job.toml.")] = Path(),
    *,
    on: Annotated[str, typer.Option(help="Name of your instance.")] = "my-instance",
) -> int:
    """Write a commented job.toml to begin with, and show where the mail server is configured."""
    from jetrun.cli.preparing import write_first_job  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        sys.stdout.write(write_first_job(folder, on, house.config))
    return 0


def doctor(
    on: Annotated[str | None, typer.Argument(help="Also look at this instance (it is not started).")] = None,
    *,
    cloud: Cloud = None,
    openrc: Rc = None,
    mail: Annotated[bool, typer.Option("--mail", help="Also log in to the mail server.")] = False,
    alarm_test: Annotated[
        bool, typer.Option("--alarm-test", help="Also send a test through every way to tell a person.")
    ] = False,
    email: Annotated[
        list[str] | None, typer.Option(help="Whom the test is mailed to; default: defaults.email.to.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """See whether a run could be carried to its end from here: credential, clock, policy, SSH, disk, mail."""
    from jetrun.cli.diagnosis import examine  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        findings = examine(
            house, meant(cloud, openrc), on, mail=mail, alarm_to=tuple(email or ()) if alarm_test else None
        )
    if as_json:
        sys.stdout.write(json.dumps([finding.to_dict() for finding in findings]) + "\n")
    else:
        for finding in findings:
            sys.stdout.write(finding.line() + "\n")
    return 0 if all(finding.level != "red" for finding in findings) else 1


def schedule(
    job: Annotated[Path, typer.Argument(help="The job file.")],
    *,
    on_calendar: Annotated[str, typer.Option(help="When, as systemd.time(7) writes it, such as 'Mon 06:00'.")],
    install: Annotated[
        bool, typer.Option("--install", help="Write the units and start the timer; otherwise only show.")
    ] = False,
) -> int:
    """Show, or install, a systemd timer for a job, and the cron line that does the same."""
    from jetrun.cli.services import scheduled  # noqa: PLC0415

    sys.stdout.write(scheduled(job, on_calendar, install=install))
    return 0
