"""``python -m lab up | down [--purge] | status | enter COMMAND...``: the real OpenStack that the tests run against."""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import time

from lab import image, namespace, packages, place, probe
from lab.namespace import LabError
from lab.services import ServiceError

SPOKEN = {"kvm": "KVM", "qemu": "software emulation (no KVM that boots a guest here)"}

BEGUN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGUN:5.1f} s] {text}", flush=True)


def up() -> int:
    """Packages, guest image and services; what is there already is left as it is."""
    place.RUN.mkdir(parents=True, exist_ok=True)
    with (place.STATE / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = packages.install()
        say(f"packages: {len(installed)} installed" if installed else "packages: all there")
        built = image.build(place.CACHE)
        accelerator = probe.accelerator(built)
        say(f"guest image {built.version}; instances run by {SPOKEN[accelerator]}")
        namespace.start()
        inside = [*namespace.entering(), sys.executable, "-m", "lab", "inside", accelerator]
        return subprocess.run(inside, env=namespace.environ(_choices()), check=False).returncode


def _choices() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.startswith("LAB_")}


def up_inside(accelerator: str) -> int:
    """The part of ``up`` that happens in the lab's namespaces, which have no way out: everything is fetched by now."""
    from lab import bringup

    bringup.bring_up(accelerator, say)
    return 0


def down(*, purge: bool) -> int:
    """Guests and services end, the namespaces with them; --purge forgets everything but the guest image."""
    if namespace.keeper() is not None:
        subprocess.run(
            [*namespace.entering(), sys.executable, "-m", "lab", "settle"], env=namespace.environ(), check=False
        )
    namespace.stop()
    if purge:
        subprocess.run(["rm", "-rf", str(place.STATE)], check=True)
    say("down, and all of it forgotten but the guest image" if purge else f"down; its databases stay in {place.STATE}")
    return 0


def settle() -> int:
    """The part of ``down`` that happens inside: databases and guests are ended in order, so that the next ``up`` finds them whole."""
    from lab import bringup

    bringup.settle()
    return 0


def status() -> int:
    """What runs; exit code 0 when everything does."""
    if namespace.keeper() is None:
        print("down\n  next: make openstack-up")
        return 1
    inside = [*namespace.entering(), sys.executable, "-m", "lab", "inside-status"]
    return subprocess.run(inside, env=namespace.environ(), check=False).returncode


def status_inside() -> int:
    from lab import bringup

    return bringup.print_status()


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab", description=__doc__)
    parser.add_argument("what", choices=["up", "down", "status", "enter", "inside", "inside-status", "settle"])
    parser.add_argument(
        "more", nargs=argparse.REMAINDER, help="down: --purge forgets all but the guest image; enter: what to run"
    )
    said = parser.parse_args()
    if os.geteuid() != 0:
        print("error: the lab needs root: it makes namespaces and virtual machines", file=sys.stderr)
        print("  next: sudo make openstack-up", file=sys.stderr)
        return 2
    try:
        if said.what == "enter":
            return namespace.enter(said.more, {**os.environ, "JETRUN_LAB": str(place.STATE)})
        if said.what == "inside":
            return up_inside(said.more[0])
        doing = {"up": up, "status": status, "inside-status": status_inside, "settle": settle}
        return down(purge="--purge" in said.more) if said.what == "down" else doing[said.what]()
    except (LabError, ServiceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
