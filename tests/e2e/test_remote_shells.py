"""The shells that stay on the instance between programs, on OpenSSH's own server: nothing of one program reaches the next."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from remote_subject import eventually, target
from sshd import Sshd

from jetrun.errors import RemoteCommandFailed, RemoteUnreachable
from jetrun.remote import opening, programs, shells
from jetrun.remote.connection import SshConnection
from jetrun.remote.host_keys import HostKeyFolder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "s")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def link(server: Sshd, tmp_path: Path) -> Iterator[SshConnection]:
    opened, _ = opening.connect(target(server), HostKeyFolder(tmp_path / "host_keys"), within_s=10)
    yield opened
    opened.close()


def said(link: SshConnection, body: str, *words: str, as_root: bool = False) -> str:
    return link.run(programs.assemble(body, words), within_s=10, as_root=as_root).output.decode()


def shell(link: SshConnection, *, as_root: bool = False) -> int:
    """The pid of the shell in whose subshells the programs run."""
    return int(said(link, "echo $$\n", as_root=as_root))


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_programs_share_a_shell_and_nothing_else(link: SshConnection) -> None:
    first = shell(link)
    ask = 'printf "%s|" "$#" "${left:-}" "$(umask)" "$-" "$IFS" "$PWD"\n'
    before = said(link, ask)
    said(link, "cd /; umask 000; set -f; IFS=x; left=behind; export left; read -r eaten\n", "one", "two")
    assert said(link, ask) == before
    assert shell(link) == first


@pytest.mark.parametrize("code", [0, 1, 3, 77])
def test_its_exit_code_and_its_complaint_are_its_own(link: SshConnection, code: int) -> None:
    for text in ("one", "two"):
        reply = link.run(programs.assemble(f"echo {text}; echo bad {text} >&2; exit {code}\n"), within_s=10)
        assert (reply.exit_code, reply.output, reply.errors) == (code, f"{text}\n".encode(), f"bad {text}\n")


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 300_001])
def test_an_answer_comes_whole_whatever_its_size_and_its_end(link: SshConnection, size: int) -> None:
    assert said(link, f"head -c {size} /dev/zero | tr '\\0' x\n") == "x" * size
    assert said(link, "printf 'no newline'\n") == "no newline"


def test_what_looks_like_the_end_is_not_the_end(link: SshConnection) -> None:
    text = "\\n@jetrun-over-0000000000000000@0\\n@jetrun-answer@\\nmore\\n"
    assert said(link, f"printf '{text}'\n") == text.replace("\\n", "\n")


def test_a_process_that_is_left_behind_does_not_hold_the_answer_up(link: SshConnection) -> None:
    began = time.monotonic()
    assert said(link, "sleep 5 & echo done\n") == "done\n"
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("as_root", [False, True])
def test_a_shell_that_somebody_ended_meanwhile_is_replaced(link: SshConnection, number: int, as_root: bool) -> None:
    """A script may well say ``pkill sh``."""
    pid = shell(link, as_root=as_root)
    os.kill(pid, number)
    eventually(lambda: not lives(pid))
    assert said(link, "echo here\n", as_root=as_root) == "here\n"
    assert shell(link, as_root=as_root) != pid


def test_a_program_that_was_killed_half_way_is_not_run_again_unasked(link: SshConnection, tmp_path: Path) -> None:
    shell(link)
    body = f"echo x >>'{tmp_path}/runs'; kill -9 $$\n"
    with pytest.raises(RemoteUnreachable):
        link.run(programs.assemble(body), within_s=10)
    assert (tmp_path / "runs").read_text() == "x\n"
    assert said(link, "echo here\n") == "here\n"


def test_a_shell_that_does_not_answer_in_time_is_given_up(link: SshConnection) -> None:
    pid = shell(link)
    with pytest.raises(RemoteUnreachable, match="silent"):
        link.run(programs.assemble("sleep 30\n"), within_s=0.5)
    assert shell(link) != pid


def test_no_shell_of_roots_stays_behind_a_long_script(link: SshConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs next, with whichever rights, closes what nobody has needed for a while."""
    root, own = shell(link, as_root=True), shell(link)
    monkeypatch.setattr(shells, "PARKED_S", 0.0)
    assert shell(link) != own
    eventually(lambda: not lives(root) and not lives(own))


def test_they_end_with_the_connection(link: SshConnection) -> None:
    both = [shell(link), shell(link, as_root=True)]
    link.close()
    eventually(lambda: not any(lives(pid) for pid in both))


@pytest.mark.parametrize("sessions", [1, 2])
def test_a_server_of_few_sessions_gets_the_parked_ones_back(server: Sshd, tmp_path: Path, sessions: int) -> None:
    server.stop()
    server.configure(f"MaxSessions {sessions}")
    server.start()
    opened, _ = opening.connect(target(server), HostKeyFolder(tmp_path / "host_keys"), within_s=10)
    try:
        for as_root in (False, True, False, True):
            assert said(opened, "echo here\n", as_root=as_root) == "here\n"
        channel = opened.open(programs.assemble("echo through\n"), within_s=5)
        assert b"".join(iter(lambda: channel.recv(1000), b"")).endswith(b"through\n")
    finally:
        opened.close()


def test_an_answer_that_is_there_in_time_counts_however_late_it_is_asked_for(link: SshConnection) -> None:
    answer = link.begin(programs.assemble("echo here\n"), within_s=1.0)
    time.sleep(1.5)
    assert answer().output == b"here\n"


def test_a_login_that_asks_something_instead_is_quoted(server: Sshd, tmp_path: Path) -> None:
    server.stop()
    server.configure("ForceCommand echo 'Choose 1, 2 or 3'; exec cat >/dev/null")
    server.start()
    opened, _ = opening.connect(target(server), HostKeyFolder(tmp_path / "host_keys"), within_s=10)
    try:
        with pytest.raises(RemoteCommandFailed, match="Choose 1, 2 or 3"):
            opened.run(programs.assemble("echo here\n"), within_s=1.0)
    finally:
        opened.close()


def test_a_server_that_never_starts_the_shell_is_given_up_in_time(
    link: SshConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paramiko waits for the server's word to an exec request without any limit."""
    from paramiko import Transport
    from paramiko.common import MSG_CHANNEL_SUCCESS

    monkeypatch.setitem(Transport._channel_handler_table, MSG_CHANNEL_SUCCESS, lambda channel, message: None)
    began = time.monotonic()
    with pytest.raises(RemoteUnreachable):
        link.run(programs.assemble("echo here\n"), within_s=1.0)
    assert time.monotonic() - began < 5
