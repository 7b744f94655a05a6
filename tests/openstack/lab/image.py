"""The guest image: a small Debian of the suite below, its own kernel, and an initrd that knows virtio. Built once, kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import place
from lab.services import ServiceError

SUITE = "bookworm"
SIZE = "640M"
GUEST = place.HERE / "guest"
COMMAND_LINE = (
    "root=/dev/vda rw console=ttyS0 loglevel=4 net.ifnames=0 mitigations=off no_timer_check cryptomgr.notests "
    "random.trust_cpu=on edd=off"
)
"""The guest kernel's: a serial console, and none of the tests that take seconds under emulation."""

TRIES = 4
FILES = ("vmlinuz", "initrd.img", "root.qcow2")
LAST_REMOVED = (
    "usr/bin/perl*",
    "usr/share/perl*",
    "usr/lib/x86_64-linux-gnu/perl*",
    "usr/lib/x86_64-linux-gnu/libperl.so*",
)
"""Once units are enabled nothing runs Perl any more: 64 MB less to send and to hash at every shelve."""
LEFT_OUT = ("man", "doc", "locale", "info", "lintian")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A built image.

    Attributes:
        version: of what it was made from; another version is another image.
    """

    kernel: Path
    initrd: Path
    root: Path
    version: str


def version() -> str:
    """A digest of everything here that determines the image."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for file in sorted(path for path in GUEST.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(GUEST)}\0{os.access(file, os.X_OK)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def build(cache: Path) -> Image:
    """The image, from *cache* if it was built there before; about 40 s otherwise.

    Raises:
        ServiceError: a tool failed; with its last lines.
    """
    wanted = version()
    folder = cache / f"guest-{wanted}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _build(cache, folder)
    kernel, initrd, root = (folder / name for name in FILES)
    return Image(kernel=kernel, initrd=initrd, root=root, version=wanted)


def _build(cache: Path, folder: Path) -> None:
    """Builds aside; the folder appears whole or not at all."""
    for old in cache.glob("building-*"):
        shutil.rmtree(old)
    work = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
    root, ready = work / "root", work / "ready"
    ready.mkdir()
    for attempt in range(TRIES):
        try:
            _debootstrap(work, root)
            break
        except ServiceError:
            # An archive that does not answer once is common, and a red CI for it is not worth having.
            shutil.rmtree(root, ignore_errors=True)
            if attempt == TRIES - 1:
                raise
            time.sleep(5)
    release = max((root / "lib/modules").iterdir()).name
    shutil.copy(root / f"boot/vmlinuz-{release}", ready / "vmlinuz")
    _initrd(work, root, release, ready / "initrd.img")
    _furnish(root, release)
    _disk(work, root, ready / "root.qcow2")
    for old in cache.glob("guest-*"):
        # Of an older version; a lab that runs has its copy in Glance.
        shutil.rmtree(old)
    ready.rename(folder)
    shutil.rmtree(work)


def _run(work: Path, *command: str | Path, cwd: Path | None = None, text: str | None = None) -> str:
    log = work.parent / "build.log"
    with log.open("a") as out:
        try:
            ended = subprocess.run(
                [str(word) for word in command], cwd=cwd, input=text, stdout=subprocess.PIPE, stderr=out, text=True, check=False,
                env={"PATH": place.PATH, "LC_ALL": "C.UTF-8", "HOME": str(work), **_apt()},
            )  # fmt: skip
        except FileNotFoundError as error:
            raise ServiceError(f"the guest image cannot be built: {error}; next: make openstack-up") from error
    if ended.returncode != 0:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise ServiceError(
            f"the guest image: {command[0]} ended with {ended.returncode} ({log})\n{last}\n{ended.stdout[-500:]}"
        )
    return ended.stdout


def _apt() -> dict[str, str]:
    """What of the environment may say how this machine reaches its archive."""
    return {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy") or key == "APT_CONFIG"}


def _archives(work: Path) -> tuple[str, str]:
    """Where this machine's own packages come from: Debian's archive, and the one of its security updates."""
    said = _run(work, "apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages")
    return archives(said)


def archives(sites: str) -> tuple[str, str]:
    """The two archives among apt's *sites*, one on a line.

    Raises:
        ServiceError: apt knows no archive of Debian.
    """
    known = [site.rstrip("/") for site in sites.split()]
    main = next((site for site in known if site.endswith("/debian")), None)
    if main is None:
        raise ServiceError(
            "the guest image: apt's configuration names no archive of Debian; look at /etc/apt/sources.list"
        )
    return main, next((site for site in known if site.endswith("/debian-security")), f"{main}-security")


def _debootstrap(work: Path, root: Path) -> None:
    packages = ",".join((GUEST / "packages.txt").read_text().split())
    keys = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    archive, security = _archives(work)
    _run(
        work, "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", "--architectures=amd64", f"--include={packages}",
        '--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"', "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT),
        SUITE, root, f"deb {keys} {archive} {SUITE} main", f"deb {keys} {security} {SUITE}-security main",
    )  # fmt: skip


def _initrd(work: Path, root: Path, release: str, target: Path) -> None:
    """busybox, guest/init, and the modules of virtio's bus and disk in the order in which they load.

    Not compressed: emulation inflates slowly.
    """
    tree = work / "initrd"
    for name in ("bin", "dev", "proc", "sys", "root", "modules"):
        (tree / name).mkdir(parents=True)
    _run(work, "apt-get", "download", "-q", "busybox-static", cwd=work)
    _run(work, "dpkg", "-x", str(next(work.glob("busybox-static_*.deb"))), work / "busybox")
    shutil.copy(work / "busybox/bin/busybox", tree / "bin/busybox")
    seen: list[str] = []
    for module in ("virtio_pci", "virtio_blk"):
        lines = _run(work, "modprobe", "-d", root, "-S", release, "--show-depends", module).splitlines()
        seen += [line.split()[1] for line in lines if line.startswith("insmod") and line.split()[1] not in seen]
    for number, path in enumerate(seen):
        shutil.copy(path, tree / "modules" / f"{number:02}-{Path(path).name}")
    shutil.copy(GUEST / "init", tree / "init")
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    _run(work, "cpio", "--quiet", "-o", "-H", "newc", "-O", str(target), cwd=tree, text=names + "\n")


def _lines(name: str) -> list[str]:
    return [line for line in (GUEST / name).read_text().splitlines() if line and not line.startswith("#")]


def _furnish(root: Path, release: str) -> None:
    """Takes away what no guest opens, puts the overlay on top, says which units run."""
    _remove(root, _lines("removed.txt"))
    _run(root.parent, "depmod", "-b", root, release)
    for config in (root / "etc/cloud/cloud.cfg.d").glob("*"):
        if config.name != "05_logging.cfg":
            config.unlink()
    put(GUEST / "overlay", root)
    units = root / "etc/systemd/system"
    for unit in _lines("masked.txt"):
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    _run(
        root.parent,
        "chroot",
        root,
        "systemctl",
        "enable",
        "-q",
        "systemd-networkd.service",
        "ssh.service",
        "lab-host-keys.service",
    )
    _remove(root, LAST_REMOVED)
    _link(units / "default.target", "/usr/lib/systemd/system/multi-user.target")
    _link(units / "multi-user.target.wants/cloud-init.target", "/usr/lib/systemd/system/cloud-init.target")


def _remove(root: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def put(overlay: Path, root: Path) -> None:
    """The overlay's files over *root*'s; who may read them is no matter of the umask with which this folder was checked out."""
    for source in sorted(overlay.rglob("*")):
        target = root / source.relative_to(overlay)
        if source.is_dir():
            target.mkdir(mode=0o755, exist_ok=True)
            continue
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def _link(at: Path, to: str) -> None:
    at.unlink(missing_ok=True)
    at.symlink_to(to)


def _disk(work: Path, root: Path, target: Path) -> None:
    """One ext4 without a partition table, root's, with a small journal."""
    raw = work / "root.raw"
    _run(
        work, "mke2fs", "-q", "-t", "ext4", "-L", "labroot", "-m", "0", "-O", "^metadata_csum,has_journal,resize_inode",
        "-J", "size=4", "-E", "lazy_itable_init=1,nodiscard,resize=8388608,root_owner=0:0", "-d", root, raw, SIZE,
    )  # fmt: skip
    _run(work, "tune2fs", "-c", "0", "-i", "0", raw)
    _run(work, "qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", raw, target)


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else place.CACHE))
