"""``jetrun devcloud``: the embedded cloud, its faults, and where it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The embedded cloud: OpenStack's APIs on this machine, no account needed.", no_args_is_help=True)
fault = typer.Typer(help="Make the embedded cloud misbehave as clouds do.", no_args_is_help=True)
app.add_typer(fault, name="fault")

Dir = Annotated[Path | None, typer.Option("--dir", help="Where it keeps everything (default: below JETRUN_HOME).")]


def folder_of(given: Path | None) -> Path:
    """The embedded cloud's folder."""
    from jetrun.config import home_of  # noqa: PLC0415

    return given or home_of() / "devcloud"


@app.command()
def up(
    folder: Dir = None,
    *,
    detach: Annotated[
        bool, typer.Option("--detach", help="Come back when it is up; otherwise stay until Ctrl-C.")
    ] = False,
    timings: Annotated[str, typer.Option(help="How long its operations take: zero, quick or slow.")] = "quick",
    port: Annotated[int, typer.Option(help="Of the APIs; 0 takes a free one.")] = 0,
) -> None:
    """Start it."""
    import signal  # noqa: PLC0415

    from jetrun.devcloud import client  # noqa: PLC0415

    running = client.start(folder_of(folder), timings=timings, port=port)
    sys.stdout.write(
        f"the embedded cloud is up: {running.url}\n"
        f"  export OS_CLIENT_CONFIG_FILE={running.clouds} OS_CLOUD=devcloud\n"
        f"  instances: SSH on port {running.ssh_port} with {running.key}; mail: {running.mail_folder}\n"
    )
    if detach:
        return
    try:
        signal.pause()
    except KeyboardInterrupt:
        client.stop(running)
        sys.stdout.write("the embedded cloud is down; its state is kept\n")


@app.command()
def down(folder: Dir = None) -> None:
    """End it; its state is kept."""
    from jetrun.devcloud import client  # noqa: PLC0415

    running = client.find(folder_of(folder))
    if running is None:
        sys.stdout.write("no embedded cloud is running there\n")
        return
    client.stop(running)
    sys.stdout.write("the embedded cloud is down; its state is kept\n")


@app.command()
def status(folder: Dir = None, *, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Where it is, and what runs in it, as it really is."""
    running = _running(folder)
    truth = running.truth()
    if as_json:
        sys.stdout.write(json.dumps(truth) + "\n")
        return
    sys.stdout.write(f"up: {running.url}, process {running.pid}, {running.folder}\n")
    for row in truth["instances"]:
        on = "running" if row["process"] else "off"
        sys.stdout.write(f"  {row['name']:<24} {row['status']:<18} {on:<8} {row['id']}\n")


def _running(folder: Path | None) -> client.Running:  # type: ignore[name-defined]  # noqa: F821
    """The running embedded cloud.

    Raises:
        UsageError: there is none.
    """
    from jetrun.devcloud import client  # noqa: PLC0415
    from jetrun.errors import UsageError  # noqa: PLC0415

    running = client.find(folder_of(folder))
    if running is None:
        raise UsageError(
            code="no-devcloud",
            what=f"no embedded cloud runs in {folder_of(folder)}",
            next="jetrun devcloud up --detach",
        )
    return running


@fault.command("add")
def fault_add(
    name: Annotated[str, typer.Argument(help="Of the fault; jetrun devcloud fault names lists them.")],
    folder: Dir = None,
    *,
    on: Annotated[str, typer.Option(help="The call it strikes: nova.shelve, nova.show, keystone.* ...")] = "",
    times: Annotated[int, typer.Option(help="How often; -1 for always.")] = 1,
    skip: Annotated[int, typer.Option(help="How many matching calls it lets pass first.")] = 0,
    seconds: Annotated[float, typer.Option(help="Of delay, for hang, slow and ssh-drop.")] = 1.0,
) -> None:
    """Set a fault."""
    _running(folder).add_fault(name, on=on, times=times, skip=skip, seconds=seconds)


@fault.command("list")
def fault_list(folder: Dir = None) -> None:
    """The faults that are set."""
    for one in _running(folder).call("GET", "faults"):
        sys.stdout.write(f"{one['id']:>3}  {one['name']:<34} on {one['on']:<22} times {one['times']}\n")


@fault.command("clear")
def fault_clear(folder: Dir = None) -> None:
    """Remove all faults."""
    _running(folder).clear_faults()


@fault.command("names")
def fault_names() -> None:
    """Every fault there is."""
    from jetrun.devcloud.faults import BEHAVIOURS, NAMES  # noqa: PLC0415

    for name in NAMES:
        sys.stdout.write(f"{name:<34} {BEHAVIOURS.get(name, 'any call')}\n")
