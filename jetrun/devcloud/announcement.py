"""Where an embedded cloud is, written for those who wait for it: clouds.yaml for OpenStack's clients, devcloud.json for ours."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jetrun.devcloud.state import PASSWORD


def announce(folder: Path, *, base: str, token: str, mail_port: int, ssh_port: int, ssh_user: str) -> None:
    """Write both files, clouds.yaml first: who sees devcloud.json finds it."""
    key = folder / "id_ed25519"
    extra = {"profile": "devcloud", "ssh_port": ssh_port, "ssh_user": ssh_user, "ssh_key": str(key)}
    clouds = {
        "devcloud": _entry(base, "ada", "lab", extra),
        "devcloud-bob": _entry(base, "bob", "lab", extra),
        "devcloud-other": _entry(base, "eve", "other-lab", extra),
        "devcloud-admin": _entry(base, "admin", "admin", extra),
    }
    _write(folder / "clouds.yaml", {"clouds": clouds})
    pid = os.getpid()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    about = {
        "pid": pid,
        "start_time": fields[19],
        "url": base,
        "admin": f"{base}/admin",
        "token": token,
        "mail_port": mail_port,
        "mail_folder": str(folder / "mail"),
        "ssh_port": ssh_port,
        "key": str(key),
        "clouds": str(folder / "clouds.yaml"),
    }
    _write(folder / "devcloud.json", about)


def _entry(base: str, user: str, project: str, extra: dict[str, Any]) -> dict[str, Any]:
    """One entry of clouds.yaml."""
    return {
        "auth": {
            "auth_url": f"{base}/identity/v3",
            "username": user,
            "password": PASSWORD,
            "project_name": project,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": "RegionOne",
        "identity_api_version": 3,
        "jetrun": extra,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a file that others may be waiting for: whole, or not at all. JSON is YAML."""
    new = path.with_suffix(path.suffix + ".new")
    new.write_text(json.dumps(content, indent=1))
    new.chmod(0o600)
    os.replace(new, path)  # noqa: PTH105 - the atomic one
