"""What the instance says about itself, in one round trip."""

from __future__ import annotations

from datetime import UTC, datetime

from jetrun.errors import RemoteCommandFailed
from jetrun.guarantee.power import RunId
from jetrun.remote import programs
from jetrun.remote.connection import SshConnection
from jetrun.remote.interface import GuestFacts

FACTS_S = 30.0
"""A just-booted guest may be slow with its first sudo (name lookups of its own host name)."""


def read(connection: SshConnection, run: RunId) -> tuple[GuestFacts, str]:
    """The facts, and the run's folder on the instance.

    Raises:
        RemoteUnreachable: no answer.
        RemoteCommandFailed: the answer cannot be read.
    """
    reply = connection.run(programs.build(("facts",), [run]), within_s=FACTS_S)
    found = programs.pairs(reply.output)
    lines = programs.decode(reply.output).splitlines()
    try:
        seconds, _, fraction = found["now"].partition(".")
        # A date(1) without %N prints the letter.
        now_s = int(seconds) + (float(f"0.{fraction}") if fraction.isdigit() else 0.5)
        facts = GuestFacts(
            now_at=datetime.fromtimestamp(now_s, UTC),
            boot_id=found["boot"],
            has_root=found["root"] == "yes",
            has_rsync=found["rsync"] == "yes",
            free_bytes=int(found["free_kib"]) * 1024,
            logged_in=tuple(sorted({line[5:] for line in lines if line.startswith("user=")})),
            load_1m=float(found["load"]),
            cpus=int(found["cpus"]),
        )
    except (KeyError, ValueError) as error:
        raise RemoteCommandFailed(
            what=f"the instance does not say what it is: {reply.errors_tail or found}",
            command_exit_code=reply.exit_code,
            stderr_tail=reply.errors_tail,
        ) from error
    return facts, found["base"]
