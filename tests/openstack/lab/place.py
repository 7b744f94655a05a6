"""Where the lab is: its folders, its addresses, its names and passwords. Nothing of it leaves the machine."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATE = Path(os.environ.get("JETRUN_LAB", "/var/lib/jetrun-lab"))
"""Settings, databases, images, disks, logs. Two labs with different folders can be up side by side."""
CACHE = Path(os.environ.get("JETRUN_LAB_CACHE", "/var/cache/jetrun-lab"))
"""The guest image, kept when the lab is purged."""
ETC, LOG, RUN, LOCKS = STATE / "etc", STATE / "log", STATE / "run", STATE / "lock"
DONE = STATE / "done"
"""One empty file for each step that need not be done again."""

PASSWORD = "lab-secret"
HOSTNAME = "jetrun-lab"

# The data plane is two veth pairs: this end has the address, Neutron's agent puts the other (NAME + "p") into a bridge.
FLAT_LINK, FLAT_GATEWAY, FLAT_RANGE = "lab0", "172.31.10.1", "172.31.10.0/24"
"""The shared network ``lab-net``; instances on it are reached directly, and reach the APIs at the gateway."""
EXTERNAL_LINK, EXTERNAL_GATEWAY, EXTERNAL_RANGE = "lab1", "172.31.20.1", "172.31.20.0/24"
"""The external network ``lab-ext``: gateways of routers, floating IPs."""
TENANT_GATEWAY, TENANT_RANGE = "10.40.0.1", "10.40.0.0/24"
POOL_RANGE = "10.41.0.0/16"
"""The default subnet pool, from which an auto-allocated topology takes."""

API = FLAT_GATEWAY
KEYSTONE = f"http://{API}:5000/v3"
NOVA = f"http://{API}:8774/v2.1"
PLACEMENT = f"http://{API}:8778"
GLANCE = f"http://{API}:9292"
NEUTRON = f"http://{API}:9696"

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Debian's own programs, and its own Python for OpenStack's services."""


def is_done(step: str) -> bool:
    return (DONE / step).exists()


def mark_done(step: str) -> None:
    DONE.mkdir(parents=True, exist_ok=True)
    (DONE / step).touch()
