"""The dead-man's switches of a simulated cloud, by the rules of ``remote/guest/deadman.sh``; the scripts' ends on the disks.

The guests go on whatever the driver does: each time that the clock has moved, every minute that has passed is played, in order.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from world import World

from jetrun.guarantee.power import STARTING_ACTIONS
from jetrun.remote.interface import ScriptReading, ScriptState, Switch
from jetrun.testing.sim_remote import Guest

MINUTE = timedelta(minutes=1)
BOOTS = STARTING_ACTIONS - {"resume", "unpause"}
"""After these the guest's memory is new; the others wake what was there."""
LIVE = frozenset({"armed", "ending"})


@dataclass
class Kept:
    """What a switch keeps on its disk beside its state.

    Attributes:
        at: up to when its minutes have been played, whether the guest was on or not. tick: its last tick.
        remaining_s: of the monotonic countdown.
    """

    switch: Switch | None
    at: datetime
    tick: datetime
    boot: tuple[str, int]
    remaining_s: float


class Switches:
    """All switches of *world*; they tick from now on.

    Attributes:
        beats: the newest heartbeat of a driver, by instance. reboots: how often a guest was rebooted from inside.
        first_boot: what cloud-init arms in an instance that the run makes; None for nothing.
        fired: which powered off, and when, oldest first.
        up_until: when each instance was last seen running. broken: no switch ticks any more.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._kept: dict[str, Kept] = {}
        self.beats: dict[str, datetime] = {}
        self.reboots: Counter[str] = Counter()
        self.first_boot: Switch | None = None
        self.fired: list[tuple[str, datetime]] = []
        self.up_until: dict[str, datetime] = {}
        self.broken = False
        world.clock.moved = self.follow

    def follow(self) -> None:
        """Play every minute up to now."""
        nova, now = self._world.cloud_state.nova, self._world.clock.now()
        for key, server in list(nova.servers.items()):
            guest = self._world.guests.get(key)
            if guest is None and server.really_on and self.first_boot is not None:
                guest = self._world.guests.setdefault(key, Guest(switch=self.first_boot, switch_state="armed"))
            if guest is None:
                guest = Guest()
            kept = self._kept.setdefault(key, Kept(None, now, now, ("", 0), 0.0))
            if guest.switch is not kept.switch and guest.switch is not None:
                kept.switch, kept.tick, kept.boot = guest.switch, now, self.boot(key)
                kept.remaining_s = guest.switch.countdown_s
            while kept.at + MINUTE <= now:
                kept.at += MINUTE
                nova.advance(kept.at)
                self._minute(key, guest, kept)
            if is_running(server):
                self.up_until[key] = now
                self._end_script(server, guest, now)

    def boot(self, key: str) -> tuple[str, int]:
        """What changes with every boot of the guest, from outside or from inside."""
        actions = self._world.cloud_state.nova.servers[key].actions
        newest = next((row["request_id"] for row in reversed(actions) if row["action"] in BOOTS), "")
        return newest, self.reboots[key]

    def reboot_inside(self, key: str) -> None:
        """Somebody types ``reboot`` in the guest: nothing of it is in the cloud's log."""
        self.reboots[key] += 1
        guest = self._world.guests.get(key)
        if guest is not None and guest.ended is None:
            guest.script_boot = "rebooted"

    def _minute(self, key: str, guest: Guest, kept: Kept) -> None:
        """One run of the timer, at ``kept.at``."""
        nova, at, switch = self._world.cloud_state.nova, kept.at, kept.switch
        server = nova.servers[key]
        if not is_running(server):
            return
        self.up_until[key] = at
        self._end_script(server, guest, at)
        if self.broken or switch is None or guest.switch_state not in LIVE:
            return
        gap_s = (at - kept.tick).total_seconds()
        boot = self.boot(key)
        over = guest.switch_state == "ending" or guest.ended is not None
        if gap_s > switch.gap_s or (boot != kept.boot and over):
            guest.switch_state = "disarmed"
            return
        kept.tick, kept.boot = at, boot
        kept.remaining_s -= gap_s
        if at >= switch.deadline_at or kept.remaining_s <= 0 or self._is_orphan(key, guest, switch, at):
            guest.switch_state = "spent"
            self.fired.append((key, at))
            nova.guest_powered_off(key, at)

    def _is_orphan(self, key: str, guest: Guest, switch: Switch, at: datetime) -> bool:
        """The script has left its exit file, and nobody has touched the heartbeat for long."""
        if guest.ended is None:
            return False
        touched = self.beats.get(key) or guest.ended.ended_at or at
        return (at - touched).total_seconds() >= switch.orphan_s

    def _end_script(self, server: Any, guest: Guest, at: datetime) -> None:
        """A script whose time has come leaves its exit file on the disk, whether or not a driver looks."""
        if guest.script_started_at is None or guest.ended is not None or guest.script_boot == "rebooted":
            return
        starts = [row["request_id"] for row in server.actions if row["action"] in BOOTS - {"rebuild", "restore"}]
        end_at = guest.script_started_at + timedelta(seconds=self._world.remote_options.get("script_s", 60.0))
        if at >= end_at and starts and starts[-1] == guest.script_boot:
            guest.ended = ScriptReading(
                state=ScriptState.ENDED, exit_code=0, started_at=guest.script_started_at, ended_at=end_at
            )


def is_running(server: Any) -> bool:
    """Whether the guest's processes run: on, and neither suspended nor paused."""
    return bool(server.really_on) and server.vm_state not in {"suspended", "paused"}
