"""The files that name clouds: which are looked for, which is used, what is in it, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jetrun.errors import UsageError


def entries(environ: Mapping[str, str]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Every configured cloud: its name (``envvars`` for the OS_* variables), where it stands, its entry as it is written.

    Raises:
        UsageError: a file cannot be read.
    """
    import openstack.config  # noqa: PLC0415 - a third of a second
    from openstack.config import loader as files  # noqa: PLC0415

    places = searched(files.CONFIG_FILES, environ, "OS_CLIENT_CONFIG_FILE")
    loader = openstack.config.OpenStackConfig(app_name="jetrun")
    check_read(places, loader.config_filename)
    written = {"envvars": "the environment"} if environ.get("OS_AUTH_URL") else {}
    names = [*(name for name in sorted(loader.get_cloud_names()) if name not in {"defaults", "envvars"}), *written]
    found = loader.cloud_config.get("clouds") or {}
    return [(name, written.get(name, str(loader.config_filename)), found.get(name) or {}) for name in names]


def searched(usual: Sequence[str], environ: Mapping[str, str], variable: str) -> list[Path]:
    """The files that are looked for, in order; the one that the environment names must be there.

    Raises:
        UsageError: it is not.
    """
    named = environ.get(variable)
    if named and not Path(named).exists():
        raise UsageError(
            code="cloud-config-missing",
            what=f"{variable} names {named}, which does not exist",
            next=f"unset {variable}",
        )
    return [*([Path(named)] if named else []), *map(Path, usual)]


def check_read(searched: Sequence[Path], used: str | None) -> None:
    """The first file that exists is the one that was used.

    Raises:
        UsageError: it was passed over because it cannot be read, or is no YAML.
    """
    first = next((path for path in searched if path.exists()), None)
    if first is None or (used is not None and Path(used) == first):
        return
    raise UsageError(code="cloud-config-unreadable", what=f"{first} {_flaw(first)}", next=f"ls -l {first}")


def _flaw(path: Path) -> str:
    """What is wrong with a file of settings: the place, never its text, which may be a password."""
    import yaml  # type: ignore[import-untyped]  # noqa: PLC0415 - openstacksdk's own, without types

    try:
        yaml.safe_load(path.read_text())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        return f"is no YAML: line {mark.line + 1 if mark else '?'}: {error.problem}"
    except (yaml.YAMLError, ValueError):
        return "is no YAML"
    return "cannot be used"
