"""The instance as a value in virtual time: SSH works while it is on, the script takes its time, the switch ticks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from jetrun.cloud.interface import ShelveKey
from jetrun.devcloud.state import CloudState
from jetrun.errors import RemoteCommandFailed, RemoteUnreachable
from jetrun.guarantee.power import InstanceId
from jetrun.remote.interface import (
    Connected,
    GuestFacts,
    ScriptReading,
    ScriptSpec,
    ScriptState,
    Switch,
    SwitchReading,
    Target,
    TransferReading,
    TransferState,
    Upload,
)
from jetrun.testing.clock import SimClock


@dataclass
class Guest:
    """What is on one instance's disk and in its memory.

    Attributes:
        boot: launched_at or the newest start of the model, by which a reboot is known.
    """

    switch: Switch | None = None
    switch_state: str = "absent"
    script_started_at: datetime | None = None
    script_boot: str = ""
    ended: ScriptReading | None = None
    files: set[str] = field(default_factory=set)
    starts: int = 0


class SimRemote:
    """One run's hands on the modelled instances. Satisfies ``remote.interface.Remote``.

    Args:
        script_s: how long the script takes. exit_code: how it ends. outputs_missing: what it does not leave behind.
        guests: disks by instance, shared by all runs of a simulation.
    """

    def __init__(
        self,
        state: CloudState,
        clock: SimClock,
        guests: dict[str, Guest],
        *,
        script_s: float = 60.0,
        exit_code: int = 0,
        outputs_missing: Sequence[str] = (),
    ) -> None:
        self._state = state
        self._clock = clock
        self._guests = guests
        self._script_s = script_s
        self._exit_code = exit_code
        self._missing = tuple(outputs_missing)
        self._connected: InstanceId | None = None
        self._boot = ""

    # --- connection ---

    def is_pinned(self, instance: InstanceId) -> bool:
        """Host keys are not simulated."""
        del instance
        return True

    def parse_console(self, text: str) -> Sequence[str]:
        """None are there."""
        del text
        return ()

    def connect(self, target: Target, *, within_s: float) -> Connected:
        """Connect if the instance is on and no fault is in the way."""
        self._state.nova.advance(self._clock.now())
        silent = self._state.faults.take("ssh.connect", "ssh-silent")
        refused = self._state.faults.take("ssh.connect", "ssh-refused")
        server = self._state.nova.servers[target.instance]
        if silent or not server.really_on or server.vm_state != "active":
            self._clock.sleep(within_s)
            raise RemoteUnreachable(what="no answer to SSH")
        if refused:
            self._clock.sleep(0.1)
            raise RemoteUnreachable(what="SSH refused")
        if self._state.faults.take("ssh.connect", "guest-poweroff"):
            self._state.nova.guest_powered_off(target.instance, self._clock.now())
        self._clock.sleep(0.3)
        self._connected, self._boot = target.instance, _boot_of(server)
        return Connected(host_key_trust="pinned", host_key_fingerprint="")

    def close(self) -> None:
        """Leave."""
        self._connected = None

    def _guest(self, takes_s: float = 0.05) -> Guest:
        """The instance's disk, if the connection still stands.

        Raises:
            RemoteUnreachable: it does not.
        """
        self._clock.sleep(takes_s)
        self._state.nova.advance(self._clock.now())
        if self._connected is None:
            raise RemoteUnreachable(what="not connected")
        server = self._state.nova.servers[self._connected]
        dropped = self._state.faults.take("ssh.connect", "ssh-drop")
        if dropped or not server.really_on or server.vm_state != "active" or _boot_of(server) != self._boot:
            self._connected = None
            raise RemoteUnreachable(what="the connection broke")
        return self._guests.setdefault(server.id, Guest())

    # --- facts and the switch ---

    def facts(self, *, people: bool) -> GuestFacts:
        """An idle instance with everything there."""
        del people
        self._guest()
        return GuestFacts(
            now_at=self._clock.now(), boot_id=self._boot, has_root=True, has_rsync=True,
            logged_in=(), load_1m=0.0, cpus=2,
        )  # fmt: skip

    def first_boot(self, switch: Switch) -> str:
        """Guests of the simulation run no cloud-init: the words that would be given to it."""
        return f"switch of {switch.run}"

    def arm_switch(self, switch: Switch) -> SwitchReading:
        """Arm it."""
        guest = self._guest()
        guest.switch, guest.switch_state = switch, "armed"
        return self.read_switch()

    def read_switch(self) -> SwitchReading:
        """Read it."""
        guest = self._guest()
        switch = guest.switch
        return SwitchReading(
            state=guest.switch_state,
            run=switch.run if switch else "",
            generation=switch.generation if switch else 0,
            deadline_at=switch.deadline_at if switch else None,
            ticking=guest.switch_state == "armed",
        )

    def arm_self_shelve(self, key: ShelveKey) -> str:
        """The simulated switch only powers off."""
        del key
        self._guest()
        return ""

    def mark_ending(self) -> Callable[[], None]:
        """The run is ending; the word is there at once."""
        self._guest().switch_state = "ending"
        return lambda: None

    def disarm_switch(self) -> None:
        """Disarm."""
        self._guest().switch_state = "disarmed"

    def warn_users(self, text: str) -> None:
        """Nobody is there."""
        del text

    def beat(self) -> None:
        """A heartbeat."""
        self._guest()

    # --- the script ---

    def prepare(self, script: bytes | None, script_name: str) -> None:
        """Make folders."""
        del script, script_name
        self._guest()

    def upload(self, uploads: Sequence[Upload], *, excludes: Sequence[str]) -> SimTransfer:
        """Send."""
        del excludes
        guest = self._guest()
        guest.files |= {one.name for one in uploads}
        return SimTransfer(TransferReading(state=TransferState.DONE))

    def start_script(self, spec: ScriptSpec) -> ScriptReading:
        """Start it, once."""
        del spec
        guest = self._guest()
        if guest.script_started_at is None:
            guest.starts += 1
            guest.script_started_at, guest.script_boot = self._clock.now(), self._boot
        return self.read_script()

    def read_script(self) -> ScriptReading:
        """How it stands, by the time that has passed."""
        guest = self._guest()
        if guest.script_started_at is None:
            return ScriptReading(state=ScriptState.ABSENT)
        if guest.ended is not None:
            return guest.ended
        end_at = guest.script_started_at + timedelta(seconds=self._script_s)
        if guest.script_boot != self._boot:
            return ScriptReading(state=ScriptState.VANISHED, started_at=guest.script_started_at)
        if self._clock.now() < end_at:
            return ScriptReading(state=ScriptState.RUNNING, started_at=guest.script_started_at)
        guest.ended = ScriptReading(
            state=ScriptState.ENDED, exit_code=self._exit_code, started_at=guest.script_started_at, ended_at=end_at
        )
        return guest.ended

    def follow(self, offset: int) -> SimFollower:
        """It prints nothing."""
        del offset
        self._guest()
        return SimFollower(self, self._clock)

    def signal_script(self, signal: int) -> None:
        """It heeds every signal."""
        guest = self._guest()
        if guest.script_started_at is None:
            raise RemoteCommandFailed(what="no script", command_exit_code=1)
        if guest.ended is None:
            guest.ended = ScriptReading(
                state=ScriptState.ENDED, exit_code=128 + signal, signal=signal, started_at=guest.script_started_at,
                ended_at=self._clock.now(),
            )  # fmt: skip

    def download(self, outputs: Sequence[str], into: Path) -> SimTransfer:
        """Fetch."""
        del outputs, into
        self._guest()
        return SimTransfer(TransferReading(state=TransferState.DONE, missing=self._missing))

    def download_log(self, into: Path) -> SimTransfer:
        """Fetch the log."""
        del into
        self._guest()
        return SimTransfer(TransferReading(state=TransferState.DONE))


class SimTransfer:
    """A transfer that is over when it is looked at."""

    def __init__(self, reading: TransferReading) -> None:
        self._reading = reading

    def poll(self) -> TransferReading:
        """How it stands."""
        return self._reading

    def cancel(self) -> None:
        """Nothing runs."""


class SimFollower:
    """The log of a script that prints nothing."""

    def __init__(self, remote: SimRemote, clock: SimClock) -> None:
        self._remote = remote
        self._clock = clock

    def read(self, max_bytes: int, wait_s: float) -> bytes:
        """Nothing, after a while; a long one, so that a simulated hour is not a hundred thousand steps."""
        del max_bytes
        self._clock.sleep(max(wait_s, 5.0))
        return b""

    @property
    def ended(self) -> bool:
        """Whether the script has ended."""
        return self._remote.read_script().state is not ScriptState.RUNNING

    def close(self) -> None:
        """Leave."""


def _boot_of(server: object) -> str:
    """What changes with every boot of the modelled instance: its newest start in the log."""
    actions = getattr(server, "actions", [])
    starts = [row["request_id"] for row in actions if row["action"] in {"create", "start", "unshelve", "reboot"}]
    return str(starts[-1]) if starts else ""
