"""``jetrun drill``: the user's own fire drill. What is killed, who ends the instance, after how long, at what cost."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from jetrun.cli.which_cloud import Cloud

PHASES = ("acquire", "connect", "stage_in", "execute", "stage_out", "shutdown")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(drill)


def drill(
    *,
    on: Annotated[
        str | None,
        typer.Option(help="A small instance of a real cloud, used for nothing else; default: embedded ones."),
    ] = None,
    phase: Annotated[list[str] | None, typer.Option(help=f"Only in this phase: {', '.join(PHASES)}.")] = None,
    kill: Annotated[list[str] | None, typer.Option(help="Only this: driver, guardian, both, network, mail.")] = None,
    lease: Annotated[str, typer.Option(help="On a real cloud, how long each lease is: what 'both' takes.")] = "30m",
    ssh_user: Annotated[str | None, typer.Option(help="Whom to log in as on the real instance.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where to keep the runs; by default a new folder.")
    ] = None,
    cloud: Cloud = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Kill the driver, the guardian, both, the network, the mail in each phase, and see who ends the instance."""
    from jetrun.cli.drilling import KILLS, Drill, on_embedded, on_real, table  # noqa: PLC0415
    from jetrun.errors import UsageError  # noqa: PLC0415

    for given, allowed, flag in ((phase, PHASES, "--phase"), (kill, KILLS, "--kill")):
        for word in given or ():
            if word not in allowed:
                raise UsageError(
                    code="drill-unknown", what=f"{flag} {word}: there is no such", next=f"{flag} {' | '.join(allowed)}"
                )
    if cloud is not None and on is None:
        raise UsageError(
            code="drill-without-instance",
            what="a drill on a real cloud needs an instance that may be started and ended",
            next=f"jetrun drill --os-cloud {cloud} --on a-small-instance",
        )
    base = (folder or Path(tempfile.mkdtemp(prefix="jetrun-drill-"))).resolve()
    if base.exists() and any(base.iterdir()):
        raise UsageError(
            code="drill-folder-taken",
            what=f"{base} is not empty: an older drill's runs would be taken for this one's",
            next="jetrun drill --dir a-new-folder",
        )
    wish = Drill(base=base, phases=tuple(phase or PHASES), kills=tuple(kill or KILLS))
    rows = on_embedded(wish) if on is None else on_real(wish, cloud, on, lease=lease, ssh_user=ssh_user)
    if as_json:
        sys.stdout.write(json.dumps([row.to_dict() for row in rows]) + "\n")
    else:
        sys.stdout.write(table(rows))
        sys.stdout.write(f"\nthe runs, their logs and their journals are in {base}\n")
    return 0 if all(row.down for row in rows) else 119
