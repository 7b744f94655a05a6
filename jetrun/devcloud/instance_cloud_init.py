"""cloud-init: what the user data of an instance asks for at its first boot, before anybody can log in.

A script (``#!``), or the cloud-config keys that jetrun and newcomers use. What is wrong in it goes to the console and never
keeps the instance from booting, as on a real one. Source: cloud-init, "User data formats" and "Module reference".
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Run = Callable[[list[str]], Awaitable[int]]
Say = Callable[[str], None]


async def first_boot(text: str, *, root: Path, run: Run, say: Say, add_keys: Callable[[list[str]], None]) -> bool:
    """Carry out *text*; whether all of it was understood.

    Args:
        root: root's folder. run: executes an argv as root. say: writes to the console. add_keys: authorizes public keys.
    """
    if text.startswith("#!"):
        script = root / "var/lib/cloud/user-data"
        script.write_text(text)
        script.chmod(0o700)
        return await _part(say, "scripts_user", _script(run, script))
    if not text.startswith("#cloud-config"):
        return True
    import yaml  # type: ignore[import-untyped] # noqa: PLC0415 - no stubs; only launched instances need it; comes with openstacksdk

    try:
        config = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        say(f"cloud-init: Failed loading yaml blob: {error}\n")
        return False
    if not isinstance(config, dict):
        say("cloud-init: Failed loading yaml blob: it is not a mapping\n")
        return False
    fine = await _part(say, "ssh", _keys(config, add_keys))
    fine = await _part(say, "write_files", _files(config, root)) and fine
    return await _part(say, "runcmd", _commands(config, run)) and fine


async def _part(say: Say, name: str, work: Awaitable[None]) -> bool:
    """One module of cloud-init; the others run though it fails."""
    try:
        await work
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        say(f"cloud-init: Running module {name} failed: {error!r}\n")
        return False
    return True


async def _script(run: Run, path: Path) -> None:
    code = await run([str(path)])
    if code != 0:
        raise ValueError(f"exit code {code}")


async def _keys(config: dict[str, Any], add_keys: Callable[[list[str]], None]) -> None:
    add_keys([str(key) for key in config.get("ssh_authorized_keys") or []])


async def _files(config: dict[str, Any], root: Path) -> None:
    for file in config.get("write_files") or []:
        path = root / str(file["path"]).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        content = decoded(file.get("content") or "", str(file.get("encoding") or ""))
        with path.open("ab" if file.get("append") else "wb") as out:
            out.write(content)
        path.chmod(int(str(file.get("permissions", "0644")), 8))


async def _commands(config: dict[str, Any], run: Run) -> None:
    for command in config.get("runcmd") or []:
        await run([str(word) for word in command] if isinstance(command, list) else ["sh", "-c", str(command)])


def decoded(content: str | bytes, encoding: str) -> bytes:
    """The bytes of a ``write_files`` entry.

    Raises:
        ValueError: its encoding is not known, or it is not encoded so.
    """
    data = content.encode() if isinstance(content, str) else content
    match encoding.replace("+", "").replace("-", "").lower():
        case "" | "text/plain":
            return data
        case "b64" | "base64":
            return base64.b64decode(data)
        case "gz" | "gzip":
            return gzip.decompress(data)
        case "gzb64" | "gzbase64" | "gzipb64" | "gzipbase64":
            return gzip.decompress(base64.b64decode(data))
    raise ValueError(f"unknown encoding {encoding}")
