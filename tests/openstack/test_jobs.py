"""The whole job on virtual machines that boot: every way in, every way out, confirmed by Nova's database and libvirt."""

from __future__ import annotations

import pytest
from desk import Desk, tells_the_truth
from machine import Machine

SCRIPT = "cat input.txt > out.txt && uname -n >> out.txt && sync\n"


@pytest.mark.parametrize(
    ("begin", "disposition", "vm_state"),
    [
        ("SHELVED_OFFLOADED", "shelve", "shelved_offloaded"),
        ("SHUTOFF", "stop", "stopped"),
        ("SUSPENDED", "shelve", "shelved_offloaded"),
    ],
)
def test_a_job_wakes_the_instance_and_brings_it_down(
    desk: Desk, machine: Machine, begin: str, disposition: str, vm_state: str
) -> None:
    machine.be(begin)
    (desk.folder / "input.txt").write_text("from here\n")
    ended = desk.run(
        desk.script(SCRIPT),
        "-i",
        "input.txt",
        "-o",
        "out.txt",
        "--disposition",
        disposition,
        "--email",
        "me@uni.edu",
        on=machine.name,
    )
    assert ended.code == 0, str(ended)
    assert ended.is_verified
    found = tells_the_truth(ended, machine.id)
    assert (found.vm_state, found.power_state) == (vm_state, 4)
    assert (found.host is None) == (vm_state == "shelved_offloaded")
    assert next(desk.folder.rglob("out/**/out.txt")).read_text().startswith("from here\n")
    assert desk.mailbox.read()["Subject"]
