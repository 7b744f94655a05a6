"""``jetrun network create``: what a project needs before its first launch, shown, asked about, made once."""

from __future__ import annotations

import ipaddress
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from jetrun.cli.which_cloud import Cloud, Rc, meant

if TYPE_CHECKING:
    from jetrun.cloud.topology_pieces import Piece

network = typer.Typer(
    name="network", help="The network that launched instances use.", no_args_is_help=True, rich_markup_mode=None
)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(network)


@network.callback()
def main() -> None:
    """The network that launched instances use."""


@network.command()
def create(
    *,
    name: Annotated[
        str, typer.Option(help="Of the network, subnet, router and key pair; the group is NAME-ssh.")
    ] = "jetrun",
    ssh_from: Annotated[
        list[str] | None,
        typer.Option("--ssh-from", help="Who may reach port 22: an address or range such as 198.51.100.0/24, or any."),
    ] = None,
    cidr: Annotated[
        str | None, typer.Option("--range", help="Of the subnet; default: the first 10.x.0.0/24 that is free.")
    ] = None,
    external: Annotated[str | None, typer.Option(help="The external network, where there are several.")] = None,
    own: Annotated[
        bool, typer.Option("--own", help="Objects of one's own, though the cloud has an automatic network.")
    ] = False,
    automatic: Annotated[bool, typer.Option("--automatic", help="The cloud's automatic network, or nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Make them without a question.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what there is and what would be made.")] = False,
    cloud: Cloud = None,
    openrc: Rc = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Make what a launch needs: network, router, SSH rule, key pair. Once; nothing that exists is changed."""
    from jetrun.cloud.topology import Topology  # noqa: PLC0415 - heavy, with what follows
    from jetrun.cloud.topology_pieces import Wish  # noqa: PLC0415
    from jetrun.cloud.wire import Wire  # noqa: PLC0415
    from jetrun.errors import UsageError  # noqa: PLC0415
    from jetrun.wiring import House  # noqa: PLC0415

    if own and automatic:
        raise UsageError(code="own-and-automatic", what="--own and --automatic exclude each other", next="--own")
    sources = _sources(ssh_from)
    with House() as house:
        wire = Wire(house.choose_cloud(meant(cloud, openrc)))
        try:
            wish = Wish(
                name=name, ssh_from=sources, public_key=house.public_key(), cidr=cidr, external=external,
                automatic=True if automatic else False if own else None,
            )  # fmt: skip
            topology = Topology(wire, wish)
            pieces = topology.look()
            _show(pieces)
            missing = [piece for piece in pieces if not piece.exists]
            if missing and not dry_run:
                _agreed(len(missing), yes=yes)
                pieces = topology.make(_made)
            if as_json:
                sys.stdout.write(json.dumps([asdict(piece) for piece in pieces]) + "\n")
            elif all(piece.exists for piece in pieces):
                sys.stdout.write(_lines(pieces, topology.group_name))
        finally:
            wire.close()
    return 0


def _show(pieces: list[Piece]) -> None:
    for piece in pieces:
        sys.stderr.write(piece.line() + "\n")


def _made(piece: Piece) -> None:
    sys.stderr.write(f"made: {piece.kind} {piece.name} {piece.detail}\n")


def _lines(pieces: list[Piece], group: str) -> str:
    """What to write into a job file."""
    inner = pieces[0].name
    return f'all is there. In your job file:\n[instance]\nnetwork = "{inner}"\nsecurity_groups = ["{group}"]\n'


def _agreed(count: int, *, yes: bool) -> None:
    """A person's yes.

    Raises:
        UsageError: nobody is there to say it, or the answer is no.
    """
    from jetrun.errors import UsageError  # noqa: PLC0415

    if yes:
        return
    if not (sys.stdin is not None and sys.stdin.isatty()):
        what = f"{count} objects would be made, and there is no terminal to ask at"
        raise UsageError(code="not-agreed", what=what, next="jetrun network create --yes ...")
    sys.stderr.write(f"make these {count}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise UsageError(code="not-agreed", what="nothing was made", next="jetrun network create")


def _sources(given: list[str] | None) -> tuple[str, ...]:
    """The ranges that SSH may come from, as CIDRs.

    Raises:
        UsageError: none is given, or one is no range.
    """
    from jetrun.errors import UsageError  # noqa: PLC0415

    if not given:
        raise UsageError(
            code="ssh-from-where",
            what="who may reach the instances by SSH is not said; an open port is tried by strangers within minutes",
            next="--ssh-from 198.51.100.0/24   # your university's range; or --ssh-from any, with keys only",
        )
    found: list[str] = []
    for one in given:
        if one == "any":
            found.append("0.0.0.0/0")
            continue
        try:
            found.append(str(ipaddress.ip_network(one, strict=False)))
        except ValueError as error:
            raise UsageError(
                code="ssh-from-wrong",
                what=f"--ssh-from {one!r} is no address or range",
                next="--ssh-from 198.51.100.0/24",
            ) from error
    return tuple(dict.fromkeys(found))
