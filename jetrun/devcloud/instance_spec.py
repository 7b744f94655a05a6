"""What an instance is booted with: plain data that goes from the cloud's process to the host's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """What an instance is booted with.

    Attributes:
        folder: of this instance; ``disk/`` is what its users see, ``root/`` what root's absolute paths lead to.
        silent: accepts connections and never answers (a fault). refuse_sudo: ``sudo -n`` wants a password.
        grace_s: from SIGTERM to SIGKILL when it is shut down; what ends sooner is not waited for.
    """

    id: str
    folder: Path
    addresses: list[str]
    port: int
    user: str
    public_keys: list[str]
    user_data: str
    silent: bool = False
    refuse_sudo: bool = False
    grace_s: float = 0.5
