"""Who is told, by what, and how often: channels beside a dead mail server, sticky alarms, detached runs that nobody watches."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alarm_channel import Channel, channel
from devcloud_subject import eventually
from runs import Desk
from test_run_guardian import begun, bounds, guardians, has_seen
from test_run_reaper import mails

from jetrun.devcloud.client import Running

SCRIPT = "mkdir -p r && echo begun\nsleep 1\necho done > r/done\n"


@pytest.fixture
def hook() -> Iterator[Channel]:
    with channel() as listening:
        yield listening


@pytest.fixture
def desk(cloud: Running, tmp_path: Path) -> Iterator[Desk]:
    hers = Desk(cloud=cloud, folder=tmp_path, guarded=True)
    bounds(hers, retry_s=0.5, foreign_task_s=2, unreachable_s=2)
    yield hers
    cloud.clear_faults()
    for pid in guardians(hers):
        os.kill(pid, signal.SIGKILL)


def with_channel(desk: Desk, hook: Channel, *, mail: bool = True) -> None:
    """Her configuration names the channel; *mail*: the mail server answers."""
    config = desk.folder / "config.toml"
    text = config.read_text()
    if not mail:
        text = text.replace(f"port = {desk.cloud.mail_port}", "port = 9")
    config.write_text(f'{text}[alarm]\nchannels = ["{hook.url}"]\n')
    config.chmod(0o600)


def locked_in_the_middle(desk: Desk, key: str, *words: str) -> int:
    """A run whose instance the staff locks while its script runs: its exit code."""
    with begun(desk, key, SCRIPT, *words) as process:
        eventually(lambda: has_seen(desk, "script.started"), within_s=30)
        desk.cloud.do("lock", instance=key, user="admin")
        return process.wait(60)


def test_an_alarm_goes_through_the_channel_and_so_does_that_it_is_over(desk: Desk, hook: Channel) -> None:
    """The mail server is dead; the guardian heals it as soon as it can be healed; each is told once."""
    with_channel(desk, hook, mail=False)
    key = desk.instance("vm-alarm")
    assert locked_in_the_middle(desk, key, "--email", "ada@uni.edu") == 119
    (alarm,) = hook.taken
    assert alarm["title"].startswith("ALARM: vm-alarm NOT VERIFIED DOWN")
    assert "jetrun verify" in alarm["message"]
    assert alarm["type"] == "failure"
    time.sleep(2)
    assert hook.taken == [alarm], "tried again, not told again"
    desk.cloud.do("unlock", instance=key)
    eventually(lambda: not guardians(desk), within_s=60)
    assert desk.is_down(key)
    (_, over) = hook.taken
    assert over["title"].startswith("all clear: vm-alarm is proven down")
    assert re.search(r"not proven since .*: [\d.]+ SU at most", over["message"])
    kept = [path for path in (desk.folder / "home").rglob("*") if path.is_file()]
    assert len(kept) > 3
    assert not [path for path in kept if b"topsecret" in path.read_bytes()], "a channel's URL is a secret"


def test_a_detached_run_does_not_end_its_last_process_before_somebody_was_told(desk: Desk, hook: Channel) -> None:
    """C8b: SMTP is dead, the channel is broken, the instance is locked."""
    with_channel(desk, hook, mail=False)
    assert desk.jetrun("doctor", "--alarm-test").code == 1, "mail is dead"
    assert len(hook.taken) == 1
    key = desk.instance("vm-detached")
    hook.broken = True
    began = time.monotonic()
    submitted = desk.jetrun("submit", str(desk.script(SCRIPT)), "--on", key, "-o", "r")
    assert submitted.code == 0, submitted.err
    assert time.monotonic() - began < 10
    run = submitted.out.strip()
    eventually(lambda: has_seen(desk, "script.started"), within_s=30)
    desk.cloud.do("lock", instance=key, user="admin")
    eventually(lambda: has_seen(desk, "run.finished", exit_code=119), within_s=60)
    (pid,) = guardians(desk)
    time.sleep(3)
    assert guardians(desk) == [pid], "nobody knows yet"
    hook.broken = False
    eventually(lambda: len(hook.taken) == 2, within_s=60)
    assert hook.taken[1]["title"].startswith("ALARM: vm-detached")
    desk.cloud.do("unlock", instance=key)
    eventually(lambda: not guardians(desk), within_s=60)
    assert desk.is_down(key)
    assert [one["title"].split(":")[0] for one in hook.taken[1:]] == ["ALARM", "all clear"]
    assert desk.jetrun("show", run, "--json").document["receipt"]["verified"]


def test_a_detached_run_is_carried_to_its_end_and_its_outputs_come(desk: Desk) -> None:
    key = desk.instance("vm-submitted")
    submitted = desk.jetrun("submit", str(desk.script(SCRIPT)), "--on", key, "-o", "r", "--no-alarm", "--json")
    assert submitted.code == 0, submitted.err
    run = json.loads(submitted.out)["run_id"]
    eventually(lambda: has_seen(desk, "run.finished"), within_s=60)
    eventually(lambda: not guardians(desk), within_s=20)
    document = desk.jetrun("show", run, "--json").document
    assert document["exit_code"] == 0
    assert (Path(document["output_dir"]) / "r/done").read_text() == "done\n"
    assert desk.is_down(key)


def test_a_detached_run_that_nobody_could_be_told_of_is_refused(desk: Desk, hook: Channel) -> None:
    key = desk.instance("vm-unheard")
    words = ("submit", str(desk.script(SCRIPT)), "--on", key)
    refused = desk.jetrun(*words)
    assert refused.code == 2
    assert "names nobody to mail" in refused.err
    refused = desk.jetrun(*words, "--email", "ada@uni.edu")
    assert refused.code == 2
    assert "mail has accepted nothing in the last 30 days" in refused.err
    assert "jetrun doctor --alarm-test" in refused.err
    with_channel(desk, hook)
    tested = desk.jetrun("doctor", "--alarm-test", "--email", "ada-tests@uni.edu")
    assert tested.code == 0, tested.out
    assert tested.out.count("accepted the test") == 2
    assert len(mails(desk, "ada-tests@uni.edu")) == 1
    (config, worked) = (desk.folder / "config.toml", desk.folder / "home/told.json")
    old = dict.fromkeys(json.loads(worked.read_text()), "2026-01-01T00:00:00+00:00")
    assert len(old) == 2
    assert desk.truth(key)["vm_state"] == "shelved_offloaded"
    assert desk.jetrun(*words).code == 0
    eventually(lambda: has_seen(desk, "run.finished"), within_s=60)
    worked.write_text(json.dumps(old))
    assert desk.jetrun(*words).code == 2, "that was too long ago"
    config.write_text(config.read_text().partition("[smtp]")[0])
    assert "no mail server and no channel" in desk.jetrun(*words).err


def test_every_later_command_says_so_and_tries_again(desk: Desk) -> None:
    """The run's own guardian is gone as well; ``jetrun ps`` is enough."""
    key = desk.instance("vm-sticky")
    to = "sticky@uni.edu"
    assert locked_in_the_middle(desk, key, "--email", to) == 119
    (pid,) = guardians(desk)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not guardians(desk), within_s=10)
    said = desk.jetrun("ps", "--json")
    assert json.loads(said.out)[0]["verified"] is False, "stdout stays one document"
    assert f"jetrun: instance vm-sticky ({key}) is NOT VERIFIED DOWN" in said.err
    (new,) = guardians(desk)
    assert f"process {new} on {socket.gethostname()} tries again" in said.err
    assert f"process {new} on {socket.gethostname()} goes on trying" in desk.jetrun("clouds").err
    assert guardians(desk) == [new], "one is enough"
    desk.cloud.do("unlock", instance=key)
    eventually(lambda: desk.is_down(key), within_s=60)
    eventually(lambda: not guardians(desk), within_s=20)
    assert "NOT VERIFIED" not in desk.jetrun("ps").err
    assert [one.split(":")[0] for one in mails(desk, to)] == ["ALARM", "all clear"]


def test_a_run_that_nobody_carries_is_taken_up_by_the_next_command(desk: Desk) -> None:
    key = desk.instance("vm-abandoned")
    with begun(desk, key, SCRIPT) as process:
        eventually(lambda: has_seen(desk, "script.started"), within_s=30)
        for pid in (*guardians(desk), process.pid):
            os.kill(pid, signal.SIGKILL)
    said = desk.jetrun("ps").err
    assert "may be up: the process of its run is gone" in said
    eventually(lambda: has_seen(desk, "run.finished"), within_s=60)
    eventually(lambda: not guardians(desk), within_s=20)
    document = desk.jetrun("show", "last", "--json").document
    assert (document["exit_code"], document["receipt"]["verified"]) == (0, True)
    assert desk.is_down(key)
