"""The services' settings: templates of conf/ filled in; what changed since the last bring-up is told."""

from __future__ import annotations

import os
from pathlib import Path
from string import Template

from lab import place

FILES = {
    "mariadb.cnf": "mariadb.cnf",
    "libvirtd.conf": "libvirtd.conf",
    "keystone.conf": "keystone/keystone.conf",
    "placement.conf": "placement/placement.conf",
    "glance-api.conf": "glance/glance-api.conf",
    "nova-compute.conf": "nova/nova-compute.conf",
    "nova-databases.conf": "nova/nova-databases.conf",
    "neutron.conf": "neutron/neutron.conf",
    "ml2_conf.ini": "neutron/ml2_conf.ini",
    "linuxbridge_agent.ini": "neutron/linuxbridge_agent.ini",
    "dhcp_agent.ini": "neutron/dhcp_agent.ini",
    "l3_agent.ini": "neutron/l3_agent.ini",
}
"""Template and place below ETC."""

QUIET = (
    "amqp", "oslo_messaging", "oslo.messaging", "sqlalchemy", "urllib3.connectionpool", "keystonemiddleware", "keystoneauth",
    "routes.middleware", "stevedore", "oslo.cache", "dogpile.core.dogpile",
)  # fmt: skip
LOGGING = f"use_stderr = true\ndefault_log_levels = {','.join(f'{name}=WARN' for name in QUIET)},oslo_policy=ERROR"


def _as(user: str) -> str:
    """How a service logs in at Keystone."""
    return "\n".join(
        [
            f"auth_url = {place.KEYSTONE}",
            f"www_authenticate_uri = {place.KEYSTONE}",
            "auth_type = password",
            f"username = {user}",
            f"password = {place.PASSWORD}",
            "project_name = service",
            "user_domain_name = Default",
            "project_domain_name = Default",
            "region_name = RegionOne",
            "memcached_servers = 127.0.0.1:11211",
        ]
    )


def values(accelerator: str) -> dict[str, str]:
    """What the templates are filled with.

    LAB_SYNC_POWER (seconds) and LAB_SHELVED_OFFLOAD_TIME (-1: shelved instances keep their host) change a bring-up.
    """
    return {
        "state": str(place.STATE),
        "etc": str(place.ETC),
        "api": place.API,
        "hostname": place.HOSTNAME,
        "database": f"mysql+pymysql://lab:{place.PASSWORD}@127.0.0.1:3306",
        "logging": LOGGING,
        "accelerator": accelerator,
        "sync_power_s": os.environ.get("LAB_SYNC_POWER", "10"),
        "shelved_offload_s": os.environ.get("LAB_SHELVED_OFFLOAD_TIME", "0"),
        "flat_link": place.FLAT_LINK,
        "external_link": place.EXTERNAL_LINK,
        **{f"as_{user}": _as(user) for user in ("placement", "glance", "nova", "neutron")},
    }


def write(accelerator: str) -> set[str]:
    """Writes the settings: the files (below ETC) that were there and are different now."""
    filled, changed = values(accelerator), set()
    for template, name in FILES.items():
        text = Template((place.HERE / "conf" / template).read_text()).substitute(filled)
        at = place.ETC / name
        at.parent.mkdir(parents=True, exist_ok=True)
        if at.exists():
            if at.read_text() == text:
                continue
            changed.add(name)
        _replace(at, text)
    return changed


def _replace(at: Path, text: str) -> None:
    aside = at.with_name(at.name + ".new")
    aside.write_text(text)
    aside.replace(at)


CLOUD = """\
  {name}:
    auth:
      auth_url: {keystone}
      username: {user}
      password: {password}
      project_name: {project}
      user_domain_name: Default
      project_domain_name: Default
    region_name: RegionOne
    identity_api_version: 3
    jetrun:
      ssh_user: debian
      ssh_key: {key}
"""
CLOUDS = (
    ("lab", "lab", "lab"),
    ("lab-bob", "bob", "lab"),
    ("lab-other", "other", "other"),
    ("lab-admin", "admin", "admin"),
)
"""Entry, user, project: a member, her colleague, a stranger, the staff."""


def write_clouds() -> Path:
    """The clouds.yaml of the lab's users: its path."""
    at = place.STATE / "clouds.yaml"
    key = place.STATE / "id_ed25519"
    entries = [
        CLOUD.format(name=name, user=user, project=project, keystone=place.KEYSTONE, password=place.PASSWORD, key=key)
        for name, user, project in CLOUDS
    ]
    _replace(at, "clouds:\n" + "".join(entries))
    at.chmod(0o600)
    return at
