"""The process's door: runs the command line and turns an error into its three parts and its exit code."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; never returns."""
    from jetrun.cli.app import run_app  # noqa: PLC0415 - nothing is imported before it is needed

    sys.exit(run_app(sys.argv[1:]))


if __name__ == "__main__":
    main()
