"""jetrun's own SSH key pair, for instances that it launches: made once, kept in JETRUN_HOME, mode 0600."""

from __future__ import annotations

import os
from pathlib import Path


def make_key(path: Path, *, comment: str) -> None:
    """Write a new ed25519 key pair to *path* and *path*.pub.

    Effects: two files; the private one is never readable by others, not even for a moment.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - comes with paramiko
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(private)
    path.with_suffix(".pub").write_bytes(public + b" " + comment.encode() + b"\n")
    os.replace(new, path)  # noqa: PTH105 - the atomic one
