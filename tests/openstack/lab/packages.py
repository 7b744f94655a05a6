"""The Debian packages of the lab: what is missing is installed, and nothing of it is started outside."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lab import place
from lab.services import ServiceError

PACKAGES = (
    # the base
    "mariadb-server", "mariadb-client", "rabbitmq-server", "memcached", "uwsgi-core", "uwsgi-plugin-python3",
    # OpenStack
    "keystone", "placement-api", "glance-api", "nova-api", "nova-conductor", "nova-scheduler", "nova-compute-qemu",
    "neutron-server", "neutron-linuxbridge-agent", "neutron-dhcp-agent", "neutron-l3-agent",
    "python3-pymysql", "python3-libvirt", "python3-memcache", "python3-pymemcache",
    # machines and networks
    "libvirt-daemon", "libvirt-daemon-system", "libvirt-clients", "qemu-system-x86", "qemu-utils", "genisoimage",
    "bridge-utils", "conntrack", "dnsmasq-base", "ebtables", "ipset", "iptables", "iproute2", "iputils-arping", "kmod",
    # the guest image
    "mmdebstrap", "cpio", "e2fsprogs", "openssh-client", "debian-archive-keyring", "apt-utils",
    # entering the namespaces, and what any small machine may lack
    "util-linux", "procps", "sudo",
)  # fmt: skip

APT_UPDATE = ["apt-get", "update", "-q", "-o", "Acquire::Retries=3"]
APT_INSTALL = [
    "apt-get", "install", "-q", "-y", "--no-install-recommends", "-o", "Acquire::Retries=5",
    "-o", "Dpkg::Options::=--force-unsafe-io", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
]  # fmt: skip

POLICY = Path("/usr/sbin/policy-rc.d")


def missing() -> list[str]:
    """Those of PACKAGES that are not installed."""
    said = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    there = {line.split()[0] for line in said.splitlines() if line.endswith(" installed")}
    return [name for name in PACKAGES if name not in there]


def install() -> list[str]:
    """Installs what is missing: the names.

    Raises:
        ServiceError: apt-get could not; with its last lines.
    """
    wanted = missing()
    if not wanted:
        return []
    place.LOG.mkdir(parents=True, exist_ok=True)
    log = place.LOG / "apt.log"
    # A package must not start its service here: no policy of this machine is touched, one is made where there is none.
    made = not POLICY.exists()
    if made:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        with log.open("wb") as out:
            for command in (APT_UPDATE, [*APT_INSTALL, *wanted]):
                ended = subprocess.run(
                    command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, check=False,
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": place.PATH},
                )  # fmt: skip
        if ended.returncode != 0:
            last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise ServiceError(f"apt-get could not install the lab's packages ({log})\n{last}")
    finally:
        if made:
            POLICY.unlink(missing_ok=True)
    return wanted
