"""Where the journal lies: what kind of filesystem that is."""

from __future__ import annotations

from pathlib import Path

NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "afs", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs"}
)
"""Where SQLite's write-ahead log does not hold, because it needs shared memory. Source: sqlite.org/wal.html, section 1."""


def filesystem_of(folder: Path) -> str:
    """The type of the filesystem that holds *folder*, empty where the system does not tell. Source: proc(5), mounts."""
    best, kind = "", ""
    try:
        target = str(folder.resolve())
        for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            _, point, name, *_ = line.split(" ")
            point = point.encode().decode("unicode_escape")
            if (target == point or target.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
                best, kind = point, name
    except (OSError, ValueError):
        return ""
    return kind
