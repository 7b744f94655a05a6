"""``SshRemote``: one instance over SSH, for one run; the engine's ``Remote``. Each method is one act, told in the module it calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from jetrun.cloud.interface import ShelveKey
from jetrun.errors import InternalError, RemoteError, RemoteUnreachable
from jetrun.guarantee.power import InstanceId, RunId
from jetrun.remote import deadman, execution, facts, host_keys, opening, programs, self_shelve
from jetrun.remote.connection import SshConnection
from jetrun.remote.host_keys import HostKeyFolder
from jetrun.remote.interface import (
    Connected,
    GuestFacts,
    LogFollower,
    ScriptReading,
    ScriptSpec,
    Switch,
    SwitchReading,
    Target,
    Transfer,
    Upload,
)
from jetrun.remote.openssh import OpenSsh
from jetrun.remote.sync import Sync

PREPARE_S = 60.0
BEAT_S = 10.0
WARN_S = 10.0
"""Deadlines of one command each. A heartbeat that takes longer than 10 s is a connection that does not stand."""

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_BEAT = 'd=$HOME/.jetrun/$1; [ -d "$d" ] || (umask 077 && mkdir -p "$d") && touch "$d/heartbeat"\n'
_WALL = """\
if sudo -n true 2>/dev/null; then printf '%s\\n' "$1" | sudo -n wall; else printf '%s\\n' "$1" | wall; fi
"""


class SshRemote:
    """One instance over SSH, for one run.

    Args:
        run: names the run's folder on the instance. host_keys: the folder of pinned host keys.
        shares: begin the connection of the transfers at once, because there will be some.
    """

    def __init__(self, run: RunId, *, host_keys: Path, shares: bool = True) -> None:
        if not _RUN.fullmatch(run):
            raise InternalError(what=f"{run!r} cannot name a run", next="jetrun ps")
        self._run = run
        self._keys = HostKeyFolder(host_keys)
        self._shares = shares
        self._connection: SshConnection | None = None
        self._ssh: OpenSsh | None = None
        self._base = ""
        self._guest_has_rsync = True

    @property
    def _open(self) -> SshConnection:
        if self._connection is None:
            raise RemoteUnreachable(what="there is no SSH connection to the instance")
        return self._connection

    def is_pinned(self, instance: InstanceId) -> bool:
        """Whether a host key of *instance* is pinned already, so that the console log need not be read."""
        return bool(self._keys.pinned(instance))

    def parse_console(self, text: str) -> Sequence[str]:
        """Host keys (``ssh-ed25519 AAAA...``) that cloud-init wrote to a console log; may be empty."""
        return host_keys.parse_console(text)

    def connect(self, target: Target, *, within_s: float) -> Connected:
        """Connect once, in place of an older connection.

        Raises:
            RemoteUnreachable: nothing answers in time.
            RemoteRefused: the host key, or our key, is refused.
        """
        self.close()
        opened, connected = opening.connect(target, self._keys, within_s=within_s)
        self._connection = opened
        self._ssh = OpenSsh(target, self._keys.path(target.instance))
        if self._shares:
            # Its handshake goes on while we ask for the facts: the first transfer then needs none.
            self._ssh.share()
        return connected

    def close(self) -> None:
        """Close connections. Never raises."""
        ssh, self._ssh = self._ssh, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if ssh is not None:
            ssh.close()

    def facts(self, *, people: bool) -> GuestFacts:
        """What the instance says about itself; with *people* also who is logged in.

        Raises:
            RemoteError: no answer, or not one that can be read.
        """
        read, self._base = facts.read(self._open, self._run, people=people)
        self._guest_has_rsync = read.has_rsync
        return read

    def _folder(self) -> str:
        """The run's folder on the instance, absolute."""
        if not self._base:
            self.facts(people=False)
        return self._base

    def first_boot(self, switch: Switch) -> str:
        """User data that arms the switch at an instance's first boot."""
        return deadman.user_data(switch)

    def arm_switch(self, switch: Switch) -> SwitchReading:
        """Arm the dead-man's switch, replacing an older one, and read it back.

        Raises:
            RemoteRefused: a newer lease's switch is armed.
            RemoteError: it could not be armed.
        """
        return deadman.arm(self._open, switch, self._folder())

    def read_switch(self) -> SwitchReading:
        """Read the switch.

        Raises:
            RemoteError: it could not be read.
        """
        return deadman.read(self._open)

    def arm_self_shelve(self, key: ShelveKey) -> str:
        """Give the armed switch of this run a credential: why the cloud does not take it from there, empty when it does.

        Raises:
            RemoteError: it could not be put there.
        """
        return self_shelve.arm(self._open, self._run, key)

    def mark_ending(self) -> Callable[[], None]:
        """Begin to tell the switch that the run is ending: at the next boot it disarms itself.

        What is returned waits for its word; it may not be called after :meth:`close`.

        Raises:
            RemoteError: it could not be told within its short time; of the part that waits too.
        """
        answer = deadman.begin_change(self._open, self._run, "ending", within_s=deadman.MARK_S)

        def wait() -> None:
            answer()

        return wait

    def disarm_switch(self) -> None:
        """Disarm the switch (an instance that is handed back running).

        Raises:
            RemoteError: it could not be disarmed.
        """
        deadman.begin_change(self._open, self._run, "disarm", within_s=deadman.ARM_S)()

    def warn_users(self, text: str) -> None:
        """``wall`` *text* to logged-in users. Never raises."""
        with suppress(RemoteError):
            self._open.run(programs.assemble(_WALL, [text]), within_s=WARN_S)

    def beat(self) -> None:
        """Touch the heartbeat file.

        Raises:
            RemoteError: no answer, or no room.
        """
        reply = self._open.run(programs.assemble(_BEAT, [self._run]), within_s=BEAT_S)
        if reply.exit_code != 0:
            raise execution.failed("the heartbeat", reply)

    def prepare(self, script: bytes | None, script_name: str) -> None:
        """Make the run's folders and put the script there, executable. Repeatable.

        Raises:
            RemoteError: no answer, or no room.
        """
        name = Path(script_name).name if script is not None else ""
        program = programs.build(("prepare",), [self._run, name], payload=script or b"")
        reply = self._open.run(program, within_s=PREPARE_S)
        if reply.exit_code != 0:
            raise execution.failed("preparing the run's folder", reply)

    def _sync(self) -> Sync:
        connection, base = self._open, self._folder()
        if self._ssh is None:
            raise RemoteUnreachable(what="there is no SSH connection to the instance")
        return Sync(connection, self._ssh, self._run, base, guest_has_rsync=self._guest_has_rsync)

    def upload(self, uploads: Sequence[Upload], *, excludes: Sequence[str]) -> Transfer:
        """Start copying inputs into the work folder; only differences go.

        Raises:
            RemoteError: it could not begin.
        """
        return self._sync().upload(uploads, excludes=excludes)

    def start_script(self, spec: ScriptSpec) -> ScriptReading:
        """Start the script detached, or find it started; never a second one.

        Raises:
            RemoteError: it could not be started, or nobody knows yet: then call again.
        """
        return execution.start(self._open, self._run, spec)

    def read_script(self) -> ScriptReading:
        """How the script stands.

        Raises:
            RemoteError: no answer.
        """
        return execution.read(self._open, self._run)

    def follow(self, offset: int) -> LogFollower:
        """Follow the log from byte *offset*.

        Raises:
            RemoteError: it could not begin.
        """
        return execution.SshLogFollower(self._open, self._run, offset)

    def signal_script(self, signal: int) -> None:
        """Send *signal* to the script and everything it started that can be found.

        Raises:
            RemoteError: no answer, or it failed.
        """
        execution.send_signal(self._open, self._run, signal)

    def download(self, outputs: Sequence[str], into: Path) -> Transfer:
        """Start fetching outputs (paths or globs below the work folder) into the local folder *into*.

        Raises:
            RemoteError: it could not begin.
        """
        return self._sync().download(outputs, into)

    def download_log(self, into: Path) -> Transfer:
        """Start fetching the whole log to the local file *into*.

        Raises:
            RemoteError: it could not begin.
        """
        return self._sync().download_log(into)
