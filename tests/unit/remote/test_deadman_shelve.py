"""The switch with a credential: it asks the cloud to shelve first, and the power goes off whatever comes of that."""

from __future__ import annotations

import time

import pytest
from guest import BOOT_B, SHELLS, Guest

ANSWERS = {
    "accepted": "echo accepted req-1",
    "refused": "echo the login answered 401; exit 1",
    "silent": "exec sleep 60",
    "killed": "kill -9 $$",
}


class Shelving(Guest):
    """A machine with a credential and a python3 that answers as the test says."""

    def with_python(self, answer: str) -> None:
        path = self.root.parent / "bin" / "python3"
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{self.root}/asked\n{answer}\n')
        path.chmod(0o755)

    def give(self, run: str = "run-1") -> tuple[int, str]:
        """The credential, as self_shelve.py puts it there."""
        self.key.with_name("shelve.json.new").write_text('{"secret": "s3cret"}')
        code, reading, _ = self.call("shelve", run)
        return code, reading.get("shelve", "")

    @property
    def key(self):
        return self.root / "var/lib/jetrun/shelve.json"

    @property
    def asked(self) -> list[str]:
        path = self.root / "asked"
        return [line.split()[2] for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def why(self) -> str:
        return self.call("status")[1]["why"]


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
def guest(request, tmp_path):
    return made(tmp_path, request.param)


@pytest.fixture
def one(tmp_path):
    return made(tmp_path, SHELLS[0])


def made(folder, shell) -> Shelving:
    guest = Shelving(folder, shell)
    guest.with_python(ANSWERS["accepted"])
    guest.arm(lasts=600)
    assert guest.give() == (0, "ready")
    return guest


def test_credential_is_roots_alone_and_is_tried_when_it_is_given(guest):
    assert guest.key.stat().st_mode & 0o777 == 0o600
    assert guest.asked == ["probe"]
    assert "s3cret" not in (guest.root / "asked").read_text()


def test_accepted_shelve_leaves_the_power_to_the_cloud_and_the_credential_goes(guest):
    assert guest.ticks(660) == "shelving"
    assert guest.asked == ["probe", "shelve"]
    assert guest.powered_off == 0
    assert not guest.key.exists()
    assert "asking the cloud to shelve" in guest.walled


def test_accepted_shelve_that_does_not_come_is_a_power_off_after_three_minutes(guest):
    guest.ticks(660)
    guest.passes(120)
    assert guest.tick() == "shelving"
    assert guest.powered_off == 0
    guest.passes(61)
    assert guest.tick() == "spent"
    assert guest.powered_off == 1
    assert "not shelved within 180 s" in guest.why
    assert guest.asked.count("shelve") == 1, "it is asked for once"


def test_refused_shelve_is_a_power_off_at_once(guest):
    guest.with_python(ANSWERS["refused"])
    assert guest.ticks(660) == "spent"
    assert guest.powered_off == 1
    assert guest.why.endswith("not shelved: the login answered 401")
    assert not guest.key.exists()


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["silent", "killed"])
def test_silence_is_a_power_off_within_the_bound(guest, answer):
    """The bound is the shell's own: it holds for a python that does not even start."""
    guest.with_python(ANSWERS[answer])
    guest.shell = ["env", "JETRUN_ASK_S=1", *guest.shell]
    begun = time.monotonic()
    assert guest.ticks(660) == "spent"
    assert time.monotonic() - begun < 15
    assert guest.powered_off == 1


def test_python_that_does_not_run_is_told_at_once_and_the_power_goes_off(guest):
    guest.with_python("echo 'python3: broken' >&2; exit 127")
    assert guest.give() == (0, "python3: broken")
    assert guest.ticks(660) == "spent"
    assert guest.powered_off == 1


def test_nothing_is_asked_where_spent_could_not_be_written(one):
    """The next boot would not know that it was done, and fire at a person's instance."""
    one.passes(540)
    one.tick()
    one.passes(60)
    (one.root / "var/lib/jetrun/switch.new").mkdir()
    (one.root / "var/lib/jetrun/switch.new/x").touch()
    one.tick()
    assert one.asked == ["probe"]
    assert one.powered_off == 1


def test_boot_after_asking_disarms(guest):
    """Nova has shelved it, and somebody has unshelved it: it is theirs."""
    guest.ticks(660)
    guest.boot(BOOT_B)
    guest.passes(90)
    assert guest.tick() == "disarmed"
    assert guest.powered_off == 0


def test_another_machine_never_uses_the_credential(guest):
    guest.uuid("00000000-0000-4000-8000-000000000bad")
    assert guest.ticks(660) == "disarmed"
    assert guest.asked == ["probe"]
    assert not guest.key.exists()


@pytest.mark.parametrize("act", ["disarm", "arm"])
def test_credential_goes_with_the_arming_that_it_was_given_to(guest, act):
    if act == "arm":
        guest.arm(lasts=900, generation=6)
    else:
        guest.call("disarm", "run-1")
    assert not guest.key.exists()


def test_credential_for_another_run_is_not_taken(guest):
    guest.arm(lasts=900, generation=6, run="run-2")
    code, _ = guest.give("run-1")
    assert code == 4
    assert not guest.key.exists()
    assert not guest.key.with_name("shelve.json.new").exists()


def test_ending_run_keeps_it_for_a_driver_that_dies_before_its_request(guest):
    guest.call("ending", "run-1")
    assert guest.key.exists()
    assert guest.ticks(660) == "shelving"
