"""The two options that say which cloud is meant: an entry of clouds.yaml, or an openrc file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Cloud = Annotated[str | None, typer.Option("--os-cloud", help="An entry of clouds.yaml.")]
Rc = Annotated[
    Path | None,
    typer.Option("--openrc", help="An openrc file of the cloud's web page, instead; it is read, never run."),
]


def meant(cloud: str | None, openrc: Path | None) -> str | None:
    """The cloud's name, None for the usual one.

    Raises:
        UsageError: both are given.
    """
    if openrc is None:
        return cloud
    from jetrun.cloud.sources import named  # noqa: PLC0415 - only where it is needed
    from jetrun.errors import UsageError  # noqa: PLC0415

    if cloud is not None:
        raise UsageError(code="two-clouds", what="--os-cloud and --openrc name two clouds", next=f"--openrc {openrc}")
    return named(openrc)
