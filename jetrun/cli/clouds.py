"""``jetrun clouds``: what is configured here, which project each leads to, and with --check whether it lets us in."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

KINDS = {"applicationcredential": "application credential", "password": "password", "token": "token"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One configured cloud.

    Attributes:
        works: True, False, or None where it was not tried. ends_at: of an application credential.
    """

    name: str
    project: str
    user: str
    login: str
    region: str
    where: str
    works: bool | None = None
    ends_at: str = ""
    what: str = ""

    def line(self, widths: dict[str, int]) -> str:
        """As a person reads it."""
        mark = {True: "works", False: "FAILS", None: ""}[self.works]
        cells = [getattr(self, key).ljust(width) for key, width in widths.items()]
        tail = [one for one in (mark, f"until {self.ends_at}" if self.ends_at else "", self.what) if one]
        return "  ".join([*cells, *tail]).rstrip()


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(clouds)


def clouds(
    *,
    check: Annotated[bool, typer.Option("--check", help="Log in at each: does it work, and until when?")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """List the clouds that are configured here, and the project that each leads to."""
    from jetrun.wiring import House  # noqa: PLC0415

    with House() as house:
        rows = [tried(house, row) if check else row for row in configured(house.environ)]
    if as_json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows]) + "\n")
    elif not rows:
        sys.stdout.write(
            "no cloud is configured: there is no clouds.yaml, and OS_AUTH_URL is not set\n  next: jetrun init\n"
        )
    else:
        widths = {
            key: max(len(getattr(row, key)) for row in rows) for key in ("name", "project", "user", "login", "where")
        }
        for row in rows:
            sys.stdout.write(row.line(widths) + "\n")
    return 1 if any(row.works is False for row in rows) else 0


def configured(environ: Any) -> Iterator[Row]:
    """Every entry of clouds.yaml, and the OS_* variables where they say enough.

    Raises:
        UsageError: a file cannot be read.
    """
    from jetrun.cloud.cloud_files import entries  # noqa: PLC0415 - openstacksdk costs a third of a second

    for name, where, entry in entries(environ):
        auth = entry.get("auth") or {}
        kind = str(entry.get("auth_type", "password")).removeprefix("v3")
        own = kind == "applicationcredential"
        yield Row(
            name="(OS_* variables)" if name == "envvars" else name,
            project="(the credential's own)" if own else str(auth.get("project_name") or auth.get("project_id") or "?"),
            user="" if own else str(auth.get("username") or auth.get("user_id") or "?"),
            login=KINDS.get(kind, kind),
            region=str(entry.get("region_name") or ""),
            where=where,
        )


def tried(house: Any, row: Row) -> Row:
    """The same with what a login says."""
    from dataclasses import replace  # noqa: PLC0415

    from jetrun.errors import CloudError, UsageError  # noqa: PLC0415

    try:
        choice = house.choose_cloud("envvars" if row.name.startswith("(") else row.name)
        me = house.open_cloud(choice).identify()
    except (CloudError, UsageError) as error:
        return replace(row, works=False, what=error.what)
    ends = me.credential_expires_at
    return replace(
        row,
        works=True,
        project=me.project_name,
        user=me.user_name,
        ends_at=f"{ends:%Y-%m-%d %H:%MZ}" if ends is not None else "",
    )
