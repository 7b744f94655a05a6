"""Which cloud, with which credential: clouds.yaml, secure.yaml, OS_* variables, read by openstacksdk's own loader."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jetrun.cloud.profiles import Profile, profile_for
from jetrun.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudChoice:
    """A cloud that was chosen, not yet spoken to.

    Attributes:
        region: openstacksdk's CloudRegion. warnings: sentences for the user.
    """

    name: str
    region: Any
    profile: Profile
    warnings: tuple[str, ...] = ()


def choose(wanted: str | None, environ: Mapping[str, str]) -> CloudChoice:
    """The cloud that is meant: *wanted*, else OS_CLOUD, else the OS_* variables, else the only one of clouds.yaml.

    Raises:
        UsageError: none or several could be meant, or its entry cannot be read.
    """
    import openstack.config  # noqa: PLC0415 - heavy
    from openstack.exceptions import ConfigException  # noqa: PLC0415

    try:
        loader = openstack.config.OpenStackConfig(app_name="jetrun")
        names = sorted(name for name in loader.get_cloud_names() if name not in {"defaults", "envvars"})
        name = wanted or environ.get("OS_CLOUD") or _only(names, environ)
        if name != "envvars" and name not in names:
            raise _unknown(name, names, loader)
        region = loader.get_one(cloud=None if name == "envvars" else name)
        region.config["status_code_retries"] = region.config["connect_retries"] = 0
    except ConfigException as error:
        raise UsageError(
            code="cloud-config-unreadable",
            what=f"the cloud's configuration cannot be read: {error}",
            next="openstack config show",
        ) from error
    auth_host = urlsplit(str(region.config.get("auth", {}).get("auth_url", ""))).hostname or ""
    try:
        profile = profile_for(auth_host, region.config.get("jetrun") or {})
    except ValueError as error:
        raise UsageError(
            code="cloud-profile-wrong",
            what=f"{loader.config_filename}: {name}.jetrun: {error}",
            next="jetrun: { profile: generic }",
        ) from error
    return CloudChoice(name=name, region=region, profile=profile, warnings=_warnings(loader))


def _only(names: list[str], environ: Mapping[str, str]) -> str:
    """The cloud that is meant when none is named.

    Raises:
        UsageError: it is not clear.
    """
    if environ.get("OS_AUTH_URL"):
        return "envvars"
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError(
            code="no-cloud",
            what="no cloud is configured: there is no clouds.yaml, and OS_AUTH_URL is not set",
            next="jetrun init, or source your openrc file; to try without an account: jetrun demo",
        )
    raise UsageError(
        code="which-cloud", what=f"several clouds are configured: {', '.join(names)}", next=f"--os-cloud {names[0]}"
    )


def _unknown(name: str, names: list[str], loader: Any) -> UsageError:
    """The error for a cloud that is not in clouds.yaml."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    where = loader.config_filename or "clouds.yaml (none was found)"
    listed = ", ".join(names) or "none"
    return UsageError(
        code="unknown-cloud",
        what=f"no cloud {name!r} in {where}; there are: {listed}",
        next=f"--os-cloud {near[0]}" if near else "jetrun init",
    )


def _warnings(loader: Any) -> tuple[str, ...]:
    """A clouds.yaml in the current folder hides the user's own."""
    used = Path(str(loader.config_filename or ""))
    own = Path("~/.config/openstack/clouds.yaml").expanduser()
    if used.is_absolute() and used.parent == Path.cwd() and own.exists() and used != own:
        return (f"{used} in this folder hides {own}",)
    return ()
