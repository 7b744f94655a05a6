"""The guardian: whatever is done to the driver, the run goes on or ends though nobody types anything, and the guardian ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcloud_subject import eventually as soon
from runs import Desk

from jetrun.devcloud.client import Running

SCRIPT = "mkdir -p r && echo begun\nsleep 1.5\necho done > r/done && echo ended\n"
FOREVER = "echo begun\nsleep 600\n"

eventually = partial(soon, within_s=40)
"""A whole run may lie between."""


@pytest.fixture
def desk(cloud: Running, tmp_path: Path) -> Iterator[Desk]:
    hers = Desk(cloud=cloud, folder=tmp_path, guarded=True)
    yield hers
    cloud.clear_faults()
    for pid in guardians(hers):
        os.kill(pid, signal.SIGKILL)


def guardians(desk: Desk) -> list[int]:
    """The guardians of her runs that live."""
    found = []
    for note in (desk.folder / "home/runs").glob("*/guardian.pid"):
        pid = int(note.read_text() or 0)
        if pid and b"guardian.py" in cmdline(pid):
            found.append(pid)
    return found


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def events(desk: Desk) -> list[dict[str, Any]]:
    newest = max((desk.folder / "home/runs").glob("*/run.jsonl"), default=None)
    return (
        [json.loads(line) for line in newest.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if newest
        else []
    )


def has_seen(desk: Desk, event: str, **fields: object) -> bool:
    return any(one["event"] == event and fields.items() <= one.items() for one in events(desk))


def ended(desk: Desk) -> dict[str, Any]:
    """The run's document, once whoever carries it has closed it and its guardian is gone."""
    eventually(lambda: has_seen(desk, "run.finished"))
    eventually(lambda: not guardians(desk))
    shown = desk.jetrun("show", "last", "--json")
    return shown.document


def bounds(desk: Desk, **more: float) -> None:
    """Her cloud's bounds, changed."""
    entry = yaml.safe_load(desk.cloud.clouds.read_text())
    mine = entry["clouds"]["devcloud"].setdefault("jetrun", {})
    mine["bounds"] = {**mine.get("bounds", {}), **more}
    path = desk.folder / "clouds.yaml"
    path.write_text(yaml.safe_dump(entry))
    desk.extra["OS_CLIENT_CONFIG_FILE"] = str(path)


def begun(desk: Desk, key: str, script: str = SCRIPT, *words: str) -> subprocess.Popen[bytes]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return desk.start("run", str(desk.script(script)), "--on", key, "-o", "r", *words, **quiet)


def test_it_stands_before_anything_is_asked_of_the_instance_and_ends_with_the_run(desk: Desk) -> None:
    key = desk.instance("vm-whole")
    with begun(desk, key) as process:
        eventually(lambda: has_seen(desk, "script.started"))
        (pid,) = guardians(desk)
        row = json.loads(desk.jetrun("ps", "--json").out)[0]
        assert row["guardian"] == pid
        assert os.getsid(pid) == pid, "a session of its own"
        assert process.wait(30) == 0
    assert ended(desk)["receipt"]["verified"]
    kinds = [line.split()[1] for line in desk.jetrun("show", "last").out.splitlines() if len(line.split()) > 1]
    assert kinds.index("run.guarded") < kinds.index("lease.intended")


@pytest.mark.parametrize(
    "event",
    ["lease.granted", "instance.unshelve_requested", "instance.up", "instance.reached", "script.started", "script.ended",
     "instance.shelve_requested", "receipt.written"],
)  # fmt: skip
def test_a_driver_that_is_killed_is_followed_to_the_verified_end(desk: Desk, event: str) -> None:
    """Nobody types anything; the script is not lost, the mail comes once."""
    key = desk.instance(f"vm-killed-{event}")
    to = f"{event}@uni.edu"
    with begun(desk, key, SCRIPT, "--email", to) as process:
        eventually(lambda: has_seen(desk, event))
        process.kill()
    document = ended(desk)
    assert document["exit_code"] == 0, document
    assert document["receipt"]["verified"]
    assert desk.is_down(key)
    assert (Path(document["output_dir"]) / "r/done").read_text() == "done\n"
    assert len(mails(desk, to)) == 1


def mails(desk: Desk, to: str) -> list[str]:
    """What arrived for somebody."""
    return [text for file in desk.cloud.mail_folder.rglob("*.eml") if f"To: {to}" in (text := file.read_text())]


def test_the_driver_and_whoever_continues_it_are_killed(desk: Desk) -> None:
    bounds(desk, retry_s=0.3)
    key = desk.instance("vm-thrice")
    with begun(desk, key, FOREVER, "--timeout", "15s") as process:
        eventually(lambda: has_seen(desk, "script.started"))
        carriers = [process.pid]
        process.kill()
    for _ in range(2):
        carriers.append(eventually(lambda: carried_by_another(desk, carriers[-1])))
        os.kill(carriers[-1], signal.SIGKILL)
    document = ended(desk)
    assert document["exit_code"] == 124
    assert desk.is_down(key)


def carried_by_another(desk: Desk, than: int) -> int:
    """The living process that carries the run, once it is another one."""
    for row in json.loads(desk.jetrun("ps", "--json").out):
        word = row["carried_by"].removeprefix("process ")
        if word.isdigit() and int(word) != than:
            return int(word)
    return 0


def test_where_the_user_wants_only_the_end_the_script_is_stopped(desk: Desk) -> None:
    key = desk.instance("vm-only-end")
    with begun(desk, key, FOREVER, "--on-driver-loss", "end") as process:
        eventually(lambda: has_seen(desk, "script.started"))
        process.kill()
    document = ended(desk)
    assert (document["exit_code"], document["outcome"]) == (143, "interrupted")
    assert document["receipt"]["verified"]
    assert desk.is_down(key)


def test_a_driver_that_stands_still_is_killed_and_never_sends_anything_again(desk: Desk) -> None:
    bounds(desk, stand_still_s=3)
    key = desk.instance("vm-still")
    with begun(desk, key) as process:
        eventually(lambda: has_seen(desk, "script.started"))
        process.send_signal(signal.SIGSTOP)
        assert process.wait(30) == -signal.SIGKILL
    assert ended(desk)["exit_code"] == 0
    assert desk.is_down(key)


def test_time_in_which_the_machine_stood_still_as_a_whole_does_not_count(desk: Desk) -> None:
    """As under a hypervisor that pauses it; a laptop's sleep does not even show on this clock."""
    bounds(desk, stand_still_s=3)
    key = desk.instance("vm-paused")
    with begun(desk, key) as process:
        eventually(lambda: has_seen(desk, "script.started"))
        (pid,) = guardians(desk)
        for number in (signal.SIGSTOP, signal.SIGCONT):
            os.kill(pid, number)
            process.send_signal(number)
            time.sleep(5 if number == signal.SIGSTOP else 0)
        assert process.wait(40) == 0
    assert desk.is_down(key)


def test_signals_and_the_end_of_the_terminal_do_not_end_it(desk: Desk) -> None:
    key = desk.instance("vm-signals")
    with begun(desk, key) as process:
        eventually(lambda: has_seen(desk, "script.started"))
        (pid,) = guardians(desk)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGTSTP):
            os.kill(pid, number)
        process.kill()
    assert ended(desk)["exit_code"] == 0
    assert desk.is_down(key)


def test_both_are_killed_and_continue_still_ends_it(desk: Desk) -> None:
    key = desk.instance("vm-both")
    with begun(desk, key) as process:
        eventually(lambda: has_seen(desk, "script.started"))
        for pid in guardians(desk):
            os.kill(pid, signal.SIGKILL)
        process.kill()
    found = desk.jetrun("continue", "last", "--json")
    assert found.code == 0, found.err
    assert desk.is_down(key)
    eventually(lambda: not guardians(desk))


def test_what_nobody_was_told_of_keeps_it_alive_until_it_is_healed(desk: Desk) -> None:
    """The instance is locked by the staff, and no mail goes out: the last process does not end. Then the lock goes."""
    bounds(desk, retry_s=0.5, foreign_task_s=2, unreachable_s=2)
    key = desk.instance("vm-locked")
    with begun(desk, key) as process:
        eventually(lambda: has_seen(desk, "script.started"))
        desk.cloud.do("lock", instance=key, user="admin")
        assert process.wait(60) == 119
    (pid,) = guardians(desk)
    time.sleep(2)
    assert guardians(desk) == [pid]
    desk.cloud.do("unlock", instance=key)
    soon(lambda: not guardians(desk), within_s=60)
    assert desk.is_down(key)
    assert desk.jetrun("show", "last", "--json").document["receipt"]["verified"]


def test_it_is_small_and_sleeps(desk: Desk) -> None:
    key = desk.instance("vm-small")
    with begun(desk, key, FOREVER, "--timeout", "6s") as process:
        eventually(lambda: has_seen(desk, "script.started"))
        (pid,) = guardians(desk)
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss_kb = int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")))
        assert pss_kb < 20_000
        before = switches(pid)
        time.sleep(3)
        assert switches(pid) - before <= 2
        process.wait(30)


def switches(pid: int) -> int:
    """How often a process was put to sleep so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("voluntary_ctxt_switches")))


def test_a_file_of_the_users_that_is_named_like_one_of_pythons_does_no_harm(desk: Desk) -> None:
    key = desk.instance("vm-signal-py")
    with begun(desk, key) as process:
        eventually(lambda: has_seen(desk, "script.started"))
        (desk.folder / "signal.py").write_text("raise SystemExit('not this one')\n")
        process.kill()
    try:
        eventually(lambda: has_seen(desk, "run.finished"))
    finally:
        (desk.folder / "signal.py").unlink()
    assert ended(desk)["exit_code"] == 0
    assert desk.is_down(key)


def test_the_folder_that_a_run_was_started_in_may_go(desk: Desk) -> None:
    key = desk.instance("vm-folder-gone")
    script = desk.script(SCRIPT)
    gone = desk.folder / "gone"
    gone.mkdir()
    words = [sys.executable, "-m", "jetrun", "run", str(script), "--on", key]
    with subprocess.Popen(
        words, cwd=gone, env=desk.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        eventually(lambda: has_seen(desk, "script.started"))
        gone.rmdir()
        process.kill()
    eventually(lambda: has_seen(desk, "run.finished"))
    eventually(lambda: not guardians(desk))
    assert desk.is_down(key)


def test_a_program_that_goes_on_after_its_run_is_left_alone(desk: Desk) -> None:
    """A notebook: the run is over, and the process computes on without any sign of life."""
    bounds(desk, stand_still_s=1)
    key = desk.instance("vm-notebook")
    desk.script("echo done\n")
    program = desk.folder / "notebook.py"
    program.write_text(
        "import time, jetrun\nfrom pathlib import Path\nfrom jetrun.job_file import load\n"
        f"result = jetrun.run(load(None, command_line={{'script': 'job.sh', 'instance': {{'on': {key!r}}}}}, folder=Path.cwd()))\n"
        "assert result.receipt.verified\ntime.sleep(5)\nprint('computed')\n"
    )
    ended = subprocess.run(
        [sys.executable, str(program)], cwd=desk.folder, env=desk.environ, capture_output=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, b"computed\n"), ended.stderr
    assert desk.is_down(key)
