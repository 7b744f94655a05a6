"""The main job with each fault of the embedded cloud in turn, over HTTP (acceptance A4): the receipt tells the truth."""

from __future__ import annotations

import pytest
from runs import Desk, Ended, tells_the_truth

ONCE = [
    ("refuse-503", "nova.show"),
    ("refuse-500", "nova.actions"),
    ("stale-read", "nova.show"),
    ("lost-reply", "nova.unshelve"),
    ("apply-then-504", "nova.unshelve"),
    ("refuse-409", "nova.unshelve"),
    ("lost-reply", "nova.shelve"),
    ("apply-then-500", "nova.shelve"),
    ("refuse-409", "nova.shelve"),
    ("refuse-503", "nova.shelve"),
    ("close", "nova.shelve"),
    ("shelve-fails-silently", "nova.shelve"),
    ("lost-reply", "neutron.port_update"),
    ("apply-then-502", "neutron.port_update"),
    ("refuse-503", "nova.metadata_update"),
    ("token-expires-early", "keystone.token"),
    ("ssh-refused", "ssh.connect"),
    ("mail-refused", "smtp.message"),
    ("mail-disconnects", "smtp.message"),
    ("refuse-401", "nova.shelve"),
    ("refuse-404", "nova.metadata_update"),
    ("refuse-429", "nova.unshelve"),
    ("refuse-502", "keystone.auth"),
    ("refuse-504", "nova.list"),
    ("refuse-503", "neutron.port_list"),
    ("hang", "nova.actions"),
    ("slow", "nova.show"),
    ("apply-then-503", "nova.shelve"),
    ("ssh-drop", "ssh.connect"),
]
"""Faults that strike once, on a shelved instance."""


@pytest.mark.parametrize(("fault", "call"), ONCE)
def test_one_fault_never_makes_a_receipt_lie(desk: Desk, fault: str, call: str) -> None:
    """A4: whatever the code is, a verified receipt means an instance that is down."""
    key = desk.instance(f"vm-{fault}-{call}")
    desk.cloud.add_fault(fault, on=call, times=1)
    ended = desk.run(desk.script("true\n"), "--email", "ada@uni.edu", on=key)
    tells_the_truth(desk, ended, key)
    assert ended.code in {0, 120}, ended.err
    if call == "smtp.message":
        assert ended.code == 0, ended.err


@pytest.mark.parametrize(("fault", "call"), [("refuse-403", "nova.unshelve"), ("unshelve-bounces", "nova.unshelve")])
def test_an_instance_that_cannot_be_started_is_120(desk: Desk, fault: str, call: str) -> None:
    """120, and nothing of it runs."""
    key = desk.instance(f"vm-always-{fault}")
    desk.cloud.add_fault(fault, on=call, times=-1)
    ended = desk.run(desk.script("true\n"), on=key)
    assert ended.code == 120, ended.err
    tells_the_truth(desk, ended, key)


@pytest.mark.parametrize("fault", ["lost-reply", "apply-then-504", "refuse-500"])
def test_a_create_without_an_answer_never_makes_two(desk: Desk, fault: str) -> None:
    """Invariant 6: at most one instance for one run, whatever is retried."""
    (desk.folder / "job.toml").write_text(
        'command = ["true"]\ndisposition = "delete"\n'
        '[instance]\nimage = "devcloud-linux"\nflavor = "m3.tiny"\nfloating_ip = "no"\n'
    )
    before = len(desk.cloud.truth()["instances"])
    desk.cloud.add_fault(fault, on="nova.create", times=1)
    ended = desk.jetrun("run", "job.toml", "--json")
    assert ended.code in {0, 120, 121}, ended.err
    made = desk.cloud.truth()["instances"][before:]
    assert len(made) <= 1, made
    assert not [row for row in made if row["really_on"]], ended.err


@pytest.mark.parametrize(
    ("fault", "call"),
    [
        ("never-offloads", "nova.shelve"),
        ("stuck-task", "nova.shelve"),
        ("shelve-fails-silently", "nova.shelve"),
    ],
)
def test_what_cannot_be_proven_is_119_and_heals(desk: Desk, fault: str, call: str) -> None:
    """Never a verified receipt for an instance that is up; ``jetrun verify`` ends it once the cloud obeys again."""
    key = desk.instance(f"vm-unproven-{fault}")
    script = desk.script("sleep 1\n")
    with desk.start("run", str(script), "--on", key, "--email", "ada@uni.edu", "--json") as process:
        assert process.stderr is not None
        text = b""
        for line in process.stderr:
            text += line
            if b"script started" in line:
                break
        desk.cloud.add_fault(fault, on=call, times=-1)
        out, err = process.communicate(timeout=150)
    ended = Ended(code=process.returncode, out=out.decode(), err=(text + err).decode())
    assert ended.code == 119, ended.err
    tells_the_truth(desk, ended, key)
    assert ended.document["mail"]["state"] == "sent", "a person was told"
    assert "NOT VERIFIED" in desk.jetrun("ps").out
    desk.cloud.clear_faults()
    if fault == "stuck-task":
        desk.cloud.do("reset-state", instance=key, state="active")
    if fault == "never-offloads":
        desk.cloud.do("act", user="admin", instance=key, action="shelveOffload")
    healed = desk.jetrun("verify", ended.document["run_id"], "--json")
    assert healed.code == 0, healed.err
    assert desk.is_down(key)


def test_a_host_that_never_answers_ssh_is_120_and_comes_down(desk: Desk) -> None:
    """And the message says what was tried."""
    key = desk.instance("vm-silent")
    desk.cloud.add_fault("ssh-silent", on="ssh.connect", times=1)
    ended = desk.run(desk.script("true\n"), on=key)
    assert ended.code == 120, ended.err
    assert ended.document["error"]["code"] == "no-ssh"
    assert desk.is_down(key)
