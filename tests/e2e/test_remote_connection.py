"""Connections against a real sshd: whom they trust, what they refuse, and that no call outlives its deadline."""

from __future__ import annotations

import logging
import os
import socket
import stat
import threading
import time

import pytest
from remote_subject import INSTANCE, RUN, connected, eventually, run_script, switch, target
from sshd import Sshd, keygen

from jetrun.errors import RemoteCommandFailed, RemoteError, RemoteRefused, RemoteUnreachable
from jetrun.remote import execution, ssh
from jetrun.remote.ssh import SshRemote


@pytest.fixture
def server(tmp_path):
    server = Sshd(tmp_path / "s")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def remote(tmp_path):
    remote = SshRemote(RUN, host_keys=tmp_path / "host_keys")
    yield remote
    remote.close()


def test_first_use_is_said_and_pinned(server, remote, tmp_path):
    assert not remote.is_pinned(INSTANCE)
    first = remote.connect(target(server), within_s=10)
    assert first.host_key_trust == "first-use"
    assert remote.is_pinned(INSTANCE)
    path = tmp_path / "host_keys" / INSTANCE
    assert path.read_text().split()[1:] == server.host_key_line().split()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = remote.connect(target(server), within_s=10)
    assert (again.host_key_trust, again.host_key_fingerprint) == ("pinned", first.host_key_fingerprint)


def test_console_key_is_trusted_and_pinned(server, remote):
    keys = remote.parse_console(
        f"[   9.1] cloud-init[7]: -----BEGIN SSH HOST KEY KEYS-----\n{server.host_key_line()} root@host\n"
        "-----END SSH HOST KEY KEYS-----\nlogin:"
    )
    assert remote.connect(target(server, console_host_keys=keys), within_s=10).host_key_trust == "console"
    assert remote.connect(target(server), within_s=10).host_key_trust == "pinned"


def test_key_that_is_not_the_consoles_is_refused(server, remote, tmp_path):
    keygen(tmp_path / "other")
    line = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    with pytest.raises(RemoteRefused) as caught:
        remote.connect(target(server, console_host_keys=[line]), within_s=10)
    assert caught.value.code == "host-key-changed"


def test_console_key_of_a_stranger_is_not_pinned(server, remote, tmp_path):
    keygen(tmp_path / "other")
    line = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    with pytest.raises(RemoteRefused):
        remote.connect(target(server, console_host_keys=[line]), within_s=10)
    assert not remote.is_pinned(INSTANCE)


def test_pin_that_cannot_be_kept_is_refused_by_its_name(server, tmp_path):
    (tmp_path / "file").touch()
    remote = SshRemote(RUN, host_keys=tmp_path / "file")
    try:
        with pytest.raises(RemoteRefused) as caught:
            remote.connect(target(server), within_s=10)
        assert caught.value.code == "host-key-not-kept"
    finally:
        remote.close()


def test_dead_peer_is_noticed_by_the_kernel(server, tmp_path):
    """paramiko's keepalive is sent and never missed: the acknowledgements have a time limit."""
    with connected(server, tmp_path) as remote:
        sock = remote._connection._sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 45_000
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert remote._connection._transport.packetizer._Packetizer__keepalive_interval == 15


def test_changed_host_key_is_refused_with_both_prints_and_the_way_out(server, remote, tmp_path):
    before = remote.connect(target(server), within_s=10).host_key_fingerprint
    server.stop()
    server.new_host_key()
    server.start()
    with pytest.raises(RemoteRefused) as caught:
        remote.connect(target(server), within_s=10)
    assert caught.value.code == "host-key-changed"
    assert before in caught.value.what
    assert caught.value.what.count("SHA256:") == 2
    assert caught.value.next.startswith("rm ")
    assert str(tmp_path / "host_keys" / INSTANCE) in caught.value.next
    (tmp_path / "host_keys" / INSTANCE).unlink()
    assert remote.connect(target(server), within_s=10).host_key_trust == "first-use"


def test_pin_belongs_to_the_instance_and_not_to_its_address(server, remote):
    """Floating IPs are given to the next instance."""
    remote.connect(target(server), within_s=10)
    assert remote.connect(target(server, instance="another-one"), within_s=10).host_key_trust == "first-use"
    assert remote.connect(target(server, host="localhost"), within_s=10).host_key_trust == "pinned"


def test_stranger_who_does_not_know_our_key_is_not_pinned(server, remote, tmp_path):
    keygen(tmp_path / "other")
    with pytest.raises(RemoteRefused) as caught:
        remote.connect(target(server, identities=[tmp_path / "other"]), within_s=10)
    assert caught.value.code == "login-refused"
    assert not remote.is_pinned(INSTANCE)


def test_second_kind_of_host_key_is_no_surprise(tmp_path, remote):
    """Pinned is ecdsa from the console; the server would rather show ed25519."""
    server = Sshd(tmp_path / "both", host_key_kinds=("ed25519", "ecdsa", "rsa"))
    server.start()
    try:
        for number, kind in enumerate(("ecdsa", "rsa")):
            line = server.host_key_line(kind)
            got = remote.connect(target(server, instance=f"i-{number}", console_host_keys=[line]), within_s=10)
            assert got.host_key_trust == "console"
    finally:
        server.stop()


def test_keys_are_tried_in_order(server, remote, tmp_path):
    keygen(tmp_path / "other")
    remote.connect(target(server, identities=[tmp_path / "missing", tmp_path / "other", server.identity]), within_s=10)


def test_no_readable_key_is_refused_by_name(server, remote, tmp_path):
    with pytest.raises(RemoteRefused, match="missing"):
        remote.connect(target(server, identities=[tmp_path / "missing"]), within_s=10)


def test_key_with_a_passphrase_is_refused_and_nobody_is_asked(server, remote, tmp_path):
    keygen(tmp_path / "locked", passphrase="secret")
    with pytest.raises(RemoteRefused) as caught:
        remote.connect(target(server, identities=[tmp_path / "locked"]), within_s=10)
    assert caught.value.code == "key-has-a-passphrase"


def test_agent_and_default_keys_are_never_used(server, remote, tmp_path, monkeypatch):
    """A stale agent hangs fabric (#2306); a silent listener stands for it."""
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        home = tmp_path / "my home"
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh/id_ed25519").write_bytes(server.identity.read_bytes())
        (home / ".ssh/config").write_text("Host *\n  ProxyCommand false\n  User nobody\n  Port 1\n")
        monkeypatch.setenv("HOME", str(home))
        keygen(tmp_path / "other")
        with pytest.raises(RemoteRefused, match="refuses our key"):
            remote.connect(target(server, identities=[tmp_path / "other"]), within_s=5)
        remote.connect(target(server), within_s=5)


def test_nobody_listens_is_unreachable_at_once(remote, server):
    server.stop()
    began = time.monotonic()
    with pytest.raises(RemoteUnreachable):
        remote.connect(target(server), within_s=10)
    assert time.monotonic() - began < 2


def test_silent_host_is_unreachable_within_the_deadline(remote, server):
    """TCP is taken, no banner comes: fabric's connect_timeout would not cover it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(RemoteUnreachable):
            remote.connect(target(server, port=silent.getsockname()[1]), within_s=1)
        assert time.monotonic() - began < 3


def test_host_that_speaks_something_else_is_unreachable_and_prints_nothing(remote, server, capfd, caplog):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            peer, _ = other.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3)
                peer.recv(100)

        thread = threading.Thread(target=answer)
        thread.start()
        with caplog.at_level(logging.CRITICAL + 1, logger="paramiko"), pytest.raises(RemoteUnreachable):
            remote.connect(target(server, port=other.getsockname()[1]), within_s=2)
        thread.join()
    assert capfd.readouterr().err == ""


def test_handshake_that_stalls_after_the_banner_is_unreachable(remote, server):
    """A relay that passes the banners on and then nothing."""
    with socket.create_server(("127.0.0.1", 0)) as relay:
        done = threading.Event()

        def stall():
            peer, _ = relay.accept()
            with peer:
                peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                done.wait(20)

        thread = threading.Thread(target=stall)
        thread.start()
        began = time.monotonic()
        with pytest.raises(RemoteUnreachable):
            remote.connect(target(server, port=relay.getsockname()[1]), within_s=1)
        assert time.monotonic() - began < 4
        done.set()
        thread.join()


def test_calls_without_a_connection_are_unreachable(remote):
    for call in (
        lambda: remote.facts(people=False),
        remote.read_script,
        remote.beat,
        remote.read_switch,
        lambda: remote.follow(0),
    ):
        with pytest.raises(RemoteUnreachable):
            call()
    remote.warn_users("nobody hears it")
    remote.close()


def test_every_call_ends_at_its_deadline_when_the_instance_stands_still(server, tmp_path, monkeypatch):
    monkeypatch.setattr(ssh, "BEAT_S", 0.5)
    monkeypatch.setattr(execution, "READ_S", 0.5)
    with connected(server, tmp_path) as remote:
        remote.prepare(None, "")
        server.freeze()
        try:
            for call in (remote.beat, remote.read_script, lambda: remote.follow(0)):
                began = time.monotonic()
                with pytest.raises(RemoteUnreachable):
                    call()
                assert time.monotonic() - began < 3
            began = time.monotonic()
            remote.close()
            assert time.monotonic() - began < 5
        finally:
            server.thaw()


def test_dropped_connection_is_unreachable_and_a_new_one_works(server, tmp_path):
    with connected(server, tmp_path) as remote:
        remote.prepare(None, "")
        remote.beat()
        server.drop()
        with pytest.raises(RemoteUnreachable):
            remote.beat()
        assert remote.connect(target(server), within_s=10).host_key_trust == "pinned"
        remote.beat()
        assert (server.home / ".jetrun" / RUN / "heartbeat").exists()


def test_command_cut_off_in_the_middle_is_unreachable_and_not_a_result(server, tmp_path):
    """fabric's Result has exited == -1 then; it must never look like an exit code."""
    with connected(server, tmp_path) as remote:
        remote.prepare(None, "")
        server.program("touch", f"#!/bin/sh\n: >'{tmp_path}/reached'; exec sleep 20\n")
        cutter = threading.Thread(target=lambda: (eventually((tmp_path / "reached").exists), server.drop()))
        cutter.start()
        with pytest.raises(RemoteUnreachable):
            remote.beat()
        cutter.join()


def test_command_killed_on_the_instance_is_unreachable(server, tmp_path):
    with connected(server, tmp_path) as remote:
        remote.prepare(None, "")
        server.program("touch", "#!/bin/sh\nkill -9 $PPID\n")
        with pytest.raises(RemoteUnreachable):
            remote.beat()


def test_close_is_quick_and_leaves_no_process_and_no_file(server, tmp_path):
    with connected(server, tmp_path) as remote:
        remote.facts(people=True)
        shared = remote._ssh._master
        folder = remote._ssh.folder
        eventually((folder / "m").exists)
        began = time.monotonic()
        remote.close()
        assert time.monotonic() - began < 1
        assert shared.poll() is not None
        assert not folder.exists()
        eventually(lambda: not server.sessions())


def test_shared_connection_ends_with_its_owner_however_that_ends(server, tmp_path):
    """A driver killed by SIGKILL leaves no ssh behind: the shared one lives by its standard input."""
    with connected(server, tmp_path) as remote:
        shared = remote._ssh._master
        eventually((remote._ssh.folder / "m").exists)
        os.close(os.dup(shared.stdin.fileno()))
        shared.stdin.close()
        assert shared.wait(5) is not None


def test_what_a_login_script_prints_is_not_an_answer(server, tmp_path):
    (server.home / ".bashrc").write_text("echo 'state=ended'; echo 'Welcome to the cluster'\n")
    with connected(server, tmp_path) as remote:
        assert remote.facts(people=True).cpus == os.cpu_count()
        assert run_script(remote, "echo out").state == "running"
        follower = remote.follow(0)
        log = b""
        while not follower.ended:
            log += follower.read(100, 1)
        follower.close()
        assert log == b"out\n"


def test_account_that_may_not_run_commands_says_why(server, tmp_path):
    """Cloud images answer root with a sentence."""
    server.stop()
    server.configure("ForceCommand echo 'Please login as the user ubuntu'; exit 142")
    server.start()
    with connected(server, tmp_path) as remote, pytest.raises(RemoteCommandFailed, match="login as the user ubuntu"):
        remote.facts(people=True)


def test_facts_tell_what_the_instance_is(server, tmp_path):
    server.program("who", "#!/bin/sh\necho 'ada pts/0 2026-01-01'; echo 'grace pts/1 x'; echo 'ada pts/2 x'\n")
    with connected(server, tmp_path) as remote:
        facts = remote.facts(people=True)
    assert abs(facts.now_at.timestamp() - time.time()) < 5
    assert facts.boot_id == "11111111-1111-4111-8111-111111111111"
    assert (facts.has_root, facts.has_rsync) == (True, True)
    assert list(facts.logged_in) == ["ada", "grace"]
    assert facts.cpus == os.cpu_count()
    assert facts.load_1m >= 0


def test_sudo_that_wants_a_password_is_no_root(server, tmp_path):
    (server.root / "no-sudo").touch()
    with connected(server, tmp_path) as remote:
        facts = remote.facts(people=True)
        assert not facts.has_root
        assert len(facts.boot_id) == 36
        with pytest.raises(RemoteError, match="password is required"):
            remote.arm_switch(switch())


def test_run_id_that_could_be_a_path_is_an_error(tmp_path):
    for run in ("../x", "", ".hidden", "a/b", "a b"):
        with pytest.raises(Exception, match="cannot name a run"):
            SshRemote(run, host_keys=tmp_path)
