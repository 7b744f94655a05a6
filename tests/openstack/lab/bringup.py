"""Brings the services up inside the namespaces, in the order that they need, as much side by side as they bear."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import databases, image, place, plan, seed, settings
from lab.services import Service, ServiceError

AGENTS_S = 75
"""Until the networks' own ports must be ACTIVE: 5 to 30 s after the services."""


def bring_up(accelerator: str, say: Callable[[str], None]) -> None:
    """From whatever is there to a cloud that makes instances; when all runs already, only looks."""
    _stop_changed(settings.write(accelerator), say)
    plan.prepare_folders()
    databases.found()
    start(plan.BASE)
    _ready("mariadb")
    databases.fill()
    say("databases")
    _ready("rabbitmq", "libvirtd")
    start(plan.IDENTITY)
    clouds = settings.write_clouds()
    public = _key()
    _ready("keystone")
    _once("identity", seed.identity)
    start(plan.OPENSTACK)
    # An agent whose first call comes before the server listens waits a whole minute for the answer.
    _ready("neutron-server")
    start(plan.AGENTS)
    for service in plan.SERVICES:
        service.wait()
    say("services")
    built = image.build(place.CACHE)
    _once(f"image-{built.version}", lambda: seed.image(built, image.COMMAND_LINE))
    _once("content", lambda: seed.content(public))
    seed.until("the compute host", databases.discover_host)
    _wait(say)
    say(f"up; clouds.yaml: {clouds}\n  next: tests/openstack/enter openstack --os-cloud lab server list")


def _wait(say: Callable[[str], None]) -> None:
    """Until instances can be made; the network agents are begun anew, once, where that takes too long.

    Under load the privileged half of one of them may die at its start ("cannot switch to a different thread", oslo.privsep over
    eventlet); the agent then waits for it for ever, and a port of its own is never ACTIVE.
    """
    try:
        seed.wait(AGENTS_S)
        seed.hears_of_ports()
    except ServiceError as error:
        say(f"{error}: the network agents are started again")
        for agent in reversed(plan.AGENTS):
            agent.kill()
        start(plan.AGENTS)
        seed.wait()


def _once(step: str, do: Callable[[], None]) -> None:
    if not place.is_done(step):
        do()
        place.mark_done(step)


def _stop_changed(changed: set[str], say: Callable[[str], None]) -> None:
    """Services whose settings are different now; they are started again with the rest."""
    for service in reversed(plan.SERVICES):
        if changed.intersection(service.settings) and service.running() is not None:
            say(f"{service.name}: its settings changed, it is started again")
            service.stop()


def start(services: tuple[Service, ...]) -> None:
    for service in services:
        service.start()


def _ready(*names: str) -> None:
    for name in names:
        plan.service(name).wait()


def _key() -> Path:
    key = place.STATE / "id_ed25519"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "jetrun-lab", "-f", str(key)], check=True)
    return key.with_suffix(".pub")


def guests() -> list[str]:
    """libvirt's names of the guests that run."""
    said = subprocess.run(
        ["virsh", "-q", "-c", "qemu:///system", "list", "--name"], capture_output=True, text=True, check=False
    )
    return [name for name in said.stdout.split() if name.startswith("instance-")]


def settle() -> None:
    """Ends guests, then services, the first started last."""
    for service in plan.SERVICES:
        # What keeps something is asked; the others take seconds over their goodbye, and have nothing to say.
        if service.running() is not None and service not in plan.BASE:
            service.kill()
    for name in guests():
        subprocess.run(["virsh", "-q", "-c", "qemu:///system", "destroy", name], check=False)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda service: service.stop(30), plan.BASE))
    # Neutron's namespaces and interfaces end with the lab's own; what it noted of them must not be believed at the next start.
    for stale in ("dhcp", "ra", "external/pids", "ha_confs"):
        shutil.rmtree(place.STATE / "neutron" / stale, ignore_errors=True)


def print_status() -> int:
    """One line a service, with its memory: 0 when all run."""
    stopped, total = 0, 0
    for service in plan.SERVICES:
        running = service.running()
        if running is None:
            stopped += 1
            print(f"{service.name:22} stopped")
            continue
        megabytes = _memory_mb(running.pid)
        total += megabytes
        print(f"{service.name:22} runs, pid {running.pid:6}, {megabytes:5} MB")
    print(f"{'together':22} {total} MB; guests: {', '.join(guests()) or 'none'}")
    return 1 if stopped else 0


def _memory_mb(session: int) -> int:
    """Proportional memory of a session's processes."""
    total = 0
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError, ValueError):
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                lines = (entry / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total // 1024
