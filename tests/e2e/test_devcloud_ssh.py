"""Instances as real SSH hosts, seen by clients that are not ours: asyncssh, OpenSSH and rsync. No cloud above them."""

from __future__ import annotations

import asyncio
import filecmp
import os
import shlex
import tempfile
from pathlib import Path

import asyncssh
import pytest
from instance_hosts import USER, eventually, finished, forked, listening, lives

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def module_lab():
    with tempfile.TemporaryDirectory(prefix="hosts") as folder, forked(Path(folder)) as (lab, _):
        yield lab


@pytest.fixture
def inside(module_lab):
    """Runs a test's coroutine, given the lab and an instance that answers; nothing is left on."""

    def run(test, **more):
        async def whole():
            async with listening(module_lab, close=False):
                instance = await module_lab.boot(**more)
                try:
                    return await test(module_lab, instance)
                finally:
                    for one in list(module_lab.hosts.running):
                        await module_lab.hosts.power_off(one, graceful=False)

        return asyncio.run(whole())

    return run


@pytest.mark.parametrize(("command", "status", "signal"), [
    ("exit 0", 0, None), ("exit 3", 3, None), ("exit 77", 77, None), ("exit 137", 137, None),
    ("kill -9 $$", -1, ("KILL", False, "", "en")), ("nonesuch-command", 127, None),
])  # fmt: skip
def test_exit_status_is_the_commands_own(inside, command, status, signal):
    async def test(lab, instance):
        done = await lab.run(instance, command)
        assert (done.exit_status, done.exit_signal[:2] if done.exit_signal else None) == (
            status,
            signal[:2] if signal else None,
        )

    inside(test)


def test_streams_are_apart_and_binary(inside):
    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            done = await connection.run(r"printf 'a\377\000b'; printf 'e\376' >&2", encoding=None)
            assert (done.stdout, done.stderr) == (b"a\xff\0b", b"e\xfe")

    inside(test)


def test_ten_megabytes_come_back_unharmed(inside):
    async def test(lab, instance):
        data = os.urandom(10_000_000)
        async with await lab.connect(instance) as connection:
            done = await connection.run("cat", input=data, encoding=None)
        assert done.stdout == data

    inside(test)


def test_end_of_input_is_seen_while_output_goes_on(inside):
    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            process = await connection.create_process("cat >/dev/null; echo after")
            process.stdin.write_eof()
            assert await process.stdout.read() == "after\n"

    inside(test)


def test_program_waits_for_a_client_that_does_not_read(inside):
    """Back-pressure: what nobody reads stays in the program, not in the server's memory."""

    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            script = "i=0; while [ $i -lt 400 ]; do head -c 65536 /dev/zero; i=$((i + 1)); echo $i >progress; done"
            process = await connection.create_process(script, encoding=None)
            process.channel.pause_reading()
            progress = lab.home(instance) / "progress"
            seen = [-1, -2]

            def stands_still():
                seen.append(int((progress.read_text() if progress.exists() else "") or 0))
                return seen[-1] > 0 and len(set(seen[-15:])) == 1

            await eventually(stands_still)
            assert seen[-1] < 400
            process.channel.resume_reading()
            assert len(await process.stdout.read()) == 400 * 65536

    inside(test)


def test_input_of_a_program_that_does_not_read_is_held_back(inside):
    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            process = await connection.create_process("sleep 0.3; wc -c", encoding=None)
            process.stdin.write(bytes(20_000_000))
            process.stdin.write_eof()
            assert int(await process.stdout.read()) == 20_000_000

    inside(test)


def test_program_that_closes_its_input_is_not_waited_for(inside):
    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            done = await connection.run("exec <&-; echo closed", input=bytes(5_000_000), encoding=None)
        assert (done.exit_status, done.stdout) == (0, b"closed\n")

    inside(test)


def test_environment_is_the_instances_own(inside):
    """Nothing of the devcloud's process leaks in, and of the client's wishes only the language."""

    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            wishes = {"LC_ALL": "C", "LANG": "C", "EVIL": "1", "LD_PRELOAD": "/x"}
            done = await connection.run("env", env=wishes)
        found = dict(line.split("=", 1) for line in done.stdout.splitlines())
        home = str(lab.home(instance))
        assert {key: found[key] for key in ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "PWD")} == {
            "HOME": home, "USER": USER, "LOGNAME": USER, "SHELL": "/bin/sh", "LANG": "C", "LC_ALL": "C", "PWD": home,
        }  # fmt: skip
        assert set(found) <= {"HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "PWD", "PATH", "SSH_CONNECTION",
                              "SSH_CLIENT", "_", "OLDPWD", "SHLVL"}  # fmt: skip
        assert found["SSH_CONNECTION"].split()[2:] == [lab.spec(instance).addresses[0], str(lab.port)]
        assert found["PATH"].split(":")[1:4] == ["/usr/local/bin", "/usr/bin", "/bin"]

    inside(test)


def test_terminal_is_one(inside):
    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            process = await connection.create_process(
                "tty; stty size; echo $TERM; read line; echo got $line; read line",
                term_type="xterm",
                term_size=(100, 30),
            )
            lines = [(await process.stdout.readline()).rstrip() for _ in range(3)]
            assert lines[0].startswith("/dev/pts/")
            assert lines[1:] == ["30 100", "xterm"]
            process.stdin.write("hello\n")
            assert "got hello" in await process.stdout.readuntil("got hello\r\n")
            process.stdin.write("\x03")
            await process.wait_closed()
            assert process.exit_signal[0] == "INT"

    inside(test)


def test_client_can_signal_its_program(inside):
    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            process = await connection.create_process("echo ready; exec sleep 60")
            await process.stdout.readline()
            process.send_signal("TERM")
            await process.wait_closed()
            assert process.exit_signal[0] == "TERM"

    inside(test)


def test_login_is_by_a_key_of_the_instances_and_never_as_root(inside):
    async def test(lab, instance):
        async with await lab.connect(instance, username="somebody") as connection:
            assert (await connection.run("echo $USER")).stdout == "somebody\n"
        stranger = asyncssh.generate_private_key("ssh-ed25519")
        for wrong in (
            {"username": "root"},
            {"client_keys": [stranger]},
            {"client_keys": [], "password": "x"},
            {"username": "../x"},
        ):
            with pytest.raises(asyncssh.PermissionDenied):
                await lab.connect(instance, **wrong)

    inside(test)


def test_authorized_keys_are_read_at_each_login(inside):
    async def test(lab, instance):
        other = asyncssh.generate_private_key("ssh-ed25519")
        line = other.export_public_key().decode().strip()
        await lab.sh(instance, f"echo {shlex.quote('restrict ' + line)} >>.ssh/authorized_keys")
        async with await lab.connect(instance, client_keys=[other]) as connection:
            assert (await connection.run("true")).exit_status == 0
        await lab.sh(instance, "rm .ssh/authorized_keys")
        with pytest.raises(asyncssh.PermissionDenied):
            await lab.connect(instance)

    inside(test)


def test_sessions_share_a_connection(inside):
    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            done = await asyncio.gather(*(connection.run(f"sleep 0.1; echo {number}") for number in range(8)))
        assert [one.stdout.strip() for one in done] == [str(number) for number in range(8)]

    inside(test)


def test_sftp_begins_at_the_home(inside):
    async def test(lab, instance):
        async with await lab.connect(instance) as connection, connection.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == str(lab.home(instance))
            async with sftp.open("note", "wb") as file:
                await file.write(b"\xff" * 100_000)
        assert (lab.home(instance) / "note").read_bytes() == b"\xff" * 100_000

    inside(test)


def test_unknown_subsystem_is_refused(inside):
    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.create_process(subsystem="netconf")

    inside(test)


def test_keepalive_is_answered(inside):
    async def test(lab, instance):
        async with await lab.connect(instance, keepalive_interval=0.05, keepalive_count_max=3) as connection:
            assert (await connection.run("sleep 0.5; echo here")).stdout == "here\n"

    inside(test)


def test_program_lives_on_when_its_connection_is_cut(inside):
    async def test(lab, instance):
        connection = await lab.connect(instance)
        async with connection:
            process = await connection.create_process("trap '' PIPE; echo up; cat; sleep 0.1; echo done >after")
            await process.stdout.readline()
            await lab.hosts.tell(instance, do="drop")
            await connection.wait_closed()
        after = lab.home(instance) / "after"
        await eventually(after.exists)
        assert instance in lab.hosts.running

    inside(test)


def test_program_that_writes_to_a_cut_connection_gets_a_broken_pipe(inside):
    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            process = await connection.create_process("echo $$; exec yes")
            pid = int(await process.stdout.readline())
            connection.abort()
        await eventually(lambda: not lives(pid))

    inside(test)


def test_scripts_cannot_end_the_machine_by_ending_their_parent(inside):
    async def test(lab, instance):
        await lab.sh(instance, "kill -TERM $PPID; kill -HUP $PPID; kill -INT $PPID")
        assert await lab.sh(instance, "echo alive") == "alive"
        assert lab.offs == []

    inside(test)


def test_interrupt_ends_a_program_as_everywhere(inside):
    """The instance's own deafness to signals is not handed down."""

    async def test(lab, instance):
        done = await lab.run(instance, "kill -INT $$; echo survived")
        assert done.exit_signal[0] == "INT"

    inside(test)


def test_openssh_trusts_the_key_of_the_console(inside):
    async def test(lab, instance):
        host = f"{USER}@{lab.spec(instance).addresses[0]}"
        done = await asyncio.to_thread(finished, [*lab.openssh(instance), host, "cat; exit 77"], input=b"\0bytes")
        assert (done.returncode, done.stdout, done.stderr) == (77, b"\0bytes", b"")
        killed = await asyncio.to_thread(finished, [*lab.openssh(instance), host, "kill -9 $$"])
        assert killed.returncode == 255

    inside(test)


def test_rsync_both_ways(inside):
    async def test(lab, instance):
        there, back = lab.folder / f"data-{instance}", lab.folder / f"back-{instance}"
        (there / "deep/er").mkdir(parents=True)
        for number in range(50):
            (there / f"deep/er/file {number} $é").write_bytes(os.urandom(number * 997))
        (there / "empty").mkdir()
        (there / "link").symlink_to("deep")
        host = f"{USER}@{lab.spec(instance).addresses[0]}"
        rsync = ["rsync", "-a", "-s", "-e", shlex.join(lab.openssh(instance))]
        for argv in ([*rsync, f"{there}/", f"{host}:data"], [*rsync, f"{host}:data/", str(back)]):
            done = await asyncio.to_thread(finished, argv)
            assert done.returncode == 0, done.stderr
        assert sorted(str(path.relative_to(back)) for path in back.rglob("*")) == sorted(
            str(path.relative_to(there)) for path in there.rglob("*")
        )
        names = [str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()]
        assert filecmp.cmpfiles(there, back, names, shallow=False)[0] == names
        assert (back / "link").readlink() == Path("deep")

    inside(test)


def test_tar_goes_through_an_ordinary_command(inside):
    async def test(lab, instance):
        async with await lab.connect(instance) as connection:
            await connection.run("mkdir t; echo x >t/a; echo y >t/b")
            packed = await connection.run("tar c t", encoding=None)
            done = await connection.run("mkdir u; tar x -C u; cat u/t/a u/t/b", input=packed.stdout, encoding=None)
        assert done.stdout == b"x\ny\n"

    inside(test)
