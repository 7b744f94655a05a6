"""Which accelerator runs guests here: KVM only where one of ours really boots with it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from lab import place
from lab.image import COMMAND_LINE, Image

WORD = b"LAB-PROBE-BOOTED"
LIMIT_S = 15


def accelerator(image: Image) -> str:
    """``kvm`` or ``qemu`` (software emulation). A device file proves nothing: the BIOS may run, and the kernel hang.

    The answer is kept for this boot of the machine.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = place.CACHE / f"accelerator-{image.version}-{boot}"
    if known.exists():
        return known.read_text()
    answer = "kvm" if Path("/dev/kvm").exists() and os.access("/dev/kvm", os.W_OK) and boots(image, "kvm") else "qemu"
    for old in place.CACHE.glob("accelerator-*"):
        old.unlink()
    known.write_text(answer)
    return answer


def boots(image: Image, accel: str, limit_s: float = LIMIT_S) -> bool:
    """Whether the image's kernel and initrd come up under *accel* within *limit_s* seconds, and say so on the console."""
    with tempfile.NamedTemporaryFile() as console:
        command = [
            "qemu-system-x86_64", "-accel", accel, "-m", "256", "-display", "none", "-no-reboot", "-nodefaults",
            "-serial", f"file:{console.name}", "-kernel", str(image.kernel), "-initrd", str(image.initrd),
            "-append", f"{COMMAND_LINE} lab.probe",
        ]  # fmt: skip
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as guest:
            try:
                guest.wait(limit_s)
            except subprocess.TimeoutExpired:
                guest.kill()
        return WORD in Path(console.name).read_bytes()
