"""The detached script on a real sshd: its true end, its whole log, whatever becomes of the connection."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest
from remote_subject import HOSTILE, RUN, connected, ended, eventually, followed, run_script, target
from sshd import Sshd

from jetrun.errors import RemoteCommandFailed, RemoteError, RemoteRefused, RemoteUnreachable, Secret
from jetrun.remote.interface import ScriptSpec, ScriptState


@pytest.fixture
def server(tmp_path):
    server = Sshd(tmp_path / "s")
    server.start()
    yield server
    server.stop()
    for path in server.home.glob(".jetrun/*/s*.pid"):
        _end_group(int(path.read_text().split()[0]))


def _end_group(pid: int) -> None:
    try:
        if os.getsid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.fixture
def remote(server, tmp_path):
    with connected(server, tmp_path) as remote:
        yield remote


@pytest.fixture
def base(server):
    return server.home / ".jetrun" / RUN


@pytest.mark.parametrize("code", [0, 3, 77, 119, 255])
def test_exit_code_is_the_scripts_own(remote, code):
    run_script(remote, f"exit {code}")
    reading = ended(remote)
    assert (reading.state, reading.exit_code) == (ScriptState.ENDED, code)
    assert reading.started_at is not None
    assert reading.ended_at >= reading.started_at


@pytest.mark.parametrize(("name", "number"), [("KILL", 9), ("TERM", 15), ("SEGV", 11)])
def test_script_killed_by_a_signal_reads_128_and_the_signal(remote, name, number):
    run_script(remote, f"kill -{name} $$; sleep 5")
    reading = ended(remote)
    assert (reading.exit_code, reading.signal) == (128 + number, number)


def test_script_that_is_not_there_is_127_and_says_so_in_the_log(remote):
    remote.prepare(None, "")
    remote.start_script(ScriptSpec(command=["no-such-program", "x"]))
    assert ended(remote).exit_code == 127
    assert b"no-such-program" in followed(remote)


def test_script_without_a_first_line_runs(remote):
    remote.prepare(b"echo plain; exit 4\n", "plain")
    remote.start_script(ScriptSpec(command=["../script/plain"]))
    assert ended(remote).exit_code == 4


def test_binary_script_arrives_unharmed(remote, base):
    body = b"#!/bin/sh\nexit 0\n" + bytes(range(256)) * 5000
    remote.prepare(body, "binary")
    assert (base / "script/binary").read_bytes() == body
    assert stat.S_IMODE((base / "script/binary").stat().st_mode) == 0o700


def test_script_runs_in_the_work_folder_with_its_own_session_and_no_input(remote, base):
    run_script(remote, "pwd; cat; ps -o sid= -p $$ | tr -d ' '; echo $$; umask >&2; echo err >&2")
    ended(remote)
    lines = followed(remote).decode().splitlines()
    assert lines[0] == str(base / "work")
    assert lines[1] == lines[2]
    assert lines[3] != "0077"
    assert lines[4] == "err"


def test_command_instead_of_a_script(remote):
    remote.prepare(None, "")
    remote.start_script(ScriptSpec(command=["printf", "%s|", *HOSTILE]))
    ended(remote)
    assert followed(remote).decode() == "".join(f"{name}|" for name in HOSTILE)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_script_name_runs(remote, name):
    remote.prepare(b'#!/bin/sh\nprintf %s "$0"\nexit 7\n', name)
    remote.start_script(ScriptSpec(command=[f"../script/{name}"]))
    assert ended(remote).exit_code == 7
    assert followed(remote).decode() == f"../script/{name}"


def test_hostile_environment_arrives_unharmed(remote, server):
    values = {f"NAME_{number}": value for number, value in enumerate(HOSTILE)} | {"EMPTY": "", "RAW": "\udcff\udc80"}
    remote.prepare(b"#!/usr/bin/python3\nimport json, os\nprint(json.dumps(dict(os.environ)))\n", "show")
    remote.start_script(ScriptSpec(command=["../script/show"], env=values))
    ended(remote)
    seen = json.loads(followed(remote))
    assert {name: seen[name] for name in values} == values


def test_environment_is_private_never_in_a_command_line_and_gone_after_the_start(remote, base, server, tmp_path):
    remote.prepare(b"#!/bin/sh\nsleep 1\n", "script.sh")
    seen = tmp_path / "seen"
    server.program(
        "setsid",
        f"#!/bin/sh\nexec 3>>'{seen}'\nstat -c '%a %n' '{base}'/env >&3 2>&1\ncat /proc/[0-9]*/cmdline >&3 2>/dev/null\n"
        'exec 3>&-\nexec /usr/bin/setsid "$@"\n',
    )
    secret = "hunter2-" + base64.b16encode(os.urandom(8)).decode()
    spec = ScriptSpec(command=["../script/script.sh"], env={"TOKEN": Secret(secret)})
    remote.start_script(spec)
    eventually(lambda: not (base / "env").exists())
    text = seen.read_bytes()
    assert b"600 " in text
    assert secret.encode() not in text
    assert secret.encode() not in b"".join(path.read_bytes() for path in base.rglob("*") if path.is_file())
    assert b"script.sh" in text
    ended(remote)


@pytest.mark.parametrize("name", ["A B", "1A", "A=B", "", "A;id", "é", "PPID", "UID"])
def test_environment_name_that_no_shell_takes_is_refused(remote, name):
    remote.prepare(None, "")
    with pytest.raises(RemoteRefused, match="env"):
        remote.start_script(ScriptSpec(command=["true"], env={name: "x"}))
    assert remote.read_script().state is ScriptState.ABSENT


def test_script_is_absent_before_it_is_started(remote):
    assert remote.read_script().state is ScriptState.ABSENT
    remote.prepare(None, "")
    assert remote.read_script().state is ScriptState.ABSENT


def test_starting_without_a_work_folder_is_an_error(remote):
    with pytest.raises(RemoteCommandFailed, match="no folder"):
        remote.start_script(ScriptSpec(command=["true"]))


def test_second_start_reads_the_first_and_starts_nothing(remote, base):
    run_script(remote, "echo started >>count; sleep 1; exit 5")
    for _ in range(3):
        assert remote.start_script(ScriptSpec(command=["../script/script.sh"])).state is ScriptState.RUNNING
    assert ended(remote).exit_code == 5
    assert remote.start_script(ScriptSpec(command=["../script/script.sh"])).exit_code == 5
    assert (base / "work/count").read_text() == "started\n"
    assert not list(base.glob("env*"))


def test_starts_at_the_same_time_start_one(remote, server, base, tmp_path):
    """A lost reply, and its repeat on a new connection while the first is still at work."""
    import threading

    remote.prepare(b"#!/bin/sh\necho started >>count; sleep 0.5\n", "script.sh")
    states = []

    def start():
        with connected(server, tmp_path) as another:
            states.append(another.start_script(ScriptSpec(command=["../script/script.sh"], env={"A": "1"})).state)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ended(remote)
    assert states == [ScriptState.RUNNING] * 4
    assert (base / "work/count").read_text() == "started\n"
    assert not list(base.glob("env*"))


def test_reply_that_is_lost_starts_once(remote, server, base, tmp_path):
    """The connection breaks while the supervisor is being started."""
    server.program("setsid", f"#!/bin/sh\n: >'{tmp_path}/reached'\nexec /usr/bin/setsid \"$@\"\n")
    server.program(
        "date",
        f"#!/bin/sh\n[ -e '{tmp_path}/dropped' ] || {{ : >'{tmp_path}/now'; sleep 1; }}\nexec /bin/date \"$@\"\n",
    )
    import threading

    def cut():
        eventually((tmp_path / "now").exists)
        server.drop()
        (tmp_path / "dropped").touch()

    cutter = threading.Thread(target=cut)
    cutter.start()
    with pytest.raises(RemoteUnreachable):
        run_script(remote, "echo started >>count; sleep 1")
    cutter.join()
    remote.connect(target(server), within_s=10)
    remote.start_script(ScriptSpec(command=["../script/script.sh"]))
    assert ended(remote).exit_code == 0
    assert (base / "work/count").read_text() == "started\n"


def test_script_outlives_the_connection(remote, server, base):
    run_script(remote, "sleep 0.7; echo after; exit 9")
    server.drop()
    remote.connect(target(server), within_s=10)
    assert ended(remote).exit_code == 9
    assert followed(remote) == b"after\n"


def test_broken_connection_loses_and_doubles_no_byte_of_the_log(remote, server):
    run_script(remote, "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.003; done")
    log = b""
    breaks = 0
    follower = remote.follow(0)
    while not follower.ended:
        try:
            data = follower.read(997, 0.5)
            log += data
            if breaks < 4 and len(log) > 700 * (breaks + 1):
                breaks += 1
                server.drop()
        except RemoteUnreachable:
            follower.close()
            remote.connect(target(server), within_s=10)
            follower = remote.follow(len(log))
    follower.close()
    assert breaks == 4
    assert log == b"".join(b"line %d\n" % number for number in range(400))


def test_follower_reports_a_broken_connection(remote, server):
    run_script(remote, "sleep 3")
    follower = remote.follow(0)
    assert follower.read(10, 0.1) == b""
    server.drop()
    with pytest.raises(RemoteUnreachable):
        follower.read(10, 10)
    assert not follower.ended
    follower.close()


def test_follower_waits_no_longer_than_asked(remote):
    run_script(remote, "sleep 2")
    follower = remote.follow(0)
    for wait_s in (0.0, 0.3):
        began = time.monotonic()
        assert follower.read(10, wait_s) == b""
        assert time.monotonic() - began < wait_s + 0.3
    follower.close()


def test_follower_reads_no_more_than_asked_and_keeps_the_rest(remote):
    run_script(remote, "printf 0123456789")
    ended(remote)
    follower = remote.follow(2)
    parts = []
    while not follower.ended:
        parts.append(follower.read(3, 1))
    follower.close()
    assert max(map(len, parts)) <= 3
    assert b"".join(parts) == b"23456789"


def test_log_without_a_newline_at_its_end_comes_at_once(remote):
    run_script(remote, "printf 'password: '; sleep 3")
    follower = remote.follow(0)
    assert follower.read(100, 2) == b"password: "
    follower.close()


def test_nobody_who_follows_holds_no_memory_and_slows_nothing(remote):
    """40 MB that nobody reads: the script is done all the same, the reader's memory is SSH's window."""
    run_script(remote, "head -c 40000000 /dev/zero; exit 6")
    follower = remote.follow(0)
    assert ended(remote).exit_code == 6
    got = 0
    while not follower.ended:
        got += len(follower.read(1_000_000, 1))
    follower.close()
    assert got == 40_000_000 == remote.read_script().log_size_bytes


def test_followers_end_is_the_scripts_end(remote):
    run_script(remote, "sleep 0.4; exit 1")
    follower = remote.follow(0)
    began = time.monotonic()
    while not follower.ended:
        follower.read(10, 5)
    assert time.monotonic() - began < 2
    assert remote.read_script().state is ScriptState.ENDED
    follower.close()


def test_child_that_goes_on_after_the_script_does_not_hold_its_end(remote, base):
    run_script(remote, "sleep 30 & echo $! >pid; exit 2")
    assert ended(remote, 5).exit_code == 2
    assert followed(remote) == b""
    os.kill(int((base / "work/pid").read_text()), signal.SIGKILL)


def test_guest_without_a_gnu_tail_is_followed_too(remote, server):
    server.program("tail", '#!/bin/sh\nfor w; do case $w in --*) exit 1;; esac; done\nexec /usr/bin/tail "$@"\n')
    run_script(remote, "echo one; sleep 0.5; echo two")
    assert followed(remote) == b"one\ntwo\n"


def test_supervisor_killed_and_script_alive_is_running_then_vanished(remote, base):
    run_script(remote, "echo $$ >pid; sleep 30")
    eventually(lambda: (base / "script.pid").exists() and (base / "work/pid").exists())
    os.kill(int((base / "supervisor.pid").read_text().split()[0]), signal.SIGKILL)
    time.sleep(0.1)
    assert remote.read_script().state is ScriptState.RUNNING
    remote.signal_script(signal.SIGKILL)
    eventually(lambda: remote.read_script().state is ScriptState.VANISHED)
    assert followed(remote) == b""


def test_script_of_another_boot_has_vanished(remote, base):
    """A reboot: a stranger has the pid, and the boot id tells."""
    run_script(remote, "sleep 30")
    eventually((base / "script.pid").exists)
    remote.signal_script(signal.SIGKILL)
    ended(remote)
    (base / "exit").unlink()
    start = Path("/proc/self/stat").read_text().rsplit(") ", 1)[1].split()[19]
    for name in ("supervisor.pid", "script.pid"):
        (base / name).write_text(f"{os.getpid()} {start} 00000000-0000-4000-8000-000000000000 1800000000\n")
    assert remote.read_script().state is ScriptState.VANISHED


def test_stranger_with_the_same_pid_is_not_the_script(remote, base):
    run_script(remote, "exit 0")
    ended(remote)
    (base / "exit").unlink()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for name in ("supervisor.pid", "script.pid"):
        (base / name).write_text(f"{os.getpid()} 12345 {boot} 1800000000\n")
    assert remote.read_script().state is ScriptState.VANISHED


def test_claimed_start_that_went_no_further_has_vanished_after_a_moment(remote, base):
    remote.prepare(None, "")
    (base / "started").mkdir()
    assert remote.read_script().state is ScriptState.RUNNING
    os.utime(base / "started", (1_700_000_000, 1_700_000_000))
    assert remote.read_script().state is ScriptState.VANISHED


def test_signal_reaches_children_their_own_sessions_and_cleared_environments(remote, base):
    run_script(
        remote,
        "sleep 60 & echo $! >a; setsid sh -c 'echo $$ >b; echo >r; exec sleep 60' &\nenv -i sleep 60 & echo $! >c; wait",
    )
    eventually(lambda: all((base / "work" / name).exists() for name in "abcr"))
    pids = [int((base / "work" / name).read_text()) for name in "abc"]
    ends = [os.pidfd_open(pid) for pid in pids]
    try:
        remote.signal_script(signal.SIGKILL)
        assert ended(remote, 5).exit_code == 137
        import select

        for end in ends:
            assert select.select([end], [], [], 5)[0]
    finally:
        for end in ends:
            os.close(end)


def test_term_lets_the_script_say_its_last_word(remote):
    run_script(remote, "trap 'echo saved; exit 42' TERM; echo ready; while :; do sleep 0.05; done")
    follower = remote.follow(0)
    assert follower.read(100, 5) == b"ready\n"
    remote.signal_script(signal.SIGTERM)
    assert ended(remote).exit_code == 42
    rest = b""
    while not follower.ended:
        rest += follower.read(100, 1)
    follower.close()
    assert rest.endswith(b"saved\n")


def test_signal_to_another_run_does_not_reach_this_one(server, remote, tmp_path):
    run_script(remote, "sleep 2; exit 8")
    with connected(server, tmp_path, run="run-10") as other, connected(server, tmp_path, run="run") as third:
        for one in (other, third):
            one.prepare(None, "")
            one.signal_script(signal.SIGKILL)
    assert ended(remote).exit_code == 8


def test_signal_without_a_script_is_no_error(remote):
    remote.prepare(None, "")
    remote.signal_script(signal.SIGTERM)


def test_exit_file_is_whole_or_not_there(remote, base):
    """Written beside, in room that was taken at the start: also a disk that the script has filled lets it end."""
    run_script(remote, "cp ../exit.new before; exit 5")
    ended(remote)
    assert (base / "work/before").stat().st_size == (base / "exit").stat().st_size
    assert not (base / "exit.new").exists()


def test_prepare_can_be_repeated_and_takes_the_new_script(remote, base):
    remote.prepare(b"#!/bin/sh\nexit 1\n", "script.sh")
    (base / "work/kept").touch()
    remote.prepare(b"#!/bin/sh\nexit 2\n", "script.sh")
    remote.start_script(ScriptSpec(command=["../script/script.sh"]))
    assert ended(remote).exit_code == 2
    assert (base / "work/kept").exists()
    assert stat.S_IMODE(base.stat().st_mode) == 0o700


def test_heartbeat_is_touched(remote, base):
    remote.prepare(None, "")
    remote.beat()
    os.utime(base / "heartbeat", (1, 1))
    remote.beat()
    assert time.time() - (base / "heartbeat").stat().st_mtime < 10


def test_heartbeat_before_anything_was_prepared_is_kept(remote, base):
    remote.beat()
    assert (base / "heartbeat").exists()


def test_heartbeat_that_cannot_be_touched_is_an_error(remote, base):
    base.parent.touch()
    with pytest.raises(RemoteError, match="heartbeat"):
        remote.beat()


def test_users_are_warned_as_root_with_the_text_unharmed(remote, server):
    server.program("wall", f"#!/bin/sh\ncat >>'{server.root}/walled'\n")
    text = 'it\'s "over" $HOME `id` \\n ünï'
    remote.warn_users(text)
    assert (server.root / "walled").read_text() == f"{text}\n"
