"""Puts the credential for self-shelve beside the dead-man's switch, with the program that uses it, and tries it from there.

Both go through the standard input of ``sh -s``: no command line, environment, user data or log ever holds the secret.
"""

from __future__ import annotations

import json
from importlib import resources

from jetrun.cloud.interface import ShelveKey
from jetrun.errors import RemoteCommandFailed
from jetrun.guarantee.power import RunId
from jetrun.remote import programs
from jetrun.remote.connection import SshConnection

ARM_S = 75.0
"""deadman.sh gives the attempt 60 s; a cloud that answers takes two."""

_END = "@jetrun-end@"

_INSTALL = """\
dir="${DESTDIR:-}/var/lib/jetrun"
[ -e "$dir/deadman.sh" ] || { echo 'there is no switch' >&2; exit 4; }
umask 077
source >"$dir/shelve.py.new" && mv -f "$dir/shelve.py.new" "$dir/shelve.py" && payload >"$dir/shelve.json.new" || exit 6
exec /bin/sh "$dir/deadman.sh" shelve "$1"
"""


def arm(connection: SshConnection, run: RunId, key: ShelveKey) -> str:
    """Give the switch of *run* the credential: why the cloud does not take it from there, empty when it does.

    Raises:
        RemoteCommandFailed: it could not be put there.
        RemoteUnreachable: no answer.
    """
    settings = {
        "id": key.key_id,
        "secret": key.secret.reveal(),
        "auth_url": key.auth_url,
        "instance_url": key.instance_url,
        "cacert": key.cacert,
    }
    text = resources.files("jetrun.remote").joinpath("guest", "shelve.py").read_text(encoding="ascii")
    body = f"source() {{\ncat <<'{_END}'\n{text}{_END}\n}}\n{_INSTALL}"
    program = programs.assemble(body, [run], payload=json.dumps(settings).encode("ascii"))
    reply = connection.run(program, within_s=ARM_S, as_root=True)
    said = programs.pairs(reply.output).get("shelve", "")
    if reply.exit_code != 0 or not said:
        raise RemoteCommandFailed(
            what=f"giving the switch its credential failed (exit code {reply.exit_code}): {reply.errors_tail}",
            command_exit_code=reply.exit_code,
        )
    return "" if said == "ready" else said
