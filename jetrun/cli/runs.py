"""The commands about runs: ``ps``, ``show``, ``logs``, ``verify``, ``cancel``, ``collect``, ``extend``."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Annotated

import typer

from jetrun.cli.which_cloud import Cloud, Rc, meant

Run = Annotated[str, typer.Argument(help="Id of the run, its beginning, or last.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (ps, show, logs, verify, cancel, collect, extend):
        app.command()(command)


def ps(
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also runs that have ended.")] = False,
    as_json: Json = False,
) -> int:
    """List runs, and every instance that is not proven down."""
    from jetrun.cli.listing import rows_of, table  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        rows = rows_of(house.journal, everything=everything)
        sys.stdout.write(json.dumps(rows) + "\n" if as_json else table(rows))
    return 0


def show(run: Run, *, as_json: Json = False) -> int:
    """Everything about one run: its phases, requests and receipt."""
    from jetrun.cli.documents import printed, schema  # noqa: PLC0415
    from jetrun.cli.listing import document_from_journal, story  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        found = house.journal.find(run)
        document = document_from_journal(house, found)
        if as_json:
            sys.stdout.write(json.dumps(schema(document)) + "\n")
        else:
            sys.stdout.write(story(house.journal.records(found)) + "\n" + printed(document))
    return 0


def logs(
    run: Run, *, follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it grows.")] = False
) -> int:
    """The script's output, as far as it is here."""
    from jetrun.cli.listing import stream_log  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        stream_log(house, house.journal.find(run), follow=follow)
    return 0


def verify(
    run: Annotated[str, typer.Argument(help="A run, or an instance's name or id.")],
    *,
    as_json: Json = False,
    cloud: Cloud = None,
    openrc: Rc = None,
) -> int:
    """Look at an instance afresh, twice, and say whether it is down; a run's own is brought down if it is not."""
    from jetrun.cli.verifying import verify_instance, verify_run  # noqa: PLC0415
    from jetrun.errors import UsageError  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        try:
            found = house.journal.find(run)
        except UsageError:
            return verify_instance(house, run, meant(cloud, openrc), as_json=as_json)
        return verify_run(house, found, as_json=as_json)


def cancel(run: Run) -> int:
    """End a run early: its script is stopped, what there is is collected, the instance is brought down and proven."""
    from jetrun.api import continue_run  # noqa: PLC0415
    from jetrun.cli.screen import TerminalScreen  # noqa: PLC0415
    from jetrun.cli.work import show as show_result  # noqa: PLC0415
    from jetrun.guarantee.lifecycle import Kind  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        found = house.journal.find(run, unfinished=True)
        row = next(one for one in house.journal.runs() if one.run == found)
        if row.closed:
            sys.stdout.write(f"run {found} has ended already: jetrun show {found}\n")
            return 0
        if row.owner is not None and row.owner.is_alive():
            # Written first: one that has only just begun does not listen yet, and whoever follows it must know.
            house.journal.append(found, Kind.STOP_ASKED, {"cause": "cancel"})
            os.kill(row.owner.pid, signal.SIGUSR1)
            sys.stdout.write(
                f"run {found} is ending; its own process ({row.owner.pid}) brings the instance down: jetrun show {found}\n"
            )
            return 0
        house.journal.tolerate()
        house.journal.append(found, Kind.STOP_ASKED, {"cause": "cancel"})
        screen = TerminalScreen(live=False)
        return show_result(continue_run(house, found, screen=screen), screen, as_json=False)


def collect(run: Run) -> int:
    """Fetch a run's outputs that did not come, starting its instance once more for it, and bring it down again."""
    from jetrun.cli.collecting import collect_again  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        return collect_again(house, house.journal.find(run))


def extend(run: Run, by: Annotated[str, typer.Argument(help="How much longer, such as 2h.")]) -> int:
    """Give a running run more time: its lease and its dead-man's switch get a later deadline."""
    from jetrun.cli.extending import extend_lease  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        return extend_lease(house, house.journal.find(run), by)
