"""Which line of the user's files a failed login is about: said beside the error, with the line to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jetrun.errors import CloudError

URL, REGION, SECRET = "auth_url", "region_name", "secret"

_VARIABLES = {
    URL: ("OS_AUTH_URL",),
    REGION: ("OS_REGION_NAME",),
    SECRET: ("OS_APPLICATION_CREDENTIAL_SECRET", "OS_PASSWORD", "OS_TOKEN"),
}
_KEYS = {URL: "auth: auth_url", REGION: "region_name", SECRET: "auth"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Where a cloud's login stands.

    Attributes:
        where: a file and entry, an openrc file, or the environment.
        numbers: of an openrc file, the line of each variable.
        values: what stands there of URL and REGION; never of SECRET.
    """

    where: str = ""
    numbers: Mapping[str, int] | None = None
    values: Mapping[str, str] = field(default_factory=dict)

    def of(self, key: str) -> str:
        """The place of *key*, such as ``my-openrc.sh:3: OS_AUTH_URL`` or ``clouds.yaml: lab: auth: auth_url``."""
        if self.numbers is None:
            return f"{self.where}: {_KEYS[key]}"
        name = next((one for one in _VARIABLES[key] if one in self.numbers), _VARIABLES[key][0])
        number = f":{self.numbers[name]}" if self.numbers.get(name) else ""
        return f"{self.where}{number}: {name}"


def login_failed(error: CloudError, lines: Lines) -> CloudError:
    """*error* of a login, with the place that it is about in what it says and in what is to be done."""
    url = lines.values.get(URL, "")
    if not lines.where:
        return error
    if error.code == "credential-refused":
        error.next = f"see {lines.of(SECRET)}"
    elif error.code in {"cloud-not-answering", "cloud-answer-odd", "cloud-login-unusable", "credential-gone"}:
        error.what += f"; it was asked at {url}"
        error.next = f"see {lines.of(URL)}: http or https, host, port, path" + (
            "; or the network of this machine" if error.code == "cloud-not-answering" else ""
        )
    return error


def no_service(service: str, interface: str, lines: Lines) -> tuple[str, str]:
    """What to say, and what next, where the catalog has no such service: (what, next)."""
    region = lines.values.get(REGION, "")
    place = f" in region {region!r}" if region else ""
    what = f"the cloud's catalog has no {service} service{place} for the interface {interface}"
    return what, (
        f"see {lines.of(REGION)}; the cloud's own: openstack catalog list" if lines.where else "openstack catalog list"
    )
