"""The switch of the simulation (switch.py) does what the program on a real guest does, over the same histories."""

from __future__ import annotations

import importlib.util
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from switch import Switches
from world import World

from jetrun.guarantee.power import InstanceId, RunId
from jetrun.remote.interface import ScriptReading, ScriptState, Switch
from jetrun.testing.sim_remote import Guest

LASTS_S = 7200
HISTORIES = {
    "on": "armed",
    "on, reboot, on": "armed",
    "on, off 5, on": "armed",
    "on, off 15, on": "disarmed",
    "on, suspended 5, on": "armed",
    "on, suspended 15, on": "disarmed",
    "ending, on": "ending",
    "ending, reboot, on": "disarmed",
    "ending, off 5, on": "disarmed",
    "ending, suspended 5, on": "ending",
    "script, on": "armed",
    "script, on, on, on, on": "spent",
    "script, on, beat, on, on, on": "armed",
    "script, off 5, on, on, on, on": "disarmed",
    "ending, script, suspended 5, on, on, on, on": "spent",
    "script, on, on, on, on, off 5, on": "spent",
    "to the deadline": "spent",
    "ending, to the deadline": "spent",
    "to the deadline, off 15, on": "spent",
}
"""What happens to an armed switch, and its state in the end. ``on``: nine minutes, with ticks."""
STEP_S = 540


class Modelled:
    """The switch of the simulation."""

    def __init__(self) -> None:
        self.world = World(status="ACTIVE")
        assert self.world.server is not None
        self.key = self.world.server.id
        now = self.world.clock.now()
        switch = Switch(
            instance=InstanceId(self.key), run=RunId("run-1"), generation=5, deadline_at=now + timedelta(seconds=LASTS_S),
            countdown_s=LASTS_S, orphan_s=1800, tick_s=60, gap_s=600,
        )  # fmt: skip
        self.guest = self.world.guests[self.key] = Guest(switch=switch, switch_state="armed")
        self.switches = Switches(self.world)
        self.passes(0)

    def passes(self, seconds: float) -> None:
        self.world.clock.sleep(seconds)
        self.world.cloud_state.nova.advance(self.world.clock.now())

    def act(self, action: str) -> None:
        nova, now = self.world.cloud_state.nova, self.world.clock.now()
        nova.act(self.world.cloud.caller, self.key, action, request_id=f"req-person-{now:%H%M%S}-{action}", now=now)
        self.passes(5)

    def step(self, word: str, minutes: int) -> None:
        """One step of a history."""
        server, now = self.world.cloud_state.nova.servers[self.key], self.world.clock.now()
        match word:
            case "on":
                self.passes(STEP_S)
            case "to the deadline":
                self.passes(LASTS_S)
            case "reboot":
                self.switches.reboot_inside(self.key)
            case "off":
                self.passes(20)
                if server.vm_state == "active":
                    self.act("stop")
                self.passes(minutes * 60)
                self.act("start")
            case "suspended":
                self.act("suspend")
                self.passes(minutes * 60)
                self.act("resume")
            case "ending":
                self.guest.switch_state = "ending"
            case "script":
                self.guest.ended = ScriptReading(state=ScriptState.ENDED, exit_code=0, ended_at=now)
            case "beat":
                self.switches.beats[self.key] = now


class Programmed:
    """The program itself, on a made-up machine."""

    def __init__(self, folder: Path) -> None:
        path = Path(__file__).parents[1] / "unit" / "remote" / "guest.py"
        spec = importlib.util.spec_from_file_location("made_up_guest", path)
        assert spec is not None
        assert spec.loader is not None
        module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.guest: Any = module.Guest(folder, module.SHELLS[0])
        self.guest.arm(lasts=LASTS_S)
        self._boots = 0

    def step(self, word: str, minutes: int) -> None:
        """One step of a history."""
        guest = self.guest
        match word:
            case "on":
                guest.ticks(STEP_S, step=STEP_S)
            case "to the deadline":
                guest.ticks(LASTS_S, step=STEP_S)
            case "reboot":
                self._boot(30)
            case "off":
                self._boot(minutes * 60)
            case "suspended":
                guest.now += minutes * 60
                guest.ticks(30)
            case "ending":
                guest.call("ending", "run-1")
            case "script":
                guest.touch("exit")
            case "beat":
                guest.touch("heartbeat")

    def _boot(self, seconds: int) -> None:
        self._boots += 1
        self.guest.now += seconds
        self.guest.boot(f"bbbbbbbb-0000-4000-8000-{self._boots:012}")
        self.guest.tick()


@pytest.mark.parametrize("history", list(HISTORIES))
def test_the_model_ends_as_the_program_does(history: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A switch that were kinder to persons than the real one would prove nothing."""
    monkeypatch.undo()  # the program is a process, and is waited for
    modelled, programmed = Modelled(), Programmed(tmp_path)
    for words in history.split(", "):
        word, _, minutes = words.rpartition(" ") if words[-1].isdigit() else (words, "", "0")
        for one in (modelled, programmed):
            one.step(word, int(minutes))
    assert (modelled.guest.switch_state, programmed.guest.state()) == (HISTORIES[history], HISTORIES[history])
