"""The dead-man's switch over SSH: armed and read back in one call, refused, marked, fired. Power and root are made up (sshd.py)."""

from __future__ import annotations

import os
import subprocess

import pytest
from remote_subject import RUN, connected, eventually, switch
from sshd import Sshd

from jetrun.errors import RemoteCommandFailed, RemoteRefused
from jetrun.remote import deadman

SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>'{root}/calls'
case "$1" in
is-system-running) echo running ;;
enable) touch '{root}/active' ;;
disable | stop) rm -f '{root}/active' ;;
show)
	if [ -e '{root}/active' ]; then printf '%s\\n' ActiveState=active SubState=waiting UnitFileState=enabled
	else printf '%s\\n' ActiveState=inactive SubState=dead UnitFileState=disabled; fi ;;
esac
"""


@pytest.fixture
def server(tmp_path):
    server = Sshd(tmp_path / "s")
    (server.root / "sys/class/dmi/id").mkdir(parents=True)
    (server.root / "sys/class/dmi/id/product_uuid").write_text("6F1C0000-0000-4000-8000-00000000CAFE\n")
    server.program("systemctl", SYSTEMCTL.format(root=server.root))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def remote(server, tmp_path):
    with connected(server, tmp_path) as remote:
        yield remote


def tick(server):
    """What the timer does."""
    environment = {"DESTDIR": str(server.root), "PATH": f"{server.folder}/bin:{server.folder}/system"}
    subprocess.run(
        ["/bin/sh", server.root / "var/lib/jetrun/deadman.sh", "tick"], env=environment, check=True, timeout=20
    )


def test_switch_is_absent_before_it_is_armed(remote):
    reading = remote.read_switch()
    assert (reading.state, reading.ticking, reading.run, reading.deadline_at) == ("absent", False, "", None)
    remote.mark_ending()()
    remote.disarm_switch()


def test_armed_switch_is_read_back_as_it_was_asked_for(remote, server):
    wanted = switch(lasts_s=3600, generation=7)
    reading = remote.arm_switch(wanted)
    assert (reading.state, reading.run, reading.generation, reading.ticking, reading.how) == (
        "armed",
        RUN,
        7,
        True,
        "systemd",
    )
    assert reading.deadline_at == wanted.deadline_at.replace(microsecond=0)
    assert remote.read_switch() == reading
    state = (server.root / "var/lib/jetrun/switch").read_text()
    assert f"folder={server.home}/.jetrun/{RUN}\n" in state
    assert "uuid=6f1c0000-0000-4000-8000-00000000cafe\n" in state


def test_timer_that_does_not_start_is_read_as_not_ticking(remote, server):
    server.program("systemctl", SYSTEMCTL.format(root=server.root).replace("enable)", "never)"))
    reading = remote.arm_switch(switch())
    assert (reading.state, reading.ticking) == ("armed", False)


def test_newer_lease_replaces_and_an_older_one_is_refused(remote, server, tmp_path):
    remote.arm_switch(switch(generation=5))
    with connected(server, tmp_path, run="run-2") as other:
        assert other.arm_switch(switch(generation=6, run="run-2")).run == "run-2"
        with pytest.raises(RemoteRefused) as caught:
            remote.arm_switch(switch(generation=5))
        assert caught.value.code == "switch-of-a-newer-lease"
        assert "run-2" in caught.value.what
        for act in (remote.mark_ending(), remote.disarm_switch):
            with pytest.raises(RemoteRefused, match="run-2"):
                act()
        assert other.read_switch().state == "armed"


def test_ending_and_disarming_are_read_back(remote):
    remote.arm_switch(switch())
    remote.mark_ending()()
    assert remote.read_switch().state == "ending"
    remote.disarm_switch()
    reading = remote.read_switch()
    assert (reading.state, reading.ticking) == ("disarmed", False)


def test_unreadable_state_is_said(remote, server):
    remote.arm_switch(switch())
    (server.root / "var/lib/jetrun/switch").write_text("x")
    assert remote.read_switch().state == "unreadable"
    tick(server)
    assert "poweroff" not in "\n".join(server.calls)


def test_tick_past_the_deadline_powers_off_once(remote, server):
    remote.arm_switch(switch(lasts_s=-1))
    tick(server)
    tick(server)
    assert server.calls.count("systemctl poweroff") == 1
    assert remote.read_switch().state == "spent"


def test_script_that_ended_without_a_heartbeat_is_seen_through_the_folder_that_was_armed(remote, server):
    remote.prepare(None, "")
    remote.arm_switch(switch())
    base = server.home / ".jetrun" / RUN
    remote.beat()
    (base / "exit").touch()
    tick(server)
    assert remote.read_switch().state == "armed"
    old = (base / "heartbeat").stat().st_mtime - 1801
    os.utime(base / "heartbeat", (old, old))
    tick(server)
    assert remote.read_switch().state == "spent"


def test_no_room_for_the_switch_is_an_error(remote, server):
    (server.root / "var/lib/jetrun/switch.new/x").mkdir(parents=True)
    with pytest.raises(RemoteCommandFailed, match="dead-man's switch"):
        remote.arm_switch(switch())


def test_without_systemd_a_loop_ticks_and_it_is_said(server, tmp_path):
    server.program("systemctl", "#!/bin/sh\necho offline\nexit 1\n")
    with connected(server, tmp_path) as remote:
        reading = remote.arm_switch(switch(lasts_s=2, tick_s=0.1))
        assert (reading.ticking, reading.how) == (True, "loop, not after a reboot")
        remote.close()
        eventually(lambda: any(call.startswith("poweroff") for call in server.calls))
    with connected(server, tmp_path) as remote:
        assert remote.read_switch().state == "spent"


def test_user_data_arms_at_first_boot(remote, server):
    """As cloud-init runs it: as root, before anybody logs in, bound to the uuid that the instance reads of itself."""
    text = deadman.user_data(switch(generation=3))
    assert text.startswith("#!/bin/sh\n")
    assert len(text) < 40_000
    environment = {"DESTDIR": str(server.root), "PATH": f"{server.folder}/bin:{server.folder}/system"}
    subprocess.run(["/bin/sh", "-c", text], env=environment, check=True, timeout=20, stdout=subprocess.DEVNULL)
    reading = remote.read_switch()
    assert (reading.state, reading.generation, reading.ticking) == ("armed", 3, True)
    assert "uuid=6f1c0000-0000-4000-8000-00000000cafe" in (server.root / "var/lib/jetrun/switch").read_text()
    assert remote.arm_switch(switch(generation=3)).state == "armed"
