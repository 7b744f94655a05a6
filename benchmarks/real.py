"""B6: what jetrun itself costs on a real OpenStack, beside careful.sh, in turn: ``make bench-openstack``.

Run inside the lab's namespaces. Of a null job's wall time that part is a tool's own which is left without

* Nova's: from the moment its database shows the request's task until it shows the state, of the start and of the shelve;
* the guest's: from ACTIVE to the first SSH banner, as a prober of its own saw it;
* the gap that the tool leaves on purpose between its two reads of the end.

Exit code 1 when jetrun's median is more than half of careful.sh's.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
sys.path[:0] = [str(HERE.parent), str(TESTS / "openstack"), str(TESTS / "e2e")]

from desk import QUICK, Desk  # noqa: E402 - the tests' desk and machines are beside the tests
from figures import insist, say  # noqa: E402
from lab import place, seed  # noqa: E402
from machine import Machine  # noqa: E402
from null_job import BIN, CAREFUL  # noqa: E402
from smtp_servers import Mailbox, real_server  # noqa: E402

CAREFUL_GAP_S = 0.2
"""What careful.sh sleeps between its two reads."""

LOOK_S = 0.05
"""Between two looks of the prober: how exact the figures are."""


@dataclass(kw_only=True)
class Seen:
    """What an independent prober saw of one round: seconds on the monotonic clock, in order of time.

    Attributes:
        states: (when, vm_state, task_state) at each change in Nova's database. banners: when an SSH server answered.
    """

    states: list[tuple[float, str, str]] = field(default_factory=list)
    banners: list[float] = field(default_factory=list)

    def first(self, claim: Callable[[str, str], bool], after: float = 0.0) -> float:
        """When that was first so, later than *after*.

        Raises:
            RuntimeError: never.
        """
        for at, vm_state, task_state in self.states:
            if at > after and claim(vm_state, task_state):
                return at
        raise RuntimeError(f"not seen: {self.states}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One null job, in seconds."""

    wall_s: float
    start_s: float
    guest_s: float
    shelve_s: float
    gap_s: float

    @property
    def own_s(self) -> float:
        """What is left for the tool."""
        return self.wall_s - self.start_s - self.guest_s - self.shelve_s - self.gap_s


def main() -> int:
    """Measure in turn, and say whether the bound is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    say(f"instances run by {accelerator()}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n")
    say(f"{'':<12}{'wall':>8}{'start':>8}{'guest':>8}{'shelve':>8}{'gap':>8}{'own':>8}{'load':>8}")
    rounds: dict[str, list[Round]] = {"jetrun": [], "careful.sh": []}
    with bench() as ways:
        for way in ways.values():
            way()
        for number in range(asked.rounds):
            for name in sorted(ways, reverse=number % 2 == 0):
                one = ways[name]()
                rounds[name].append(one)
                say(row(name, one) + f"{os.getloadavg()[0]:>8.1f}")
    medians = {name: statistics.median(one.own_s for one in found) for name, found in rounds.items()}
    ratio = medians["jetrun"] / medians["careful.sh"]
    kept = ratio <= 0.5
    say(
        f"\nown time, medians of {asked.rounds}: jetrun {medians['jetrun']:.2f} s, careful.sh {medians['careful.sh']:.2f} s"
    )
    say(f"jetrun over careful.sh: {ratio:.2f}   bound 0.50  {'kept' if kept else 'NOT KEPT'}")
    return 0 if kept else 1


def row(name: str, one: Round) -> str:
    """A round as a line of the table."""
    figures = (one.wall_s, one.start_s, one.guest_s, one.shelve_s, one.gap_s, one.own_s)
    return f"{name:<12}" + "".join(f"{figure:>8.2f}" for figure in figures)


def accelerator() -> str:
    """What the lab's instances run by, as Nova was told."""
    told = {line for path in place.STATE.glob("etc/nova/*.conf") for line in path.read_text().splitlines()}
    return "KVM" if any(line.replace(" ", "") == "virt_type=kvm" for line in told) else "software emulation"


@contextmanager
def bench() -> Any:
    """The two ways of doing a null job, on one instance that has been run on before."""
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="jb", dir="/tmp")))
        mailbox = closing.enter_context(real_server(Mailbox()))
        lab, admin = (closing.enter_context(seed.connect(cloud)) for cloud in ("lab", "lab-admin"))
        machine = Machine(lab, admin, f"box-bench-{time.time():.0f}")
        closing.callback(machine.delete)
        machine.wait("ACTIVE")
        address = str(next(lab.network.ports(device_id=machine.id)).fixed_ips[0]["ip_address"])
        desk = Desk(folder=folder / "desk", mailbox=mailbox)
        script = desk.script("true\n")

        def jetrun() -> Round:
            machine.be("SHELVED_OFFLOADED")
            with watching(machine.id, address) as seen:
                ended = desk.run(script, on=machine.name)
            insist(ended.code == 0 and ended.is_verified, ended)
            return apart(ended.took_s, seen, QUICK["verify_gap_s"])

        def careful() -> Round:
            machine.be("SHELVED_OFFLOADED")
            words = [CAREFUL, machine.id, script, folder / "out", place.STATE / "id_ed25519", "debian", "22"]
            environ = {**desk.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
            with watching(machine.id, address) as seen:
                began = time.monotonic()
                done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
                wall_s = time.monotonic() - began
            insist(done.returncode == 0 and (folder / "out/log").exists(), done.stderr)
            return apart(wall_s, seen, CAREFUL_GAP_S)

        yield {"jetrun": jetrun, "careful.sh": careful}


def apart(wall_s: float, seen: Seen, gap_s: float) -> Round:
    """The wall time of a null job taken apart by what the prober saw."""
    asked = seen.first(lambda _, task: task != "NULL")
    active = seen.first(lambda vm, task: (vm, task) == ("active", "NULL"), asked)
    banner = next(at for at in seen.banners if at >= asked)
    shelve = seen.first(lambda _, task: task.startswith("shelving"), active)
    down = seen.first(lambda vm, task: (vm, task) == ("shelved_offloaded", "NULL"), shelve)
    guest_s = max(0.0, banner - active)
    return Round(wall_s=wall_s, start_s=active - asked, guest_s=guest_s, shelve_s=down - shelve, gap_s=gap_s)


@contextmanager
def watching(instance: str, address: str) -> Any:
    """A prober that looks into Nova's database and knocks at the instance's SSH port until the round is over."""
    seen, over = Seen(), threading.Event()
    threads = [
        threading.Thread(target=look, args=(instance, seen, over)),
        threading.Thread(target=knock, args=(address, seen, over)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield seen
        time.sleep(4 * LOOK_S)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def look(instance: str, seen: Seen, over: threading.Event) -> None:
    """Every change of the instance's row, over one connection."""
    words = [
        "mariadb",
        "--defaults-file=/dev/null",
        "-h",
        "127.0.0.1",
        "-u",
        "lab",
        f"-p{place.PASSWORD}",
        "nova",
        "-BNn",
    ]
    question = f"SELECT vm_state, task_state FROM instances WHERE uuid = '{instance}';\n"  # noqa: S608
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as client:
        asking, answers = client.stdin, client.stdout
        if asking is None or answers is None:
            raise RuntimeError("no pipes")
        while not over.wait(LOOK_S):
            asking.write(question)
            asking.flush()
            vm_state, task_state = answers.readline().split()
            if not seen.states or seen.states[-1][1:] != (vm_state, task_state):
                seen.states.append((time.monotonic(), vm_state, task_state))


def knock(address: str, seen: Seen, over: threading.Event) -> None:
    """Until the instance's SSH server says who it is; once."""
    while not over.wait(LOOK_S) and not seen.banners:
        with suppress(OSError), socket.create_connection((address, 22), timeout=1.0) as connection:
            connection.settimeout(1.0)
            if connection.recv(4) == b"SSH-":
                seen.banners.append(time.monotonic())


if __name__ == "__main__":
    sys.exit(main())
