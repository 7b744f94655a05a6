"""The commands and how they are found: each group is imported when it is asked for, so that ``--help`` stays quick."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from jetrun import __version__
from jetrun.cli import clouds, drill, networks, reap, runs, setup, work
from jetrun.engine.guardian import PAGE
from jetrun.errors import ExitCode, JetrunError

app = typer.Typer(
    name="jetrun",
    help="Run a script on an OpenStack instance, bring the results back, and do not finish until it is proven down.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(*, wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"jetrun {__version__}\n")
        raise typer.Exit


@app.callback()
def main(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Say the version."
        ),
    ] = False,
) -> None:
    """Run a script on an OpenStack instance, bring the results back, and do not finish until it is proven down."""


work.add_to(app)
runs.add_to(app)
reap.add_to(app)
drill.add_to(app)
setup.add_to(app)
clouds.add_to(app)
networks.add_to(app)


@app.command(add_help_option=False)
def devcloud() -> None:
    """The embedded cloud: up, down, status, fault (jetrun devcloud --help lists them)."""
    # Never called: run_app hands everything after `devcloud` to an application of its own, so that its libraries are
    # imported only there. It stands here to be listed.


def run_app(argv: Sequence[str]) -> int:
    """Run one command line; the process's exit code.

    Every error of jetrun's comes out here, in its three parts, on stderr.
    """
    if argv and argv[0] == "devcloud":
        from jetrun.cli.devcloud import app as devcloud  # noqa: PLC0415 - only where it is asked for

        return _guarded(devcloud, argv[1:], "jetrun devcloud")
    # Typer knows no flag with an optional value: --take-over=force is its own flag inside.
    argv = ["--take-over-force" if word == "--take-over=force" else word for word in argv]
    if argv and argv[0] in {"run", "submit"} and "--" in argv:
        # Typer swallows the two dashes that say that a command follows, not a script.
        at = argv.index("--")
        argv = [*argv[:at], "--as-command", *argv[at:]]
    carried = PAGE in os.environ
    code = _guarded(app, argv, "jetrun")
    if argv and argv[0] in _REMINDING and not carried and not {"-h", "--help"} & set(argv):
        _remind(argv)
    return code


_REMINDING = frozenset(
    {"run", "submit", "ps", "show", "logs", "verify", "cancel", "continue", "collect", "extend", "reap", "doctor"}
    | {"schedule", "clouds", "network"}
)
"""Commands after which whoever typed them learns of every instance that is not proven down, and it is tried again."""


def _remind(argv: Sequence[str]) -> None:
    """Say what is not proven down. Whatever goes wrong with that changes nothing about the command that was typed."""
    from jetrun.config import home_of  # noqa: PLC0415

    try:
        if not (home_of() / "journal.sqlite").exists():
            return
        from jetrun.cli.reminding import remind  # noqa: PLC0415

        remind(dry="--dry-run" in argv)
    except JetrunError as error:
        _tell(error.render())
    except Exception as error:  # noqa: BLE001 - a reminder must not become a crash of the command
        _tell(f"jetrun could not look for instances that are not proven down: {type(error).__name__}: {error}")


def _guarded(which: typer.Typer, argv: Sequence[str], name: str) -> int:
    """One Typer application, its errors as exit codes."""
    try:
        code = which(args=list(argv), prog_name=name, standalone_mode=False)
    except JetrunError as error:
        if "--json" in argv:
            _print_refusal(error)
        _tell(error.render())
        return int(error.exit_code)
    except Exception as error:
        if type(error).__name__ in {"Exit", "Abort"}:
            return int(getattr(error, "exit_code", ExitCode.INTERRUPTED))
        show = getattr(error, "format_message", None)
        if show is None:
            raise
        _tell(f"error: usage\n  what:  {show()}\n  state: no instance was touched\n  next:  {name} --help")
        return int(ExitCode.USAGE)
    return int(code) if isinstance(code, int) else 0


def _print_refusal(error: JetrunError) -> None:
    """The JSON document of a run that was never begun: machines get one whatever happens."""
    import json  # noqa: PLC0415

    from jetrun.cli.documents import KEYS  # noqa: PLC0415

    document: dict[str, object] = dict.fromkeys(KEYS)
    document |= {"schema": 1, "outcome": "refused", "exit_code": int(error.exit_code), "error": error.as_dict()}
    document |= {"outputs": [], "phases": [], "outputs_missing": [], "warnings": [], "mail": {"state": "none"}}
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()


def _tell(text: str) -> None:
    """Write to stderr, which may be gone."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        return
