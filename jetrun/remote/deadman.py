"""The dead-man's switch: arms, reads and disarms the program guest/deadman.sh on the instance (DESIGN.md section 3, layer 3).

The program itself says what it does and why it can never take a machine from a person. Here are only its installation in one
round trip, its answers, and the text that arms it at first boot.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from jetrun.errors import RemoteCommandFailed, RemoteRefused
from jetrun.guarantee.power import RunId
from jetrun.remote import programs
from jetrun.remote.connection import SshConnection
from jetrun.remote.interface import Switch, SwitchReading
from jetrun.remote.shells import Reply

ARM_S = 45.0
"""systemd's daemon-reload takes seconds on a guest that is still booting."""

MARK_S = 8.0
"""The ending mark may not delay the shutdown."""

NEWER, ODD_VALUE, NO_ROOM, BUSY = 4, 5, 6, 7
"""Exit codes of deadman.sh."""

_INSTALL = """\
[ -O / ] 2>/dev/null || [ "$(id -u)" = 0 ] || [ -n "${DESTDIR:-}" ] || { echo 'not root' >&2; exit 126; }
dir="${DESTDIR:-}/var/lib/jetrun"
act=$1
shift
if [ "$act" = arm ]; then
	{ [ -d "$dir" ] || mkdir -p "$dir"; } && supervisor >"$dir/deadman.sh.new" &&
		mv -f "$dir/deadman.sh.new" "$dir/deadman.sh" || exit 6
fi
if [ ! -e "$dir/deadman.sh" ]; then
	echo state=absent
	exit 0
fi
exec /bin/sh "$dir/deadman.sh" "$act" "$@"
"""


def arm(connection: SshConnection, switch: Switch, folder: str) -> SwitchReading:
    """Install and arm the switch, replacing an older one, and read it back; one round trip.

    Args:
        folder: the run's folder on the instance, with the heartbeat and the exit file.

    Raises:
        RemoteRefused: a switch of a newer lease is armed there.
        RemoteCommandFailed: no root, no room, or its answer cannot be read.
        RemoteUnreachable: no answer.
    """
    reply = _run(connection, "arm", [*_settings(switch), f"folder={folder}"], within_s=ARM_S)
    if reply.exit_code == NEWER:
        there = parse(reply)
        raise RemoteRefused(
            code="switch-of-a-newer-lease",
            what=(
                f"the instance's dead-man's switch belongs to run {there.run}, whose lease (generation {there.generation}) "
                f"is newer than ours ({switch.generation})"
            ),
            next=f"jetrun show {there.run}",
        )
    if reply.exit_code != 0:
        raise _failed("arming the dead-man's switch", reply)
    return parse(reply)


def read(connection: SshConnection) -> SwitchReading:
    """Read the switch.

    Raises:
        RemoteCommandFailed: no root, or its answer cannot be read.
        RemoteUnreachable: no answer.
    """
    reply = _run(connection, "status", [], within_s=ARM_S)
    if reply.exit_code != 0:
        raise _failed("reading the dead-man's switch", reply)
    return parse(reply)


def begin_change(connection: SshConnection, run: RunId, act: str, *, within_s: float) -> Callable[[], SwitchReading]:
    """Begin to ``ending`` or ``disarm`` the switch of *run*; what is returned waits for its answer.

    Raises:
        RemoteRefused: the switch there is another run's.
        RemoteCommandFailed, RemoteUnreachable: as for :func:`read`.
    """
    answer = connection.begin(programs.assemble(_INSTALL, [act, run]), within_s=within_s, as_root=True)

    def changed() -> SwitchReading:
        reply = answer()
        if reply.exit_code == NEWER:
            raise RemoteRefused(
                code="switch-not-ours",
                what=f"the instance's dead-man's switch belongs to run {parse(reply).run}, not to {run}",
            )
        if reply.exit_code != 0:
            raise _failed(f"the dead-man's switch: {act}", reply)
        return parse(reply)

    return changed


def user_data(switch: Switch) -> str:
    """A first-boot script for cloud-init that arms the switch before anybody logs in.

    It is bound to the uuid that the instance reads of itself. Without the run's folder, which does not exist yet, only the
    deadline and the countdown count; arming over SSH adds the rest.
    """
    settings = " ".join(shlex.quote(word) for word in _settings(switch))
    return (
        "#!/bin/sh\n"
        "# Armed by jetrun: powers this instance off when its lease ends.\n"
        'dir="${DESTDIR:-}/var/lib/jetrun"\n'
        'mkdir -p "$dir"\n'
        f"cat >\"$dir/deadman.sh\" <<'@jetrun-end@'\n{programs.text('deadman')}@jetrun-end@\n"
        f'/bin/sh "$dir/deadman.sh" arm {settings}\n'
    )


def parse(reply: Reply) -> SwitchReading:
    """The reading that deadman.sh printed.

    Raises:
        RemoteCommandFailed: it printed something else.
    """
    found = programs.pairs(reply.output)
    deadline, generation = found.get("deadline", ""), found.get("generation", "")
    if "state" not in found:
        raise _failed("the dead-man's switch", reply)
    return SwitchReading(
        state=found["state"],
        run=found.get("run", ""),
        generation=int(generation) if generation.isdigit() else 0,
        deadline_at=datetime.fromtimestamp(int(deadline), UTC) if deadline.isdigit() else None,
        ticking=found.get("ticking") == "yes",
        how=found.get("how", ""),
        why=found.get("why", ""),
    )


def _settings(switch: Switch) -> Sequence[str]:
    """The switch as words for deadman.sh; whole seconds, rounded to the cheaper side for a deadline."""
    return [
        f"run={switch.run}",
        f"generation={switch.generation}",
        f"deadline={math.floor(switch.deadline_at.timestamp())}",
        f"countdown={max(1, math.ceil(switch.countdown_s))}",
        f"orphan_s={max(1, math.ceil(switch.orphan_s))}",
        f"tick_s={switch.tick_s:.3f}".rstrip("0").rstrip("."),
        f"gap_s={max(1, math.ceil(switch.gap_s))}",
    ]


def _run(connection: SshConnection, act: str, arguments: Sequence[str], *, within_s: float) -> Reply:
    program = programs.assemble(_INSTALL, [act, *arguments], supervisor=("deadman",) if act == "arm" else ())
    return connection.run(program, within_s=within_s, as_root=True)


def _failed(act: str, reply: Reply) -> RemoteCommandFailed:
    said = reply.errors_tail
    reason = {ODD_VALUE: "a value that it cannot keep", NO_ROOM: "no room on the disk", BUSY: "it is busy"}
    why = said or reason.get(reply.exit_code, "no passwordless sudo" if not reply.output else "it said nothing")
    return RemoteCommandFailed(
        what=f"{act} failed (exit code {reply.exit_code}): {why}", command_exit_code=reply.exit_code, stderr_tail=said
    )
