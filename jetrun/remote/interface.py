"""What the engine needs of a running instance. Values and a Protocol; no I/O, no vendor import.

Every call has a deadline of its own and raises only ``RemoteError``'s kinds. Nothing here blocks longer than its
deadline; transfers and the log are polled, so that one loop can watch everything. Times are aware UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from jetrun.cloud.interface import ShelveKey
from jetrun.errors import Secret
from jetrun.guarantee.power import InstanceId, RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where and as whom to connect.

    Attributes:
        console_host_keys: ``ssh-ed25519 AAAA...`` lines from the console log; empty: trust on first use, said aloud.
        identities: private key files to try, in order; an agent and other keys are never used.
    """

    instance: InstanceId
    host: str
    port: int
    user: str
    identities: Sequence[Path]
    console_host_keys: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """How the host key was trusted: ``console`` (the cloud's log has it), ``pinned`` (as before), ``first-use``."""

    host_key_trust: str
    host_key_fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFacts:
    """What the instance says about itself.

    Attributes:
        now_at: its clock. boot_id: changes with every boot. has_root: ``sudo -n`` works.
        logged_in: names of logged-in users other than this connection's own session, where that was asked for; may be empty.
        load_1m: load average over a minute; cpus: how many.
    """

    now_at: datetime
    boot_id: str
    has_root: bool
    has_rsync: bool
    logged_in: Sequence[str]
    load_1m: float
    cpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """How the dead-man's switch is to be armed.

    Attributes:
        deadline_at: absolute, the lease's deadline in guest time. countdown_s: the same as a monotonic countdown.
        orphan_s: G of DESIGN.md; generation: the lease's; tick_s, gap_s: as in guarantee/constants.py.
    """

    instance: InstanceId
    run: RunId
    generation: int
    deadline_at: datetime
    countdown_s: float
    orphan_s: float
    tick_s: float
    gap_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchReading:
    """What the switch on the instance says when it is read back.

    Attributes:
        state: ``armed``, ``ending``, ``spent``, ``disarmed``, ``absent``, or ``unreadable`` (then it does nothing).
        ticking: its timer is really scheduled (systemd's own word, or the loop's living pid).
        how: what ticks: ``systemd``, ``loop`` (with cron to begin it at a boot), ``loop, not after a reboot``.
        why: it fired or disarmed itself; empty otherwise.
    """

    state: str
    run: str
    generation: int
    deadline_at: datetime | None
    ticking: bool
    how: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptSpec:
    """The script to run, detached.

    Attributes:
        command: argv to execute in the work folder; the script's own path comes first where a script was sent.
        env: written to a 0600 file on the instance and never to a command line; Secret values are revealed only there.
    """

    command: Sequence[str]
    env: Mapping[str, str | Secret] = field(default_factory=dict)


class ScriptState(StrEnum):
    """What the files of the script on the instance say."""

    ABSENT = "absent"
    RUNNING = "running"
    ENDED = "ended"
    VANISHED = "vanished"  # it was started, no exit code was written, and no process of it lives (reboot, kill -9 of its supervisor)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptReading:
    """One look at the script.

    Attributes:
        exit_code: as a shell reports it (128 + n for signal n), None until ended.
        log_size_bytes: of the whole log on the instance.
    """

    state: ScriptState
    exit_code: int | None = None
    signal: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    log_size_bytes: int = 0


class TransferState(StrEnum):
    """Of a transfer that the loop polls."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferReading:
    """One look at a transfer.

    Attributes:
        retryable: a failure that a new connection may heal (network), as opposed to disk full or a missing file.
        sent_bytes: as far as known. rate_bytes_s: now, None where unknown. missing: outputs that are not there.
    """

    state: TransferState
    sent_bytes: int = 0
    total_bytes: int | None = None
    rate_bytes_s: float | None = None
    failure: str = ""
    retryable: bool = False
    disk_full: bool = False
    missing: Sequence[str] = ()


class Transfer(Protocol):
    """A running transfer: a child process that the loop watches."""

    def poll(self) -> TransferReading:
        """How it stands; never blocks."""

    def cancel(self) -> None:
        """End the child process and wait for it, 5 s at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Local files to put into the run's work folder.

    Attributes:
        source: local file or folder. name: path below the work folder, no ``..``; contents: True puts what is *in* the folder there.
    """

    source: Path
    name: str


class LogFollower(Protocol):
    """The script's log from an offset on, without polling processes on the instance."""

    def read(self, max_bytes: int, wait_s: float) -> bytes:
        """New bytes in order, at most *max_bytes*, waiting *wait_s* at most; empty when there are none now.

        Raises:
            RemoteUnreachable: the connection broke; follow again from the offset reached.
        """

    @property
    def ended(self) -> bool:
        """The script has ended and everything that was in the log has been read."""

    def close(self) -> None:
        """Stop following. Never raises."""


class Remote(Protocol):
    """One instance over SSH, for one run."""

    def is_pinned(self, instance: InstanceId) -> bool:
        """Whether a host key of *instance* is pinned already, so that the console log need not be read."""

    def parse_console(self, text: str) -> Sequence[str]:
        """Host keys (``ssh-ed25519 AAAA...``) that cloud-init wrote to a console log; may be empty."""

    def connect(self, target: Target, *, within_s: float) -> Connected:
        """Connect once (the engine repeats). Raises RemoteUnreachable or RemoteRefused."""

    def close(self) -> None:
        """Close connections. Never raises."""

    def facts(self, *, people: bool) -> GuestFacts:
        """What the instance says about itself; with *people* also who is logged in."""

    def first_boot(self, switch: Switch) -> str:
        """User data that arms the switch at an instance's first boot, before anybody logs in; needs no connection."""

    def arm_switch(self, switch: Switch) -> SwitchReading:
        """Arm the dead-man's switch, replacing an older one, and read it back."""

    def read_switch(self) -> SwitchReading:
        """Read the switch."""

    def arm_self_shelve(self, key: ShelveKey) -> str:
        """Give the armed switch of this run a credential: why the cloud does not take it from there, empty when it does."""

    def mark_ending(self) -> Callable[[], None]:
        """Begin to tell the switch that the run is ending (at the next boot it disarms itself); what is returned waits for its word."""

    def disarm_switch(self) -> None:
        """Disarm the switch (an instance that is handed back running)."""

    def warn_users(self, text: str) -> None:
        """``wall`` *text* to logged-in users. Never raises."""

    def beat(self) -> None:
        """Touch the heartbeat file."""

    def prepare(self, script: bytes | None, script_name: str) -> None:
        """Make the run's folders and put the script there, executable. Repeatable."""

    def upload(self, uploads: Sequence[Upload], *, excludes: Sequence[str]) -> Transfer:
        """Start copying inputs into the work folder; only differences go."""

    def start_script(self, spec: ScriptSpec) -> ScriptReading:
        """Start the script detached. When it is already there (a lost reply), the reading of it; never a second one."""

    def read_script(self) -> ScriptReading:
        """How the script stands."""

    def follow(self, offset: int) -> LogFollower:
        """Follow the log from byte *offset*."""

    def signal_script(self, signal: int) -> None:
        """Send *signal* to the script and everything it started that can be found."""

    def download(self, outputs: Sequence[str], into: Path) -> Transfer:
        """Start fetching outputs (paths or globs below the work folder) into the local folder *into*."""

    def download_log(self, into: Path) -> Transfer:
        """Start fetching the whole log to the local file *into*."""
