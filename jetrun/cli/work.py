"""The commands that carry a job: ``run``, ``submit``, ``demo``, ``continue``."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jetrun.cli.which_cloud import Cloud, Rc, meant

if TYPE_CHECKING:
    from jetrun.api import Result
    from jetrun.job import Job
    from jetrun.wiring import House

Json = Annotated[bool, typer.Option("--json", help="Print the run as one JSON document.")]


_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|CREDENTIAL", re.IGNORECASE)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(run)
    app.command("submit")(submit)
    app.command()(demo)
    app.command("continue")(continue_)


def run(
    job: Annotated[list[str] | None, typer.Argument(help="A job file (.toml), a script, or -- and a command.")] = None,
    *,
    on: Annotated[str | None, typer.Option(help="Name or id of an existing instance.")] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("-i", "--input", help="File or folder to send; may be repeated.")
    ] = None,
    outputs: Annotated[list[str] | None, typer.Option("-o", "--output", help="Path or glob to bring back.")] = None,
    output_dir: Annotated[str | None, typer.Option(help="Where outputs go; {run} and {name} are replaced.")] = None,
    excludes: Annotated[list[str] | None, typer.Option("--exclude", help="What not to send (rsync pattern).")] = None,
    email: Annotated[list[str] | None, typer.Option(help="Whom to tell.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the script.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Of the script, such as 6h.")] = None,
    max_lifetime: Annotated[str | None, typer.Option(help="The lease's deadline, such as 8h.")] = None,
    disposition: Annotated[str | None, typer.Option(help="How it must end: shelve, stop or delete.")] = None,
    on_driver_loss: Annotated[
        str | None, typer.Option(help="When this process is gone: continue the run, end it, or nothing.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Launch an instance from this image.")] = None,
    flavor: Annotated[str | None, typer.Option(help="Of the instance to launch.")] = None,
    key: Annotated[list[str] | None, typer.Option("--ssh-key", help="Private key file to log in with.")] = None,
    user: Annotated[str | None, typer.Option("--ssh-user", help="Whom to log in as.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the job.")] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Use an instance that already runs, and end it.")
    ] = False,
    take_over_force: Annotated[
        bool, typer.Option("--take-over-force", help="--take-over=force: also with people logged in, who are warned.")
    ] = False,
    no_alarm: Annotated[
        bool, typer.Option("--no-alarm", help="submit: do without a way to tell you that has lately worked.")
    ] = False,
    no_deadman: Annotated[bool, typer.Option("--no-deadman", help="Do without the switch on the instance.")] = False,
    cloud: Cloud = None,
    openrc: Rc = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show the script's output.")] = False,
    as_command: Annotated[bool, typer.Option("--as-command", hidden=True)] = False,
    detach: Annotated[bool, typer.Option("--detach", hidden=True)] = False,
) -> int:
    """Run a job: wake or launch the instance, send, run, fetch, mail, bring it down and prove it."""
    given: dict[str, Any] = {
        "inputs": inputs,
        "outputs": outputs,
        "output_dir": output_dir,
        "excludes": excludes,
        "env": _pairs(env),
        "timeout": timeout,
        "disposition": disposition,
        "on_driver_loss": on_driver_loss,
        "name": name,
        "instance": {
            "on": on,
            "image": image,
            "flavor": flavor,
            "max_lifetime": max_lifetime,
            "take_over": "force" if take_over_force else "yes" if take_over else None,
            "deadman": False if no_deadman else None,
        },
        "ssh": {"user": user, "keys": key},
        "email": {"to": email},
    }
    from jetrun.wiring import House  # noqa: PLC0415 - heavy

    with House() as house:
        asked = _job(job or [], _filled(given), house, as_command=as_command)
        if detach:
            from jetrun.cli.submitting import submitted  # noqa: PLC0415

            return submitted(house, asked, meant(cloud, openrc), no_alarm=no_alarm, as_json=as_json)
        return carry(house, asked, meant(cloud, openrc), as_json=as_json, quiet=quiet)


@functools.wraps(run)
def submit(*words: Any, **given: Any) -> int:
    """See ``submit.__doc__`` below: functools.wraps copies that of ``run``."""
    return run(*words, **{**given, "detach": True})


submit.__doc__ = (
    "Run a job without this terminal: prints its id at once; jetrun ps, logs -f, show and cancel go on from there."
)


def carry(house: House, job: Job, cloud: str | None, *, as_json: bool, quiet: bool = False) -> int:
    """Run *job* and print what became of it."""
    from jetrun.api import continue_run  # noqa: PLC0415
    from jetrun.cli.screen import TerminalScreen  # noqa: PLC0415

    choice = house.choose_cloud(cloud)
    screen = TerminalScreen(live=_is_terminal(2), stream_output=not quiet, output_to=2 if as_json else 1)
    for line in (*choice.warnings, *house.alarms()):
        screen.note(line)
    for name in sorted(job.env):
        if _SECRET_NAME.search(name):
            screen.note(
                f"env.{name} looks like a secret: what is in env is kept in the journal; read it from a file instead"
            )
    result = continue_run(house, house.begin(job, choice), screen=screen, watched=lambda: _is_terminal(2))
    return show(result, screen, as_json=as_json)


def show(result: Result, screen: Any, *, as_json: bool) -> int:
    """Print a result; the exit code."""
    from jetrun.cli.documents import printed, schema  # noqa: PLC0415

    screen.close()
    try:
        if as_json:
            # A program reads the document; whoever started the program sees this.
            for line in _said(result.document["error"] or {}):
                screen.note(line)
            sys.stdout.write(json.dumps(schema(result.document)) + "\n")
        else:
            sys.stdout.write(printed(result.document))
        sys.stdout.flush()
    except OSError:
        # Nobody reads; the exit code still says it. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return result.exit_code


def continue_(
    run: Annotated[str, typer.Argument(help="Id of the run, its beginning, or last.")],
    *,
    only_end: Annotated[bool, typer.Option("--only-end", help="Stop its script, collect, and bring it down.")] = False,
    as_json: Json = False,
) -> int:
    """Carry a run on whose process is gone, to its verified end."""
    from jetrun.api import continue_run  # noqa: PLC0415
    from jetrun.cli.screen import TerminalScreen  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        found = house.journal.find(run, unfinished=True)
        house.journal.tolerate()
        # Under a guardian nobody watches, and its log must not hold the script's output once more.
        stream = house.guardian is None
        screen = TerminalScreen(live=_is_terminal(2), stream_output=stream, output_to=2 if as_json else 1)
        house.reopen_if_unverified(found)
        result = continue_run(house, found, screen=screen, only_end=only_end, watched=lambda: _is_terminal(2))
        return show(result, screen, as_json=as_json)


def demo(
    *,
    folder: Annotated[Path | None, typer.Option("--dir", help="Where to keep it; by default a new folder.")] = None,
    as_json: Json = False,
) -> int:
    """The whole job on the embedded cloud: no account, no cost, the same protocols."""
    from jetrun.cli.demo import demonstrate  # noqa: PLC0415

    return demonstrate(folder, as_json=as_json)


FLAGS = {
    "script": "SCRIPT", "command": "-- COMMAND", "inputs": "--input", "outputs": "--output", "output_dir": "--output-dir",
    "excludes": "--exclude", "env": "--env", "timeout": "--timeout", "disposition": "--disposition", "name": "--name",
    "on_driver_loss": "--on-driver-loss", "instance.on": "--on", "instance.image": "--image", "instance.flavor": "--flavor",
    "instance.take_over": "--take-over", "instance.max_lifetime": "--max-lifetime", "instance.deadman": "--no-deadman",
    "ssh.user": "--ssh-user", "ssh.keys": "--ssh-key", "email.to": "--email",
}  # fmt: skip
"""The flag of each key, for messages."""


def _job(words: list[str], given: dict[str, Any], house: House, *, as_command: bool) -> Job:
    """The job that the command line means.

    Raises:
        UsageError: it means none, or a wrong one.
    """
    from jetrun.errors import UsageError  # noqa: PLC0415
    from jetrun.job_file import Layer, load  # noqa: PLC0415

    path = None
    if as_command:
        given["command"] = words
    elif len(words) == 1 and words[0].endswith(".toml"):
        path = Path(words[0])
    elif len(words) == 1:
        given["script"] = words[0]
    elif words:
        what = f"command line: {len(words)} words are given; a job file or a script is one word, a command follows --"
        raise UsageError(code="too-many-words", what=what, next="jetrun run -- " + " ".join(words))
    else:
        what = "command line: no job file, script or command is given"
        raise UsageError(code="no-job", what=what, next="jetrun run job.toml")
    defaults = Layer(data=house.config.defaults, where=lambda key: f"{house.config.path}: defaults.{key}")
    return load(path, command_line=given, flags=FLAGS, defaults=defaults, folder=Path.cwd())


def _pairs(given: list[str] | None) -> dict[str, str] | None:
    """NAME=VALUE words as a table."""
    from jetrun.errors import UsageError  # noqa: PLC0415

    for word in given or []:
        if "=" not in word:
            raise UsageError(code="env-wrong", what=f"--env {word!r} has no =", next="--env NAME=VALUE")
    return dict(word.split("=", 1) for word in given) if given else None


def _said(error: Mapping[str, Any]) -> list[str]:
    """What went wrong, what state that left, and what to type."""
    return [f"{key}: {error[key]}" for key in ("what", "state", "next") if error.get(key)]


def _filled(given: dict[str, Any]) -> dict[str, Any]:
    """Only what was given."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        inner = _filled(value) if isinstance(value, dict) and key != "env" else value
        if inner not in (None, {}, []):
            found[key] = inner
    return found


def _is_terminal(descriptor: int) -> bool:
    """Whether a person watches."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
