"""Power of an instance: what runs inside ends with it, freezes with it and comes back with it; and what root may do inside."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import tempfile
from pathlib import Path

import asyncssh
import pytest
from instance_hosts import eventually, forked, greeting, listening, lives

from jetrun.devcloud.processes import state_of

pytestmark = pytest.mark.slow

DAEMON = "(setsid sh -c 'echo $$ >pid; trap \"\" HUP; while :; do date +%s%N >beat; sleep 0.02; done' </dev/null >/dev/null 2>&1 &)"


@pytest.fixture
def lab():
    with tempfile.TemporaryDirectory(prefix="hosts") as folder, forked(Path(folder)) as (lab, _):
        yield lab


def run(lab, test):
    async def whole():
        async with listening(lab):
            await test(lab)

    asyncio.run(whole())


async def daemon(lab, instance):
    """The pid of a program that has left its session and its parent behind."""
    await lab.sh(instance, DAEMON)
    pid = lab.home(instance) / "pid"
    await eventually(lambda: pid.exists() and pid.read_text().strip())
    await eventually((lab.home(instance) / "beat").exists)
    return int(pid.read_text())


@pytest.mark.parametrize("graceful", [True, False])
def test_power_off_ends_what_has_daemonised(lab, graceful):
    async def test(lab):
        instance = await lab.boot()
        pid = await daemon(lab, instance)
        await lab.hosts.power_off(instance, graceful=graceful)
        assert not lives(pid)
        assert await greeting(lab.spec(instance).addresses[0], lab.port) is None
        assert lab.offs == []

    run(lab, test)


def test_shutdown_asks_programs_to_end_and_a_power_cut_does_not(lab):
    script = "trap 'echo asked >asked; exit' TERM; echo up >up; while :; do sleep 0.01; done"

    async def test(lab):
        for graceful in (True, False):
            instance = await lab.boot()
            await lab.sh(instance, f"setsid sh -c {shlex.quote(script)} >/dev/null 2>&1 </dev/null &")
            await eventually((lab.home(instance) / "up").exists)
            await lab.hosts.power_off(instance, graceful=graceful)
            assert (lab.home(instance) / "asked").exists() is graceful

    run(lab, test)


def test_program_that_will_not_end_is_killed_after_the_grace(lab):
    async def test(lab):
        instance = await lab.boot(grace_s=0.2)
        await lab.sh(
            instance,
            "setsid sh -c 'trap \"\" TERM; echo $$ >pid; while :; do sleep 1; done' >/dev/null 2>&1 </dev/null &",
        )
        pid = int(
            await eventually(
                lambda: (lab.home(instance) / "pid").exists() and (lab.home(instance) / "pid").read_text().strip()
            )
        )
        begun = asyncio.get_running_loop().time()
        await lab.hosts.power_off(instance)
        assert not lives(pid)
        assert asyncio.get_running_loop().time() - begun >= 0.2

    run(lab, test)


def test_power_off_ends_what_keeps_starting_programs(lab):
    async def test(lab):
        instance = await lab.boot()
        await lab.sh(
            instance,
            "(setsid sh -c 'trap \"\" TERM; while :; do sleep 30 & echo $! >>pids; sleep 0.002; done' >/dev/null 2>&1 &)",
        )
        pids = lab.home(instance) / "pids"
        await eventually(lambda: pids.exists() and len(pids.read_text().split()) > 30)
        await lab.hosts.power_off(instance, graceful=False)
        assert [pid for pid in pids.read_text().split() if lives(int(pid))] == []

    run(lab, test)


def test_disk_host_key_and_keys_survive_a_power_off_and_go_with_a_wipe(lab):
    async def test(lab):
        instance = await lab.boot()
        await lab.sh(
            instance,
            "echo kept >file; sudo -n sh -c 'echo r >$DESTDIR/var/lib/r; echo v >$DESTDIR/run/v'; "
            "mkdir shut; touch shut/f; chmod 0 shut",
        )
        key, boot = (lab.spec(instance).folder / "host_key").read_bytes(), await lab.sh(instance, "sudo cat " + BOOT_ID)
        for _ in range(2):
            await lab.hosts.reboot(instance)
            await lab.greets(instance)
        left = await lab.sh(instance, "cat file; sudo -n sh -c 'cat $DESTDIR/var/lib/r; ls $DESTDIR/run'")
        assert left == "kept\nr\nboottime\nsystemd"
        assert (lab.spec(instance).folder / "host_key").read_bytes() == key
        assert await lab.sh(instance, "sudo cat " + BOOT_ID) != boot
        assert (lab.root(instance) / "sys/class/dmi/id/product_uuid").read_text() == f"{instance}\n"
        await lab.hosts.power_off(instance)
        await lab.hosts.wipe(instance)
        assert not lab.spec(instance).folder.exists()

    run(lab, test)


BOOT_ID = "$(sudo sh -c 'echo $DESTDIR')/proc/sys/kernel/random/boot_id"


def test_suspended_instance_hangs_and_goes_on_where_it_was(lab):
    async def test(lab):
        instance = await lab.boot()
        pid, beat = await daemon(lab, instance), lab.home(instance) / "beat"
        connection = await lab.connect(instance)
        process = await connection.create_process("read line; echo got $line")
        await lab.hosts.freeze(instance)
        frozen = beat.read_text()
        assert await greeting(lab.spec(instance).addresses[0], lab.port) == b""
        process.stdin.write("x\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.stdout.read(1), 0.2)
        assert beat.read_text() == frozen
        await lab.hosts.tell(instance, do="drop")  # does not hang, and does nothing
        await lab.hosts.thaw(instance)
        assert await process.stdout.readline() == "got x\n"
        await eventually(lambda: beat.read_text() not in {frozen, ""})
        await lab.hosts.freeze(instance)
        await lab.hosts.power_off(instance)
        assert not lives(pid)
        connection.abort()
        await connection.wait_closed()

    run(lab, test)


def test_program_that_its_user_stopped_stays_stopped_over_a_suspend(lab):
    async def test(lab):
        instance = await lab.boot()
        pid = await daemon(lab, instance)
        os.kill(pid, signal.SIGSTOP)
        await eventually(lambda: state_of(pid) == "T")
        await lab.hosts.freeze(instance)
        await lab.hosts.thaw(instance)
        await lab.sh(instance, "true")
        assert state_of(pid) == "T"

    run(lab, test)


@pytest.mark.parametrize("command", ["poweroff", "systemctl poweroff", "shutdown -h now", "shutdown -P +0", "halt"])
def test_guest_switches_itself_off_as_root_only(lab, command):
    async def test(lab):
        instance = await lab.boot()
        refused = await lab.run(instance, command)
        assert refused.exit_status == 1
        assert "authentication required" in refused.stderr
        pid = await daemon(lab, instance)
        await lab.sh(instance, f"sudo -n {command}")
        await eventually(lambda: lab.offs == [instance])
        assert instance not in lab.hosts.running
        assert not lives(pid)
        assert await greeting(lab.spec(instance).addresses[0], lab.port) is None

    run(lab, test)


@pytest.mark.parametrize("command", ["reboot", "systemctl reboot", "shutdown -r now"])
def test_guest_reboots_by_itself(lab, command):
    async def test(lab):
        instance = await lab.boot()
        pid = await daemon(lab, instance)
        await lab.sh(instance, f"sudo -n {command}")
        await eventually(lambda: not lives(pid))
        await eventually(lambda: instance in lab.hosts.running)
        await lab.greets(instance)
        assert lab.offs == []
        assert await lab.sh(instance, "echo back") == "back"

    run(lab, test)


def test_planned_shutdown_is_announced_and_can_be_cancelled(lab):
    async def test(lab):
        instance = await lab.boot()
        done = await lab.run(instance, "sudo -n shutdown -h +1 bye; sudo -n shutdown -c")
        assert "Shutdown scheduled for" in done.stderr
        assert "bye" in (lab.root(instance) / "var/log/wall").read_text()
        odd = await lab.run(instance, "sudo -n shutdown tomorrow")
        assert (odd.exit_status, "Failed to parse time" in odd.stderr) == (1, True)

    run(lab, test)


def test_nothing_is_left_when_the_clouds_process_is_gone(lab):
    """Its end of the channel closes, whatever it died of; a frozen instance is no exception."""

    async def test(lab):
        instances = [await lab.boot() for _ in range(2)]
        pids = [await daemon(lab, instance) for instance in instances]
        await lab.hosts.freeze(instances[1])
        lab.hosts.close()
        await eventually(lambda: not [pid for pid in pids if lives(pid)])

    async def whole():
        lab.hosts.start()
        await test(lab)

    asyncio.run(whole())


def test_nothing_is_left_when_the_host_process_is_killed():
    async def test(lab, pid):
        lab.hosts.start()
        instances = [await lab.boot() for _ in range(2)]
        pids = [await daemon(lab, instance) for instance in instances]
        await lab.hosts.freeze(instances[1])
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not [one for one in pids if lives(one)])
        await eventually(lambda: sorted(lab.offs) == sorted(instances))
        lab.hosts.close()

    with tempfile.TemporaryDirectory(prefix="hosts") as folder, forked(Path(folder)) as (lab, pid):
        asyncio.run(test(lab, pid))


def test_killed_instance_leaves_nothing_and_is_seen_as_off(lab):
    """As a hypervisor's process that the machine's memory killer took."""

    async def test(lab):
        instance = await lab.boot()
        pid = await daemon(lab, instance)
        parent = int(await lab.sh(instance, "echo $PPID"))
        os.kill(parent, signal.SIGKILL)
        await eventually(lambda: lab.offs == [instance])
        assert not lives(pid)
        await lab.hosts.power_on(instance)
        await lab.greets(instance)

    run(lab, test)


def test_instance_that_switches_itself_off_is_on_again_at_once_when_asked(lab):
    """The word of the first boot's end must not be taken for the second's."""

    async def test(lab):
        instance = await lab.boot()
        for _ in range(5):
            await lab.sh(instance, "sudo -n poweroff")
            await eventually(lambda: instance not in lab.hosts.running)
            await lab.hosts.power_on(instance)
            await lab.greets(instance)
        assert instance in lab.hosts.running

    run(lab, test)


def test_floating_address_moves_between_running_instances(lab):
    async def test(lab):
        one, other = await lab.boot(), await lab.boot()
        floating = lab.address(200)
        fixed = [lab.spec(each).addresses[0] for each in (one, other)]
        await lab.hosts.tell(one, do="addresses", addresses=[fixed[0], floating])
        async with await lab.connect(one, floating) as connection:
            assert lab.spec(one).id in (await connection.run("pwd")).stdout
        # The other order first, as it may come: the address is taken until the next line.
        await lab.hosts.tell(other, do="addresses", addresses=[fixed[1], floating])
        await lab.hosts.tell(one, do="addresses", addresses=[fixed[0]])

        async def moved():
            try:
                async with await lab.connect(one, floating) as connection:
                    return lab.spec(other).id in (await connection.run("pwd")).stdout
            except (OSError, asyncssh.Error):
                return False

        await eventually(moved, is_async=True)

    run(lab, test)


def test_silent_instance_accepts_and_says_nothing(lab):
    async def test(lab):
        instance = await lab.boot()
        address = lab.spec(instance).addresses[0]
        await lab.hosts.tell(instance, do="silent", on=True)
        assert await greeting(address, lab.port) == b""
        await lab.hosts.tell(instance, do="silent", on=False)
        assert (await greeting(address, lab.port)).startswith(b"SSH-2.0-")
        await lab.hosts.tell(instance, do="addresses", addresses=[])
        assert await greeting(address, lab.port) is None

    run(lab, test)


def test_run_folder_is_empty_once_the_power_is_on(lab):
    """What is put there after the order to boot is not taken away by the boot."""

    async def test(lab):
        instance = await lab.boot()
        (lab.root(instance) / "run/old").touch()
        await lab.hosts.reboot(instance)
        (lab.root(instance) / "run/new").touch()
        await lab.greets(instance)
        assert not (lab.root(instance) / "run/old").exists()
        assert (lab.root(instance) / "run/new").exists()

    run(lab, test)


def test_changes_of_addresses_that_come_at_once_are_carried_out_in_turn(lab):
    async def test(lab):
        instance = await lab.boot()
        address = lab.spec(instance).addresses[0]
        for _ in range(5):
            await lab.hosts.tell(instance, do="silent", on=True)
            await asyncio.gather(
                lab.hosts.tell(instance, do="silent", on=False),
                lab.hosts.tell(instance, do="addresses", addresses=[address]),
                lab.hosts.tell(instance, do="addresses", addresses=[address, lab.address(201)]),
            )
            assert (await greeting(address, lab.port)).startswith(b"SSH-2.0-")
            assert (await greeting(lab.address(201), lab.port)).startswith(b"SSH-2.0-")
        assert (lab.spec(instance).folder / "instance.log").read_text() == ""

    run(lab, test)
