"""Which cloud, with which credential: clouds.yaml, secure.yaml, OS_* variables, read by openstacksdk's own loader.

The loader skips a file that it cannot read and takes the next one: another cloud, or the same one without its secret.
Here that is an error that names the file.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jetrun.cloud import sources
from jetrun.cloud.blame import REGION, URL, Lines
from jetrun.cloud.cloud_files import check_read, searched
from jetrun.cloud.interface import OPENRC
from jetrun.cloud.profiles import Profile, profile_for
from jetrun.errors import UsageError

SCOPE = ("project_id", "project_name", "tenant_id", "tenant_name", "domain_id", "domain_name", "system_scope")
"""Keys of ``auth`` that ask for a scope. An application credential has its own, and is refused (401) with any of them."""

SECRETS = {"password": "password", "applicationcredential": "application_credential_secret"}
"""Where a kind of login has its secret; with the secret in a file it works again without a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudChoice:
    """A cloud that was chosen, not yet spoken to.

    Attributes:
        region: openstacksdk's CloudRegion.
        auth_type: ``password``, ``applicationcredential``, ``token`` ...
        can_be_reloaded: another process, later, can log in from the same files; no person has to type anything again.
        warnings: sentences for the user. lines: where the login stands, for messages.
    """

    name: str
    region: Any
    profile: Profile
    auth_type: str = "password"
    can_be_reloaded: bool = False
    warnings: tuple[str, ...] = ()
    lines: Lines = field(default_factory=Lines)


def choose(
    wanted: str | None, environ: Mapping[str, str], ask: Callable[[str], str] = sources.ask_at_terminal
) -> CloudChoice:
    """The cloud that is meant: *wanted*, else OS_CLOUD, else the OS_* variables, else the only one of clouds.yaml.

    The order of the ``openstack`` command line: who has just sourced an openrc means that cloud. *wanted* may also be
    ``openrc:FILE``: then that file is read, and the OS_* variables of the environment count for nothing.

    Args:
        ask: asks a person for a password, given the question.

    Raises:
        UsageError: none or several could be meant, or its entry cannot be used.
    """
    source = sources.from_environment(environ)
    if wanted is not None and wanted.startswith(OPENRC):
        source = sources.from_openrc(wanted, environ, ask)
    with source.in_force():
        return _chosen(wanted, source)


def _chosen(wanted: str | None, source: sources.Source) -> CloudChoice:
    """The cloud, with the environment that is meant in force."""
    import openstack.config  # noqa: PLC0415 - a third of a second
    from keystoneauth1.exceptions import ClientException  # noqa: PLC0415
    from openstack.config import loader as files  # noqa: PLC0415
    from openstack.exceptions import SDKException  # noqa: PLC0415

    environ = source.environ
    places = searched(files.CONFIG_FILES, environ, "OS_CLIENT_CONFIG_FILE")
    try:
        loader = openstack.config.OpenStackConfig(app_name="jetrun")
        check_read(places, loader.config_filename)
        secret = searched(files.SECURE_FILES, environ, "OS_CLIENT_SECURE_FILE")
        check_read(secret, loader.secure_config_filename)
        name = "envvars" if source.openrc else _name(wanted, environ, loader)
        where = source.where if name == "envvars" else f"{loader.config_filename}: {name}"
        _check_scope(loader.cloud_config["clouds"][name], where, from_environment=name == "envvars")
        own = loader.cloud_config["clouds"][name].get("jetrun")
        region = _region(loader, name)
    except (SDKException, ClientException, AttributeError, TypeError, ValueError, KeyError) as error:
        # The loader takes whatever shape the file has, and stumbles over it in its own ways.
        raise UsageError(
            code="cloud-config-unreadable",
            what=f"the cloud's configuration cannot be used: {_sentence(error)}",
            next="openstack config show",
        ) from error
    kind = str(region.config.get("auth_type", "password")).removeprefix("v3")
    auth = region.config.get("auth") or {}
    _check_certificates(region, where)
    return CloudChoice(
        name=source.openrc or name,
        region=region,
        profile=_profile(own or {}, auth, where),
        auth_type=kind,
        can_be_reloaded=(name != "envvars" or source.is_whole) and bool(auth.get(SECRETS.get(kind, ""))),
        warnings=(*source.warnings, *_warnings(places, loader.config_filename)),
        lines=Lines(
            where=where,
            numbers=source.lines if name == "envvars" else None,
            values={URL: str(auth.get("auth_url") or ""), REGION: str(region.config.get("region_name") or "")},
        ),
    )


def _region(loader: Any, name: str) -> Any:
    """The cloud's entry, without openstacksdk's retries, and with a login that needs no discovery where that is clear.

    Discovery is one more request, and with Keystone ill it fails in a way that looks like a wrong address.
    """
    if name == "envvars":
        # OS_CLOUD, which the loader would take for the name of a vendor's profile.
        loader.cloud_config["clouds"][name].pop("cloud", None)
    with warnings.catch_warnings():
        # openstacksdk warns of its own support for InfluxDB, whether it is used or not.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return _clear_login(loader, name)


def _clear_login(loader: Any, name: str) -> Any:
    """The entry, its login as ``v3password`` where the entry says enough for that."""
    region = loader.get_one(cloud=name)
    auth = region.config.get("auth") or {}
    user = auth.get("user_id") or (
        auth.get("username") and (auth.get("user_domain_name") or auth.get("user_domain_id"))
    )
    domain = auth.get("project_domain_name") or auth.get("project_domain_id")
    project = auth.get("project_id") or (auth.get("project_name") and domain)
    if region.config.get("auth_type") == "password" and user and project:
        region = loader.get_one(cloud=name, auth_type="v3password")
    region.config["status_code_retries"] = region.config["connect_retries"] = 0
    return region


def _name(wanted: str | None, environ: Mapping[str, str], loader: Any) -> str:
    """The name of the cloud that is meant.

    Raises:
        UsageError: it is not clear, or there is no such cloud.
    """
    known = loader.get_cloud_names()
    names = sorted(one for one in known if one not in {"defaults", "envvars"})
    name = wanted or environ.get("OS_CLOUD") or _only(names, environ)
    if name not in known or name == "defaults":
        raise _unknown(name, names, loader)
    return name


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


def _check_scope(entry: Mapping[str, Any], where: str, *, from_environment: bool) -> None:
    """An application credential stands alone; OS_PROJECT_* left over from another openrc is the usual mistake.

    Looks at the entry as it is written: keystoneauth would stumble over it first, and speak of domains.

    Raises:
        UsageError: a project is given beside it.
    """
    given = {**entry, **(entry.get("auth") or {})}
    stray = sorted(key for key in SCOPE if given.get(key))
    if str(given.get("auth_type", "")).removeprefix("v3") != "applicationcredential" or not stray:
        return
    variables = "OS_PROJECT_ID OS_PROJECT_NAME OS_TENANT_ID OS_TENANT_NAME OS_DOMAIN_ID OS_DOMAIN_NAME OS_SYSTEM_SCOPE"
    raise UsageError(
        code="credential-and-project",
        what=f"{where}: an application credential has its own project, and is refused with {', '.join(stray)} beside it",
        next=f"unset {variables}" if from_environment else f"remove {', '.join(stray)} from auth of that entry",
    )


def _check_certificates(region: Any, where: str) -> None:
    """Files of certificates that are named are there.

    Raises:
        UsageError: one is not.
    """
    for key in ("cacert", "cert", "key"):
        named = region.config.get(key)
        if named and not Path(str(named)).expanduser().exists():
            raise UsageError(
                code="cloud-certificate-missing",
                what=f"{where}: {key}: {named} does not exist",
                next=f"{key}: /path/to/file.pem",
            )


def _profile(own: Mapping[str, Any], auth: Mapping[str, Any], where: str) -> Profile:
    """What is known of the cloud's policy.

    Args:
        own: ``jetrun:`` of the entry as it is written. openstacksdk's loader would make texts of its numbers, and
            underscores of the dashes in its keys, which are parts of flavor names.

    Raises:
        UsageError: ``jetrun:`` of its entry is wrong.
    """
    try:
        host = urlsplit(str(auth.get("auth_url", ""))).hostname or ""
        return profile_for(host, own)
    except ValueError as error:
        raise UsageError(
            code="cloud-profile-wrong",
            what=f"{where}: jetrun: {error}",
            next="jetrun: { profile: generic }",
        ) from error


def _sentence(error: Exception) -> str:
    """What the loader says, on one line; only its name where its text may hold a value of the file."""
    from keystoneauth1.exceptions import ClientException  # noqa: PLC0415
    from openstack.exceptions import SDKException  # noqa: PLC0415

    if isinstance(error, (SDKException, ClientException)):
        return " ".join(str(error).split())
    return f"an entry has an unexpected shape ({type(error).__name__})"


def _warnings(searched: Sequence[Path], used: str | None) -> tuple[str, ...]:
    """A clouds.yaml in the current folder hides the user's own."""
    if not used or Path(used).parent != Path.cwd():
        return ()
    later = searched[searched.index(Path(used)) + 1 :]
    hidden = next((path for path in later if path.parent != Path.cwd() and path.exists()), None)
    return (f"{used} in this folder hides {hidden}",) if hidden else ()
