"""Which accelerator runs guests here: KVM only where one of ours really boots with it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from lab import place
from lab.image import COMMAND_LINE, Image
from lab.services import ServiceError

WORD = b"LAB-PROBE-BOOTED"
LIMIT_S = {"kvm": 15, "tcg": 120}
"""Seconds for the guest's word: 1 with a KVM that works, 3 to 10 under emulation. What hangs is not worth a longer look."""


def accelerator(image: Image) -> str:
    """``kvm`` or ``qemu`` (software emulation). A device file proves nothing: the BIOS may run, and the kernel hang.

    The answer is kept for this boot of the machine.

    Raises:
        ServiceError: not even emulation boots the image: the image or qemu is broken, and no test could tell why.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = place.CACHE / f"accelerator-{image.version}-{boot}"
    if known.exists() and (kept := known.read_text()) in {"kvm", "qemu"}:
        return kept
    answer = _found_out(image)
    for old in place.CACHE.glob("accelerator-*"):
        old.unlink()
    new = known.with_name(f"{known.name}.new")
    new.write_text(answer)
    new.replace(known)
    return answer


def _found_out(image: Image) -> str:
    """By trying.

    Raises:
        ServiceError: neither boots it.
    """
    if Path("/dev/kvm").exists() and os.access("/dev/kvm", os.W_OK) and boots(image, "kvm"):
        return "kvm"
    if not boots(image, "tcg"):
        raise ServiceError(
            f"the guest image {image.kernel.parent} does not boot within {LIMIT_S['tcg']} s, not even under emulation; "
            f"remove that folder, and it is built anew"
        )
    return "qemu"


def boots(image: Image, accel: str) -> bool:
    """Whether the image's kernel and initrd come up under *accel* in time, and say so on the console."""
    with tempfile.NamedTemporaryFile() as console:
        command = [
            "qemu-system-x86_64", "-accel", accel, "-m", "256", "-display", "none", "-no-reboot", "-nodefaults",
            "-serial", f"file:{console.name}", "-kernel", str(image.kernel), "-initrd", str(image.initrd),
            "-append", f"{COMMAND_LINE} lab.probe",
        ]  # fmt: skip
        try:
            guest = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except FileNotFoundError as error:
            raise ServiceError(f"the guest image cannot be tried: {error}") from error
        try:
            guest.wait(LIMIT_S[accel])
        except subprocess.TimeoutExpired:
            pass
        finally:
            guest.kill()
            guest.wait()
        return WORD in Path(console.name).read_bytes()
