"""The dead-man's switch as a program: every rule of DESIGN.md section 3, layer 3, under every POSIX shell at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from guest import BOOT_B, PROGRAM, SHELLS, UUID, Guest


@pytest.fixture(params=SHELLS, ids=lambda words: words[0])
def guest(request, tmp_path):
    return Guest(tmp_path, request.param)


@pytest.fixture
def one(tmp_path):
    """A machine with one shell, for facts that do not hang on the shell."""
    return Guest(tmp_path, SHELLS[0])


def test_armed_switch_reads_back_with_its_timer_scheduled(guest):
    reading = guest.arm()
    assert reading["state"] == "armed"
    assert (reading["run"], reading["generation"], reading["ticking"], reading["how"]) == (
        "run-1",
        "5",
        "yes",
        "systemd",
    )
    assert reading["uuid"] == UUID
    timer = (guest.root / "etc/systemd/system/jetrun-deadman.timer").read_text()
    assert "OnBootSec=60" in timer
    assert "OnUnitActiveSec=60" in timer
    service = (guest.root / "etc/systemd/system/jetrun-deadman.service").read_text()
    assert f'ExecStart=/bin/sh "{guest.root}/var/lib/jetrun/deadman.sh" tick' in service


def test_timer_that_is_not_scheduled_reads_as_not_ticking(one):
    one.arm()
    (one.root / "substate").write_text("SubState=elapsed\n")
    assert one.call("status")[1]["ticking"] == "no"
    (one.root / "substate").unlink()
    assert one.call("status")[1]["ticking"] == "yes"
    (one.root / "enabled").unlink()
    assert one.call("status")[1]["ticking"] == "no", "it would not come back after a reboot"


def test_arming_takes_back_what_motd_said(one):
    one.arm()
    one.passes(4000)
    assert one.tick() == "disarmed"
    assert one.motd
    one.arm()
    assert not one.motd


def test_absent_switch_reads_absent_and_its_tick_does_nothing(guest):
    assert guest.state() == "absent"
    assert guest.tick() == "absent"
    assert guest.powered_off == 0


def test_nothing_fires_before_the_deadline(guest):
    guest.arm(lasts=3600)
    assert guest.ticks(3540) == "armed"
    assert guest.powered_off == 0


def test_fires_once_at_the_deadline_and_never_again(guest):
    guest.arm(lasts=600)
    assert guest.ticks(660) == "spent"
    assert guest.powered_off == 1
    guest.passes(60)
    assert guest.tick() == "spent"
    guest.boot(BOOT_B)
    guest.passes(60)
    assert guest.tick() == "spent"
    assert guest.powered_off == 1


def test_spent_is_on_disk_before_the_power_goes(one, tmp_path):
    (tmp_path / "bin/systemctl").write_text(
        f'#!/bin/sh\n[ "$1" != is-system-running ] || echo running\n'
        f"[ \"$1\" != poweroff ] || cp '{one.root}/var/lib/jetrun/switch' '{one.root}/at-poweroff'\n"
    )
    one.call(
        "arm",
        "run=r",
        "generation=1",
        f"deadline={one.now}",
        "countdown=9",
        "orphan_s=9",
        "tick_s=60",
        "gap_s=600",
        "folder=/x",
    )
    one.tick()
    assert "state=spent" in (one.root / "at-poweroff").read_text()


def test_countdown_fires_although_the_wall_clock_went_back(guest):
    guest.arm(lasts=600)
    guest.ticks(120)
    guest.now -= 86400
    assert guest.ticks(420) == "armed"
    assert guest.ticks(120) == "spent"
    assert guest.powered_off == 1


def test_deadline_fires_although_the_countdown_has_time_left(guest):
    guest.arm(lasts=300, countdown=100_000)
    assert guest.ticks(360) == "spent"


def test_clock_set_forward_beyond_the_gap_disarms(guest):
    guest.arm(lasts=3600)
    guest.passes(60)
    guest.now += 601
    assert guest.tick() == "disarmed"
    assert guest.powered_off == 0


def test_gap_in_the_ticks_disarms_even_past_the_deadline(guest):
    """A person started the machine the day after: it is theirs."""
    guest.arm(lasts=3600)
    guest.ticks(60)
    guest.now += 86400
    guest.boot(BOOT_B)
    assert guest.tick() == "disarmed"
    assert "off or suspended" in guest.motd
    assert "run-1" in guest.motd
    guest.passes(60)
    assert guest.tick() == "disarmed"
    assert guest.powered_off == 0


def test_gap_without_a_boot_disarms(guest):
    """Suspended by the cloud and resumed by a person: the same boot, a jump in wall time."""
    guest.arm(lasts=86400)
    guest.ticks(60)
    guest.now += 700
    assert guest.tick() == "disarmed"


def test_gap_of_exactly_the_limit_stays_armed(guest):
    guest.arm(lasts=86400)
    guest.ticks(60)
    guest.passes(600)
    assert guest.tick() == "armed"


def test_quick_reboot_leaves_it_armed_and_its_time_counts(guest):
    guest.arm(lasts=600)
    guest.ticks(300)
    guest.now += 120
    guest.boot(BOOT_B)
    assert guest.tick() == "armed"
    assert guest.call("status")[1]["remaining"] == "180"
    assert guest.ticks(240) == "spent"


def test_reboot_with_a_clock_gone_back_counts_the_time_since_boot(guest):
    guest.arm(lasts=600)
    guest.ticks(120)
    guest.now -= 5000
    guest.boot(BOOT_B, uptime=45)
    guest.tick()
    assert guest.call("status")[1]["remaining"] == str(600 - 120 - 45)


def test_boot_after_ending_disarms(guest):
    guest.arm()
    guest.ticks(60)
    assert guest.call("ending", "run-1")[1]["state"] == "ending"
    guest.now += 60
    guest.boot(BOOT_B)
    assert guest.tick() == "disarmed"
    assert guest.powered_off == 0


@pytest.mark.parametrize(
    ("code", "ended_s", "state"),
    [
        (0, 30, "disarmed"),
        (1, 30, "disarmed"),
        (143, 30, "armed"),
        (137, 30, "armed"),
        (143, -30, "disarmed"),
        ("", "", "disarmed"),
        (143, "", "armed"),
    ],
)
def test_a_boot_after_the_scripts_end_disarms_and_one_that_ended_it_does_not(guest, code, ended_s, state):
    """A reboot ends what runs by a signal: that is the middle of a run. What ended by itself, or before, was its end."""
    guest.arm()
    guest.ticks(60)
    ended = guest.now + ended_s if ended_s != "" else ""
    (guest.folder / "exit").write_text(f"code={code!s:<4}\nbegan={guest.now - 50:<12}\nended={ended!s:<12}\n")
    guest.touch("exit")
    guest.now += 60
    guest.boot("cccccccc-0000-4000-8000-000000000000")
    guest.tick()
    assert guest.state() == state


def test_ending_still_fires_at_the_deadline_without_a_boot(guest):
    guest.arm(lasts=600)
    guest.call("ending", "run-1")
    assert guest.ticks(660) == "spent"
    assert guest.powered_off == 1


def test_clone_disarms_before_anything_else(guest):
    """An image of the instance, started as another one, past the deadline."""
    guest.arm(lasts=60)
    guest.uuid("00000000-0000-4000-8000-00000000beef")
    guest.passes(120)
    assert guest.tick() == "disarmed"
    assert guest.powered_off == 0


def test_machine_without_a_readable_uuid_still_fires(guest):
    (guest.root / "sys/class/dmi/id/product_uuid").unlink()
    guest.arm(lasts=60)
    assert guest.ticks(120) == "spent"


@pytest.mark.parametrize(
    ("exit_age", "beat_age", "fires"),
    [
        (None, 4000, False),
        (4000, None, True),
        (1799, None, False),
        (10, 1801, True),
        (4000, 100, False),
        (4000, 1800, True),
    ],
)
def test_orphan_rule(one, exit_age, beat_age, fires):
    """The script has ended, and no heartbeat came for G; without a heartbeat ever, the exit file's age counts."""
    one.arm(lasts=86400)
    if exit_age is not None:
        one.touch("exit", age_s=exit_age)
    if beat_age is not None:
        one.touch("heartbeat", age_s=beat_age)
    assert one.tick() == ("spent" if fires else "armed")
    assert one.powered_off == int(fires)


def test_orphan_rule_under_every_shell(guest):
    guest.arm(lasts=86400)
    guest.touch("exit", age_s=2000)
    assert guest.tick() == "spent"


GARBAGE = {
    "empty": lambda text: "",
    "half": lambda text: text[: len(text) // 2],
    "unknown key": lambda text: f"evil=1\n{text}",
    "no number": lambda text: text.replace("deadline=1", "deadline=x1"),
    "negative": lambda text: text.replace("deadline=1", "deadline=-1"),
    "octal": lambda text: text.replace("warned=0", "warned=008"),
    "huge": lambda text: text.replace("remaining=", "remaining=99999999999999999999"),
    "unknown state": lambda text: text.replace("state=armed", "state=furious"),
    "no end": lambda text: text.replace("end=1\n", ""),
    "after the end": lambda text: f"{text}state=armed\n",
    "command": lambda text: text.replace("generation=5", "generation=$(poweroff)"),
}


@pytest.mark.parametrize("damage", GARBAGE, ids=str)
def test_unreadable_state_does_nothing_and_says_so(guest, damage):
    guest.arm(lasts=60)
    path = guest.root / "var/lib/jetrun/switch"
    text = path.read_text()
    damaged = GARBAGE[damage](text)
    assert damaged != text
    path.write_text(damaged)
    guest.passes(4000)
    assert guest.tick() == "unreadable"
    assert "cannot be read" in guest.call("tick")[2]
    assert guest.powered_off == 0


def test_binary_garbage_does_nothing(guest):
    guest.arm(lasts=60)
    (guest.root / "var/lib/jetrun/switch").write_bytes(os.urandom(4096))
    guest.passes(120)
    assert guest.tick() == "unreadable"
    assert guest.powered_off == 0


def test_unreadable_state_can_be_armed_anew(guest):
    (guest.root / "var/lib/jetrun").mkdir(parents=True)
    (guest.root / "var/lib/jetrun/switch").write_text("rubbish")
    assert guest.arm()["state"] == "armed"


def test_every_power_cut_leaves_a_whole_file(one):
    """What is written is written beside: the state file itself is only ever replaced."""
    one.arm()
    path = one.root / "var/lib/jetrun/switch"
    before = path.stat().st_ino
    one.ticks(60)
    assert path.stat().st_ino != before
    (one.root / "var/lib/jetrun/switch.new").write_text("half a fi")
    assert one.ticks(60) == "armed"


def test_newer_lease_replaces_an_older_one(guest):
    guest.arm(generation=5, run="run-1")
    reading = guest.arm(generation=6, run="run-2", lasts=7200)
    assert (reading["run"], reading["generation"]) == ("run-2", "6")


def test_older_lease_is_refused_and_the_newer_one_stays(guest):
    guest.arm(generation=6, run="run-2")
    code, reading, _ = guest.call(
        "arm",
        "run=run-1",
        "generation=5",
        "deadline=1",
        "countdown=1",
        "orphan_s=1",
        "tick_s=60",
        "gap_s=600",
        "folder=",
    )
    assert code == 4
    assert (reading["run"], reading["state"]) == ("run-2", "armed")


@pytest.mark.parametrize("end", ["spent", "disarmed"])
def test_dead_switch_of_a_newer_lease_is_replaced(one, end):
    one.arm(generation=9, run="run-9", lasts=60)
    if end == "spent":
        one.ticks(120)
    else:
        one.call("disarm", "run-9")
    assert one.state() == end
    assert one.arm(generation=5)["state"] == "armed"


def test_continued_run_arms_anew(one):
    one.arm(lasts=600)
    one.ticks(540)
    one.arm(lasts=600)
    assert one.ticks(540) == "armed"


def test_spent_switch_is_armed_anew_by_a_continued_run(one):
    one.arm(lasts=60)
    one.ticks(120)
    one.boot(BOOT_B)
    assert one.arm(lasts=600, generation=6)["ticking"] == "yes"
    assert one.ticks(660) == "spent"
    assert one.powered_off == 2


def test_another_run_cannot_mark_or_disarm(guest):
    guest.arm(run="run-1")
    assert guest.call("ending", "run-2")[0] == 4
    assert guest.call("disarm", "run-2")[0] == 4
    assert guest.state() == "armed"


def test_run_whose_name_begins_the_same_cannot_disarm(one):
    one.arm(run="run-1")
    assert one.call("disarm", "run-10")[0] == 4
    assert one.call("disarm", "run-")[0] == 4


def test_disarm_ends_the_timer(guest):
    guest.arm()
    code, reading, _ = guest.call("disarm", "run-1")
    assert (code, reading["state"], reading["ticking"]) == (0, "disarmed", "no")
    assert not (guest.root / "enabled").exists()


def test_disarming_what_is_not_there_is_no_error(guest):
    assert guest.call("disarm", "run-1")[0] == 0
    assert guest.call("ending", "run-1")[0] == 0


def test_ending_does_not_wake_a_spent_switch(one):
    one.arm(lasts=60)
    one.ticks(120)
    assert one.call("ending", "run-1")[1]["state"] == "spent"


def test_users_are_warned_ten_and_two_minutes_before_and_no_oftener(guest):
    guest.arm(lasts=1200)
    guest.ticks(1170, step=30)
    lines = guest.walled.splitlines()
    assert len(lines) == 2
    assert "10 min" in lines[0]
    assert "2 min" in lines[1]


def test_users_are_told_when_it_fires(guest):
    guest.arm(lasts=60)
    guest.ticks(120)
    assert "powering off now" in guest.walled


def test_poweroff_is_tried_by_other_ways_when_systemd_fails(guest):
    (guest.root / "poweroff-fails").touch()
    guest.arm(lasts=60)
    guest.ticks(120)
    assert "poweroff " in guest.calls
    assert guest.powered_off == 1


def test_values_with_a_newline_are_refused(guest):
    assert guest.call("arm", "run=a\nstate=spent", "generation=1")[0] == 5
    assert guest.state() == "absent"


def test_full_disk_is_no_gap(one):
    """A script that fills the disk must not thereby disarm the switch; as root a folder in the way stands for a full disk."""
    one.arm(lasts=3600)
    one.ticks(60)
    blocked = one.root / "var/lib/jetrun/switch.new"
    blocked.mkdir()
    (blocked / "x").touch()
    assert one.ticks(1200) == "armed"
    assert (one.root / "run/jetrun-switch").exists()
    (blocked / "x").unlink()
    blocked.rmdir()
    assert one.ticks(60) == "armed"
    assert not (one.root / "run/jetrun-switch").exists()
    assert one.ticks(3000) == "spent"


def test_full_disk_does_not_keep_it_from_firing_and_not_twice(one):
    one.arm(lasts=600)
    blocked = one.root / "var/lib/jetrun/switch.new"
    blocked.mkdir()
    (blocked / "x").touch()
    assert one.ticks(660) in {"spent", "absent"}
    assert one.powered_off == 1
    one.boot(BOOT_B)
    one.passes(60)
    one.tick()
    assert one.powered_off == 1


def test_arming_without_room_is_an_error(one):
    blocked = one.root / "var/lib/jetrun/switch.new"
    blocked.mkdir(parents=True)
    (blocked / "x").touch()
    code, reading, _ = one.call(
        "arm",
        "run=r",
        "generation=1",
        f"deadline={one.now + 60}",
        "countdown=60",
        "orphan_s=9",
        "tick_s=60",
        "gap_s=600",
        "folder=",
    )
    assert (code, reading["state"]) == (6, "absent")


def test_unchanged_units_are_not_reloaded(one):
    one.arm()
    before = len([line for line in one.calls if "daemon-reload" in line])
    one.arm(lasts=7200)
    assert len([line for line in one.calls if "daemon-reload" in line]) == before == 1


def test_program_names_no_bash(one):
    assert PROGRAM.startswith("#!/bin/sh\n")
    assert "[[" not in PROGRAM


def test_flock_of_busybox_is_enough(one, tmp_path):
    """It knows no -w."""
    stub = tmp_path / "bin/flock"
    stub.write_text(
        '#!/bin/sh\ncase $1 in -*) echo "Usage: flock [-sxun] FD" >&2; exit 1 ;; esac\nexec /usr/bin/flock "$@"\n'
    )
    stub.chmod(0o755)
    assert one.arm(lasts=60)["state"] == "armed"
    assert one.ticks(120) == "spent"


def test_switch_that_somebody_holds_is_busy_and_is_not_changed(one):
    import fcntl

    one.arm()
    with (one.root / "var/lib/jetrun/lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (one.program.parent / "bin/flock").write_text(
            '#!/bin/sh\n[ "$1" != -w ] || shift 2\nexec /usr/bin/flock -n "$@"\n'
        )
        (one.program.parent / "bin/flock").chmod(0o755)
        assert one.call("disarm", "run-1")[0] == 7
    assert one.state() == "armed"


def test_loop_ticks_where_there_is_no_systemd(tmp_path):
    """Its own clock here: a real second, because a loop is a real process."""
    guest = Guest(tmp_path, SHELLS[0], systemd=False)
    (guest.root / "etc/cron.d").mkdir()
    installed = guest.root / "var/lib/jetrun/deadman.sh"
    installed.parent.mkdir(parents=True)
    installed.write_text(PROGRAM)
    code, reading, errors = guest.call(
        "arm",
        "run=r",
        "generation=1",
        f"deadline={guest.now + 9}",
        "countdown=9",
        "orphan_s=9",
        "tick_s=0.05",
        "gap_s=600",
        "folder=",
    )
    assert code == 0, errors
    assert (reading["how"], reading["ticking"]) == ("loop", "yes")
    assert "@reboot" in (guest.root / "etc/cron.d/jetrun-deadman").read_text()
    pid = int((guest.root / "run/jetrun-deadman.pid").read_text().split()[0])
    end = os.pidfd_open(pid)
    try:
        assert guest.call("disarm", "r")[1]["ticking"] == "no"
        _await(end)
    finally:
        os.close(end)
    assert not (guest.root / "etc/cron.d/jetrun-deadman").exists()


def test_loop_fires_by_itself(tmp_path):
    guest = Guest(tmp_path, SHELLS[0], systemd=False)
    installed = guest.root / "var/lib/jetrun/deadman.sh"
    installed.parent.mkdir(parents=True)
    installed.write_text(PROGRAM)
    code, reading, errors = guest.call(
        "arm",
        "run=r",
        "generation=1",
        f"deadline={guest.now}",
        "countdown=9",
        "orphan_s=9",
        "tick_s=0.05",
        "gap_s=600",
        "folder=",
    )
    assert code == 0, errors
    assert reading["how"] == "loop, not after a reboot"
    path = guest.root / "run/jetrun-deadman.pid"
    if path.exists():
        try:
            end = os.pidfd_open(int(path.read_text().split()[0]))
        except (ProcessLookupError, FileNotFoundError, IndexError):
            end = None
        if end is not None:
            _await(end)
            os.close(end)
    assert guest.state() == "spent"
    assert guest.powered_off == 1


def _await(pidfd: int) -> None:
    import select

    assert select.select([pidfd], [], [], 10)[0], "the loop did not end"


def test_program_is_small_enough_for_user_data():
    """Nova takes 65535 bytes of base64."""
    assert len(PROGRAM) < 16_000


def test_program_passes_shellcheck():
    import shutil
    import subprocess

    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    folder = Path(__file__).parents[3] / "jetrun/remote/guest"
    done = subprocess.run(
        ["shellcheck", "-x", *sorted(map(str, folder.glob("*.sh")))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
