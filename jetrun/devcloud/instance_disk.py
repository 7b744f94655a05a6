"""The disk of an instance: what is made at its first boot, what is new with each, and what its console says.

``disk/`` holds the homes, ``root/`` what root's absolute paths lead to (DESTDIR), ``bin/`` the guest's programs, ``run/`` what
goes between these and the instance's process, beside the host key and the console log. All of it survives a power-off.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
import uuid
from pathlib import Path

import asyncssh

_PROGRAMS = ("sudo", "wall", "who", "users", "cloud-init")
_ORDERS = ("systemctl", "systemd-run", "poweroff", "shutdown", "reboot", "halt")
_CONSOLE_LIMIT = 1 << 20


class Disk:
    """The folders of one instance."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.homes = folder / "disk" / "home"
        self.bin = folder / "bin"
        self.run = folder / "run"
        self.host_key = folder / "host_key"
        self.console = folder / "console.log"
        self._identity = identity

    def prepare(self, *, refuse_sudo: bool) -> None:
        """Make what is missing, and what is new with each boot: an empty /run and a boot id."""
        for volatile in (self.root / "run", self.run, self.bin):
            shutil.rmtree(volatile, ignore_errors=True)
        kernel, dmi = self.root / "proc/sys/kernel/random", self.root / "sys/class/dmi/id"
        folders = ("root", "run/systemd/system", "etc/systemd/system", "var/lib/cloud", "var/log")
        for folder in (self.homes, self.bin, self.run / "orders", kernel, dmi, *(self.root / one for one in folders)):
            folder.mkdir(parents=True, exist_ok=True)
        (kernel / "boot_id").write_text(f"{uuid.uuid4()}\n")
        (dmi / "product_uuid").write_text(f"{self._identity}\n")
        (self.root / "run/boottime").write_text(f"{time.time():.3f}\n")
        if refuse_sudo:
            (self.run / "sudo-password").touch()
        self._install_programs()
        if not self.host_key.exists():
            new = self.folder / "host_key.new"
            asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(new))
            new.chmod(0o600)
            new.replace(self.host_key)

    def _install_programs(self) -> None:
        """The guest's programs, each knowing where its instance is."""
        source = Path(__file__).parent / "guest"
        for name, file in [(name, name) for name in _PROGRAMS] + [(name, "order") for name in _ORDERS]:
            text = (source / f"{file}.sh").read_text()
            program = self.bin / name
            program.write_text(text.replace("@FOLDER@", shlex.quote(str(self.folder))))
            program.chmod(0o755)
        os.mkfifo(self.run / "door")

    def write(self, text: str) -> None:
        """Add to the console log; it begins anew when it is long."""
        with self.console.open("a") as file:
            if file.tell() > _CONSOLE_LIMIT:
                file.truncate(0)
            file.write(text)

    def announce_boot(self) -> None:
        """The console's beginning."""
        self.write(
            "\n[    0.000000] Linux version 6.1.0-devcloud\n[    0.412034] systemd[1]: Detected virtualization kvm.\n"
        )

    def announce_keys(self) -> None:
        """Host keys and the login prompt, as cloud-init leaves them. Source: cloud-init, cc_keys_to_console, cc_final_message."""
        key = asyncssh.read_private_key(str(self.host_key))
        public = " ".join(key.export_public_key().decode().split()[:2])
        host = f"instance-{self._identity[:8]}"
        at = time.gmtime()
        tag = f"<14>{time.strftime('%b %e %H:%M:%S', at)} cloud-init: "
        self.write(
            f"{tag}#############################################################\n"
            f"{tag}-----BEGIN SSH HOST KEY FINGERPRINTS-----\n"
            f"{tag}256 {key.get_fingerprint()} root@{host} (ED25519)\n"
            f"{tag}-----END SSH HOST KEY FINGERPRINTS-----\n"
            f"{tag}#############################################################\n"
            f"-----BEGIN SSH HOST KEY KEYS-----\n{public} root@{host}\n-----END SSH HOST KEY KEYS-----\n"
            f"[    1.204711] cloud-init: Cloud-init v. 22.4.2 finished at {time.strftime('%a, %d %b %Y %H:%M:%S +0000', at)}."
            f" Datasource DataSourceOpenStack [net,ver=2].  Up 1.20 seconds\n\n"
            f"Debian GNU/Linux 12 {host} ttyS0\n\n{host} login: "
        )
