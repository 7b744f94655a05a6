"""What the instance says about itself, and whether we are root there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from jetrun.errors import RemoteCommandFailed
from jetrun.guarantee.power import RunId
from jetrun.remote import programs
from jetrun.remote.connection import SshConnection
from jetrun.remote.interface import GuestFacts

FACTS_S = 30.0
"""A just-booted guest may be slow with its first sudo (name lookups of its own host name)."""


def read(connection: SshConnection, run: RunId, *, people: bool) -> tuple[GuestFacts, str]:
    """The facts, and the run's folder on the instance.

    Args:
        people: also who is logged in.

    Raises:
        RemoteUnreachable: no answer.
        RemoteCommandFailed: the answer cannot be read.
    """
    # Root first, which may take its time: the clock is in the second answer.
    root = connection.run(programs.build(("root",)), within_s=FACTS_S, as_root=True)
    reply = connection.run(programs.build(("facts",), [run, "people" if people else ""]), within_s=FACTS_S)
    found = {**programs.pairs(reply.output), **programs.pairs(root.output)}
    lines = programs.decode(reply.output).splitlines()
    try:
        seconds, _, fraction = found["now"].partition(".")
        # A date(1) without %N prints the letter.
        now_s = int(seconds) + (float(f"0.{fraction}") if fraction.isdigit() else 0.5)
        facts = GuestFacts(
            now_at=datetime.fromtimestamp(now_s, UTC),
            boot_id=found["boot"],
            has_root=root.exit_code == 0 and found.get("root") == "yes",
            has_rsync=found["rsync"] == "yes",
            logged_in=tuple(sorted({line[5:] for line in lines if line.startswith("user=")})),
            load_1m=float(found["load"]),
            cpus=_cpus(found),
        )
    except (KeyError, ValueError) as error:
        raise RemoteCommandFailed(
            what=f"the instance does not say what it is: {reply.errors_tail or found}",
            command_exit_code=reply.exit_code,
            stderr_tail=reply.errors_tail,
        ) from error
    return facts, found["base"]


def _cpus(found: Mapping[str, str]) -> int:
    """How many processors: of a count, or of a list of ranges such as ``0-3,8`` (cputopology.rst of the kernel).

    Raises:
        KeyError, ValueError: neither is there.
    """
    if "online" not in found:
        return int(found["cpus"])
    ranges = [part.partition("-") for part in found["online"].split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
