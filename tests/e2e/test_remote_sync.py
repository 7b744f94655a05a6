"""Transfers over a real sshd, by rsync and by tar: the same bytes, the same names, the same rules."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
from remote_subject import HOSTILE, RUN, connected, eventually, finished, run_script, target
from sshd import Sshd

from jetrun.errors import RemoteRefused, RemoteUnreachable
from jetrun.remote.interface import TransferState, Upload


def _served(folder, *, rsync):
    server = Sshd(folder, rsync=rsync)
    server.start()
    return server


@pytest.fixture(params=["rsync", "tar"])
def server(request, tmp_path):
    server = _served(tmp_path / "s", rsync=request.param == "rsync")
    yield server
    server.stop()


@pytest.fixture
def quick(tmp_path):
    server = _served(tmp_path / "s", rsync=True)
    yield server
    server.stop()


@pytest.fixture
def remote(server, tmp_path):
    with connected(server, tmp_path) as remote:
        remote.facts(people=True)
        remote.prepare(None, "")
        yield remote


@pytest.fixture
def rsynced(quick, tmp_path):
    with connected(quick, tmp_path) as remote:
        remote.facts(people=True)
        remote.prepare(None, "")
        yield remote


@pytest.fixture
def work(tmp_path):
    return tmp_path / "s/home/.jetrun" / RUN / "work"


def fill(folder: Path) -> Path:
    """A folder with everything that a name and a file can be."""
    (folder / "deep/er").mkdir(parents=True)
    (folder / "empty folder").mkdir()
    (folder / "empty file").touch()
    for number, name in enumerate(HOSTILE):
        (folder / name).write_bytes(name.encode() + bytes([number]) * 1000)
        (folder / "deep/er" / name).mkdir()
        (folder / "deep/er" / name / name).write_bytes(b"below")
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    (folder / "link").symlink_to("tool")
    os.utime(folder / "tool", (1_600_000_000, 1_600_000_000))
    return folder


def listing(folder: Path) -> dict[str, object]:
    """Everything below *folder*: kind, mode, content, link, time."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        mode = path.lstat().st_mode & 0o777
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", mode)
        else:
            found[name] = ("file", mode, path.read_bytes(), int(path.stat().st_mtime))
    return found


def upload(remote, *sources: Path, excludes=(), names=None):
    names = names or [source.name for source in sources]
    uploads = [Upload(source=source, name=name) for source, name in zip(sources, names, strict=True)]
    reading = finished(remote.upload(uploads, excludes=excludes))
    assert reading.state is TransferState.DONE, reading
    return reading


def test_folder_goes_there_and_comes_back_the_same(remote, work, tmp_path):
    source = fill(tmp_path / "data")
    upload(remote, source)
    assert listing(work / "data") == listing(source)
    reading = finished(remote.download(["data/"], tmp_path / "out"))
    assert (reading.state, list(reading.missing)) == (TransferState.DONE, [])
    assert listing(tmp_path / "out/data") == listing(source)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_as_inputs_and_outputs(quick, tmp_path, work, name):
    _round_trip(quick, tmp_path, work, [name])


def test_hostile_names_by_tar(tmp_path, work):
    server = _served(tmp_path / "s", rsync=False)
    try:
        _round_trip(server, tmp_path, work, HOSTILE)
    finally:
        server.stop()


def _round_trip(server, tmp_path, work, names):
    local = tmp_path / "in"
    (local / "folders").mkdir(parents=True)
    for name in names:
        (local / name).write_bytes(name.encode())
        (local / "folders" / name).mkdir()
        (local / "folders" / name / "x").write_bytes(b"x")
    with connected(server, tmp_path) as remote:
        remote.facts(people=True)
        remote.prepare(None, "")
        upload(remote, *(local / name for name in names))
        for name in names:
            assert (work / name).read_bytes() == name.encode()
            (work / name).rename(work / f"out-{len(name)}")
            (work / f"out-{len(name)}").unlink()
        upload(remote, *(local / "folders" / name for name in names))
        reading = finished(remote.download(names, tmp_path / "out"))
    assert (reading.state, list(reading.missing)) == (TransferState.DONE, [])
    assert listing(tmp_path / "out") == listing(local / "folders")


def test_files_and_folders_keep_or_change_their_names(remote, work, tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x").write_text("x")
    upload(
        remote, tmp_path / "a", tmp_path / "a", tmp_path / "d", tmp_path / "d", names=["a", "sub/dir/b", "d", "sub/e"]
    )
    assert {name for name, kind in listing(work).items() if kind[0] == "file"} == {"a", "sub/dir/b", "d/x", "sub/e/x"}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ""])
def test_names_that_lead_out_are_refused_both_ways(remote, tmp_path, name):
    (tmp_path / "a").touch()
    with pytest.raises(RemoteRefused):
        remote.upload([Upload(source=tmp_path / "a", name=name)], excludes=[])
    with pytest.raises(RemoteRefused):
        remote.download([name], tmp_path / "out")


EXCLUDES = ["*.tmp", "cache/", "/top", "deep/skip", "**/never.txt", "a?c", "[xy].bin", "kept*/***"]


def test_excludes_mean_the_same_by_rsync_and_by_tar(remote, work, tmp_path):
    source = tmp_path / "data"
    for name in (
        "a.tmp", "deep/b.tmp", "cache/x", "deep/cache/y", "cached", "top", "deep/top", "deep/skip", "other/deep/skip",
        "never.txt", "deep/never.txt", "abc", "abbc", "x.bin", "z.bin", "kept1/in", "fine", "deep/fine",
    ):  # fmt: skip
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    upload(remote, source, excludes=EXCLUDES)
    local = tmp_path / "by rsync itself"
    options = [f"--exclude={pattern}" for pattern in EXCLUDES]
    subprocess.run(["rsync", "-a", *options, f"{source}/", local], check=True)
    assert listing(work / "data") == listing(local)
    assert "fine" in listing(local)
    assert "a.tmp" not in listing(local)


def test_input_that_is_a_link_is_sent_as_what_it_means(remote, work, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").write_text("x")
    (tmp_path / "data").symlink_to("real")
    (tmp_path / "file").symlink_to("real/x")
    upload(remote, tmp_path / "data", tmp_path / "file")
    assert listing(work)["data/x"][2] == b"x"
    assert (work / "file").read_text() == "x"
    assert not (work / "file").is_symlink()


def test_links_that_lead_out_of_an_input_are_sent_as_what_they_mean(remote, work, tmp_path):
    (tmp_path / "outside/in").mkdir(parents=True)
    (tmp_path / "outside/in/x").write_text("reference")
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data/sub/inside").write_text("i")
    (tmp_path / "data/up").symlink_to("../outside/in/x")
    (tmp_path / "data/whole").symlink_to(tmp_path / "outside")
    (tmp_path / "data/sub/kept").symlink_to("../sub/inside")
    upload(remote, tmp_path / "data")
    assert not (work / "data/up").is_symlink()
    assert (work / "data/up").read_text() == "reference"
    assert (work / "data/whole/in/x").read_text() == "reference"
    assert str((work / "data/sub/kept").readlink()) == "../sub/inside"


def test_outputs_by_glob_and_what_is_missing(remote, work, tmp_path):
    for name in ("results/a.png", "results/b.png", "results/c.txt", "results/d[1].txt", "log 1.txt", ".hidden"):
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text(name)
    patterns = [
        "results/*.png",
        "results/d[1].txt",
        "log*.txt",
        "nothing/",
        "*.none",
        "$(touch pwned)",
        "`id`",
        "results/c.txt/",
    ]
    reading = finished(remote.download(patterns, tmp_path / "out"))
    assert reading.state is TransferState.DONE
    assert list(reading.missing) == ["nothing", "*.none", "$(touch pwned)", "`id`"]
    files = {name for name, kind in listing(tmp_path / "out").items() if kind[0] == "file"}
    assert files == {"results/a.png", "results/b.png", "results/d[1].txt", "log 1.txt", "results/c.txt"}
    assert not (work / "pwned").exists()


def test_two_stars_mean_any_number_of_folders(remote, work, tmp_path):
    for name in ("a.png", "r/b.png", "r/x/c.png", "r/x/y/d.png", "r/x/y/e.txt"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    reading = finished(remote.download(["r/**/*.png", "q/**/*.png"], tmp_path / "out"))
    assert list(reading.missing) == ["q/**/*.png"]
    files = {name for name, kind in listing(tmp_path / "out").items() if kind[0] == "file"}
    assert files == {"r/b.png", "r/x/c.png", "r/x/y/d.png"}
    assert finished(remote.download(["**/*.png"], tmp_path / "all")).state is TransferState.DONE
    assert len(list((tmp_path / "all").rglob("*.png"))) == 4


def test_whole_work_folder_as_output(remote, work, tmp_path):
    fill(work / "x")
    assert finished(remote.download(["."], tmp_path / "out")).state is TransferState.DONE
    assert listing(tmp_path / "out") == listing(work)


def test_nothing_found_is_done_with_everything_missing(remote, tmp_path):
    reading = finished(remote.download(["a", "b/*"], tmp_path / "out"))
    assert (reading.state, list(reading.missing)) == (TransferState.DONE, ["a", "b/*"])


def test_outputs_never_lead_out_of_the_work_folder(remote, work, tmp_path):
    """Links to the instance's own secrets are not followed: not asked for, not below a folder, not as a folder on the way."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("private")
    (work / "r").mkdir()
    (work / "r/abs").symlink_to(secret / "key")
    (work / "r/up").symlink_to("../../../../../secret/key")
    (work / "r/fine").write_text("fine")
    (work / "r/in").symlink_to("fine")
    (work / "way").symlink_to(secret)
    (work / "top").symlink_to(secret / "key")
    reading = finished(remote.download(["r", "way", "way/key", "top", "w*"], tmp_path / "out"))
    assert reading.state is TransferState.DONE
    assert list(reading.missing) == ["way", "way/key", "top", "w*"]
    assert "private" not in str(listing(tmp_path / "out"))
    assert set(listing(tmp_path / "out")) == {"r", "r/fine", "r/in"}


def test_output_that_is_a_link_inside_brings_what_it_means(remote, work, tmp_path):
    (work / "run5").mkdir()
    (work / "run5/x").write_text("five")
    (work / "latest").symlink_to("run5")
    reading = finished(remote.download(["latest"], tmp_path / "out"))
    assert list(reading.missing) == []
    assert (tmp_path / "out/latest/x").read_text() == "five"


def test_output_below_a_link_inside_comes_too(remote, work, tmp_path):
    (work / "run5").mkdir()
    (work / "run5/x").write_text("five")
    (work / "latest").symlink_to("run5")
    reading = finished(remote.download(["latest/x"], tmp_path / "out"))
    assert (reading.state, list(reading.missing)) == (TransferState.DONE, [])
    assert (tmp_path / "out/latest/x").read_text() == "five"


def test_second_sync_sends_only_what_changed(quick, rsynced, work, tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    for number in range(200):
        (source / str(number)).write_bytes(os.urandom(2000))
    first = upload(rsynced, source)
    assert first.sent_bytes == 400_000
    inodes = {path.name: path.stat().st_ino for path in (work / "data").iterdir()}
    (source / "7").write_bytes(b"new")
    second = upload(rsynced, source)
    assert second.sent_bytes == 3
    changed = {path.name for path in (work / "data").iterdir() if path.stat().st_ino != inodes[path.name]}
    assert changed == {"7"}


def test_what_the_script_made_there_is_not_deleted_by_an_upload(remote, work, tmp_path):
    (tmp_path / "data").mkdir()
    (work / "data").mkdir()
    (work / "data/made").write_text("kept")
    upload(remote, tmp_path / "data")
    assert (work / "data/made").read_text() == "kept"


def test_download_over_older_files_replaces_them_and_deletes_nothing(remote, work, tmp_path):
    (work / "r").mkdir()
    (work / "r/x").write_text("new")
    (tmp_path / "out/r").mkdir(parents=True)
    (tmp_path / "out/r/x").write_text("older and longer")
    (tmp_path / "out/r/mine").write_text("mine")
    assert finished(remote.download(["r"], tmp_path / "out")).state is TransferState.DONE
    assert (tmp_path / "out/r/x").read_text() == "new"
    assert (tmp_path / "out/r/mine").read_text() == "mine"


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_whole_log_comes(remote, tmp_path, size):
    run_script(remote, f"head -c {size} /dev/urandom")
    from remote_subject import ended, followed

    ended(remote)
    log = followed(remote)
    (tmp_path / "log").write_bytes(log[: size // 2])
    assert finished(remote.download_log(tmp_path / "log")).state is TransferState.DONE
    assert (tmp_path / "log").read_bytes() == log
    assert len(log) == size


def test_log_of_a_script_that_never_started_is_no_failure(remote, tmp_path):
    assert finished(remote.download_log(tmp_path / "log")).state is TransferState.DONE


def test_progress_is_told_and_poll_never_blocks(rsynced, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(1_000_000) * 150)
    transfer = rsynced.upload([Upload(source=tmp_path / "big", name="big")], excludes=[])
    seen = []
    longest = 0.0
    while True:
        began = time.monotonic()
        reading = transfer.poll()
        longest = max(longest, time.monotonic() - began)
        seen.append(reading)
        if reading.state is not TransferState.RUNNING:
            break
        time.sleep(0.01)
    assert reading.state is TransferState.DONE
    assert longest < 0.2
    assert reading.sent_bytes == 150_000_000
    assert any(one.rate_bytes_s and one.state is TransferState.RUNNING for one in seen)
    assert sorted(one.sent_bytes for one in seen) == [one.sent_bytes for one in seen]


def test_cancel_ends_the_child_and_what_it_started(remote, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(1_000_000) * 200)
    transfer = remote.upload([Upload(source=tmp_path / "big", name="big")], excludes=[])
    child = transfer._child
    transfer.poll()
    began = time.monotonic()
    transfer.cancel()
    assert time.monotonic() - began < 5
    assert child.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
    assert transfer.poll().state is TransferState.FAILED
    transfer.cancel()


def test_broken_connection_is_retryable_and_the_next_one_goes_on(server, remote, work, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(1_000_000) * 200)
    transfer = remote.upload([Upload(source=tmp_path / "big", name="big")], excludes=[])
    cutter = threading.Thread(target=lambda: (eventually(lambda: any(work.rglob("*big*"))), server.drop()))
    cutter.start()
    reading = finished(transfer)
    cutter.join()
    assert (reading.state, reading.retryable, reading.disk_full) == (TransferState.FAILED, True, False), reading
    remote.connect(target(server), within_s=10)
    upload(remote, tmp_path / "big")
    assert (work / "big").read_bytes() == (tmp_path / "big").read_bytes()


def test_download_over_a_broken_connection_is_retryable(server, remote, work, tmp_path):
    (work / "big").write_bytes(os.urandom(1_000_000) * 200)
    transfer = remote.download(["big"], tmp_path / "out")
    cutter = threading.Thread(target=lambda: (eventually(lambda: any((tmp_path / "out").rglob("*"))), server.drop()))
    cutter.start()
    reading = finished(transfer)
    cutter.join()
    assert (reading.state, reading.retryable) == (TransferState.FAILED, True), reading
    assert not (tmp_path / "out/big").exists()


def test_instance_that_is_gone_is_retryable(server, remote, tmp_path):
    (tmp_path / "x").touch()
    server.stop()
    try:
        reading = finished(remote.upload([Upload(source=tmp_path / "x", name="x")], excludes=[]))
    except RemoteUnreachable:
        return
    assert reading.retryable


def test_input_that_cannot_be_read_is_a_failure_and_not_a_network_one(remote, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dangling").symlink_to("/no/such/file")
    reading = finished(remote.upload([Upload(source=tmp_path / "data", name="data")], excludes=[]))
    assert (reading.state, reading.retryable) == (TransferState.FAILED, False)
    assert "dangling" in reading.failure or "/no/such/file" in reading.failure


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    yield from _small(tmp_path / "small")


@pytest.fixture
def small_work(remote, work):
    """The run's work folder on a file system of 2 MB."""
    yield from _small(work)


def _small(folder):
    folder.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk_here_is_told_apart(remote, work, tmp_path, small_disk):
    (work / "big").write_bytes(os.urandom(8_000_000))
    reading = finished(remote.download(["big"], small_disk / "out"))
    assert (reading.state, reading.disk_full, reading.retryable) == (TransferState.FAILED, True, False), reading


def test_full_disk_there_is_told_apart(remote, tmp_path, small_work):
    (tmp_path / "big").write_bytes(os.urandom(8_000_000))
    reading = finished(remote.upload([Upload(source=tmp_path / "big", name="big")], excludes=[]))
    assert (reading.state, reading.disk_full, reading.retryable) == (TransferState.FAILED, True, False), reading


def test_full_disk_for_the_log_is_told_apart(remote, small_disk):
    run_script(remote, "head -c 900000 /dev/urandom")
    from remote_subject import ended

    ended(remote)
    (small_disk / "filler").write_bytes(bytes(1_800_000))
    reading = finished(remote.download_log(small_disk / "log"))
    assert (reading.state, reading.disk_full) == (TransferState.FAILED, True), reading
    assert errno.ENOSPC == 28


def test_paths_of_identity_and_pins_may_be_hostile(tmp_path, work):
    """OpenSSH's options know quotes, %, ~ and ${}: it only sees short links."""
    server = _served(tmp_path / "s", rsync=True)
    folder = tmp_path / 'it\'s "my" %d ${HOME} ~'
    folder.mkdir()
    (folder / "key %h").write_bytes(server.identity.read_bytes())
    (folder / "key %h").chmod(0o600)
    (tmp_path / "x").write_text("x")
    try:
        from jetrun.remote.ssh import SshRemote

        remote = SshRemote(RUN, host_keys=folder)
        try:
            remote.connect(target(server, identities=[folder / "key %h"]), within_s=10)
            remote.prepare(None, "")
            upload(remote, tmp_path / "x")
        finally:
            remote.close()
        assert (work / "x").read_text() == "x"
    finally:
        server.stop()


def test_transfer_refuses_a_changed_host_key_too(quick, rsynced, tmp_path):
    """The same pin for OpenSSH: no second way in."""
    (tmp_path / "x").touch()
    rsynced._ssh._end_master()
    quick.stop()
    quick.new_host_key()
    quick.start()
    done = subprocess.run([*rsynced._ssh.command(), "instance", "true"], capture_output=True, check=False)
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr or b"IDENTIFICATION HAS CHANGED" in done.stderr


def test_transfers_share_one_connection(quick, rsynced, tmp_path):
    eventually((rsynced._ssh.folder / "m").exists)
    before = (quick.folder / "sshd.log").read_text().count("Accepted publickey")
    (tmp_path / "x").touch()
    for _ in range(3):
        upload(rsynced, tmp_path / "x")
    assert (quick.folder / "sshd.log").read_text().count("Accepted publickey") == before


def test_transfer_works_without_the_shared_connection(quick, rsynced, work, tmp_path):
    rsynced._ssh._end_master()
    (tmp_path / "x").write_text("x")
    upload(rsynced, tmp_path / "x")
    assert (work / "x").read_text() == "x"
