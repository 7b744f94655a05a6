"""The process's door: runs the command line and turns an error into its three parts and its exit code."""

from __future__ import annotations

import gc
import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn

OBJECTS_PER_COLLECTION = 50_000
"""Between two collections of garbage; Python's 700 spends a quarter of the start on objects that imports have just made
(measured: openstacksdk, fabric and typer in 0.33 s instead of 0.44 s). 50,000 small objects are some 5 MB."""

LOST = 125
"""Exit code where all went well but the output was lost; ``ExitCode.INTERNAL``, which is not imported for it."""


def main() -> NoReturn:
    """Run the command line; never returns."""
    gc.set_threshold(OBJECTS_PER_COLLECTION)
    _have_streams()
    from jetrun.cli.app import run_app  # noqa: PLC0415 - nothing is imported before it is needed

    leave(run_app(sys.argv[1:]))


def _have_streams() -> None:
    """Where a stream was closed before we began, nobody listens; Python has None there, which nothing can be written to."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def leave(code: int) -> NoReturn:
    """End the process, once all that was said is out.

    Everything is closed by now, and Python would spend a quarter of a second on taking its modules apart.
    """
    logging.shutdown()
    try:
        # Closed, or nobody reads it any more: the exit code still says how it went.
        with suppress(BrokenPipeError, ValueError):
            sys.stdout.flush()
    except OSError as error:
        # A full disk. What was to be said is lost; that it is lost is not.
        code = code or LOST
        with suppress(OSError, ValueError):
            sys.stderr.write(f"error: the output could not be written: {error}\n")
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
