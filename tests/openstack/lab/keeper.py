"""Process 1 of the lab's namespaces: makes their private mounts, says that it is ready, and reaps what is left to it.

When it ends, the kernel ends every process of the lab, and its network and mounts go with them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from lab import place

OWN_FOLDERS = ("libvirt", "netns", "mysqld", "lock", "sshd")
"""Folders of /run that the services look for; /run itself is empty and the lab's own, with the pid files of its daemons."""
KEPT_FOLDERS = {"/etc/libvirt": "etc/libvirt", "/var/lib/libvirt": "libvirt", "/var/log/libvirt": "log/libvirt"}
"""The same, kept in the lab's own folder between two bring-ups: another libvirt's guests are not ours."""
FILES = {"qemu.conf": "/etc/libvirt/qemu.conf", "hosts": "/etc/hosts", "resolv.conf": "/etc/resolv.conf"}


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def furnish() -> None:
    """Mounts that only the lab sees, its host name, its loopback."""
    # What /sys shows of interfaces is the network of whoever mounted it.
    _run("mount", "-t", "sysfs", "lab", "/sys")
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "lab", "/run")
    for name in OWN_FOLDERS:
        Path("/run", name).mkdir()
    for folder, kept in KEPT_FOLDERS.items():
        mine = place.STATE / kept
        mine.mkdir(parents=True, exist_ok=True)
        Path(folder).mkdir(parents=True, exist_ok=True)
        _run("mount", "--bind", str(mine), folder)
    for name, at in FILES.items():
        Path(at).touch()
        _run("mount", "--bind", str(place.HERE / "conf" / name), at)
    _run("hostname", place.HOSTNAME)
    _run("ip", "link", "set", "lo", "up")
    for link, address in ((place.FLAT_LINK, place.FLAT_GATEWAY), (place.EXTERNAL_LINK, place.EXTERNAL_GATEWAY)):
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}p")
        for end in (link, f"{link}p"):
            _run("sysctl", "-qw", f"net.ipv6.conf.{end}.disable_ipv6=1")
            _run("ip", "link", "set", end, "up")
        _run("ip", "address", "add", f"{address}/24", "dev", link)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    furnish()
    (place.RUN / "keeper.ready").touch()
    while signal.sigwait({signal.SIGCHLD, signal.SIGTERM}) == signal.SIGCHLD:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            continue
    sys.exit(0)


if __name__ == "__main__":
    main()
