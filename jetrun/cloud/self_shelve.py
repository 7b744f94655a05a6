"""Credentials with which an instance may shelve itself, and be acted on in any other way; nothing else of the project.

OpenStack has no role for an instance. The narrowest thing there is: an application credential whose access rules name one
instance's action path. They compare service, method and path, never the body, so that path stands for *every* action.
Source: Keystone API reference, Application Credentials; keystonemiddleware, auth_token; seen at work on Keystone 22.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jetrun.cloud import parse
from jetrun.cloud.credentials import CloudChoice
from jetrun.cloud.interface import ShelveKey
from jetrun.cloud.wire import Wire, nothing, segment
from jetrun.errors import CloudAmbiguous, CloudError, CloudPermanent, Secret, UsageError
from jetrun.guarantee.power import InstanceId

SECRET_BYTES = 32
"""Random bytes of a secret; 43 characters, below the 72 that bcrypt, Keystone's default, looks at."""

Rule = Mapping[str, str]


def rules_for(compute_url: str, instance: InstanceId) -> list[dict[str, str]]:
    """Access rules for one instance: its actions, and reading it.

    The service compares the path that it sees. Behind a proxy that takes a prefix away (``/compute``) that is less than
    the URL's: both are named.
    """
    whole = urlsplit(compute_url).path.rstrip("/")
    found = re.search(r"/v2(?:\.\d+)?(?:/.*)?$", whole)
    roots = list(dict.fromkeys([whole, found[0]] if found else [whole]))
    server = f"/servers/{instance}"
    return [
        {"service": "compute", "method": method, "path": root + server + more}
        for root in roots
        for method, more in (("POST", "/action"), ("GET", ""))
    ]


class _Keys:
    """What both kinds need of a cloud."""

    def __init__(self, choice: CloudChoice) -> None:
        self._choice = choice
        self._wire = Wire(choice)

    def close(self) -> None:
        """Close connections. Never raises."""
        self._wire.close()

    def _key(self, key_id: str, secret: Secret, instance: InstanceId, **more: Any) -> ShelveKey:
        """The credential with the cloud's addresses and certificates."""
        config = self._choice.region.config
        auth_url = str((config.get("auth") or {}).get("auth_url", "")).rstrip("/")
        named = config.get("cacert")
        return ShelveKey(
            key_id=key_id,
            secret=secret,
            auth_url=auth_url if auth_url.endswith("/v3") else f"{auth_url}/v3",
            instance_url=f"{self._wire.endpoint('compute')}/servers/{segment(instance)}",
            cacert=Path(str(named)).expanduser().read_text(encoding="ascii", errors="ignore") if named else "",
            **more,
        )

    def _users(self) -> str:
        """The path of this user in Keystone, whose entry in the catalog may or may not end in /v3."""
        root = "" if self._wire.endpoint("identity").endswith("/v3") else "/v3"
        return f"{root}/users/{segment(str(self._wire.access().user_id))}"


class MintedKeys(_Keys):
    """Makes a credential for each run; satisfies ``cloud.interface.ShelveKeys``."""

    makes = True

    def check(self, instance: InstanceId | None, *, until_at: datetime) -> None:
        """An application credential makes others only where it is unrestricted; a password always may."""
        del instance, until_at
        own = self._wire.access().application_credential_id
        if own is None or self._is_unrestricted(str(own)):
            return
        raise UsageError(
            code="self-shelve-cannot-be-made",
            what=(
                f"instance.self_shelve: cloud {self._choice.name} is logged into with an application credential that is restricted: "
                "it cannot make the credential for the instance"
            ),
            next='self_shelve = "NAME"   # an entry of clouds.yaml with a credential made for it: docs/decisions/0007-self-shelve.md',
        )

    def project(self) -> str:
        """The project that is logged into."""
        return str(self._wire.access().project_id)

    def end_of(self, key: str) -> datetime | None:
        """When a credential of this user's ends; None where it never does, or the cloud does not say."""
        try:
            return self._wire.call(
                "GET", "identity", f"{self._users()}/application_credentials/{segment(key)}",
                doing="reading a credential",
                pick=lambda answer: parse.moment(answer.json()["application_credential"].get("expires_at")),
            )  # fmt: skip
        except CloudError:
            return None

    def _is_unrestricted(self, key: str) -> bool:
        """Whether the credential may make others; no where it may not even read itself."""
        try:
            return self._wire.call(
                "GET", "identity", f"{self._users()}/application_credentials/{segment(key)}",
                doing="reading the credential",
                pick=lambda answer: bool(answer.json()["application_credential"].get("unrestricted")),
            )  # fmt: skip
        except CloudPermanent:
            return False

    def make(self, instance: InstanceId, *, name: str, expires_at: datetime) -> ShelveKey:
        """Make it, once. The secret is ours, so that a lost answer costs nothing: the name finds the id."""
        secret = Secret(secrets.token_urlsafe(SECRET_BYTES))
        wish = {
            "name": name,
            "description": f"lets instance {instance} be shelved from inside; made by jetrun for one run",
            "secret": secret.reveal(),
            "expires_at": expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "unrestricted": False,
            "access_rules": rules_for(self._wire.endpoint("compute"), instance),
        }
        try:
            key = self._wire.call(
                "POST", "identity", f"{self._users()}/application_credentials", doing="making a credential for the instance",
                body={"application_credential": wish}, good=(201,),
                pick=lambda answer: str(answer.json()["application_credential"]["id"]),
            )  # fmt: skip
        except CloudAmbiguous:
            made = self._named(name)
            if made is None:
                raise
            key = made
        return self._key(key, secret, instance, name=name, expires_at=expires_at)

    def _named(self, name: str) -> str | None:
        """The id of this user's credential of that name, None without one."""
        rows: list[dict[str, Any]] = self._wire.call(
            "GET", "identity", f"{self._users()}/application_credentials", doing="looking for a credential",
            params=[("name", name)], pick=lambda answer: answer.json()["application_credentials"],
        )  # fmt: skip
        return next((str(row["id"]) for row in rows if row["name"] == name), None)

    def remove(self, instance: InstanceId, *, name: str) -> None:
        """Delete it, then its rules, which outlive it; a rule that another run's credential uses stays (403)."""
        key = self._named(name)
        if key is not None:
            self._delete(f"{self._users()}/application_credentials/{segment(key)}", "deleting a credential")
        paths = {rule["path"] for rule in rules_for(self._wire.endpoint("compute"), instance)}
        rows: list[dict[str, str]] = self._wire.call(
            "GET", "identity", f"{self._users()}/access_rules", doing="reading access rules",
            pick=lambda answer: answer.json()["access_rules"],
        )  # fmt: skip
        for row in rows:
            if row["path"] in paths:
                self._delete(f"{self._users()}/access_rules/{segment(row['id'])}", "deleting an access rule", (403,))

    def _delete(self, path: str, doing: str, also_good: tuple[int, ...] = ()) -> None:
        """Delete one thing; gone already is good."""
        self._wire.call("DELETE", "identity", path, doing=doing, good=(204, 404, *also_good), pick=nothing)


class OwnKey(_Keys):
    """The credential of an entry of clouds.yaml that the user made for this; satisfies ``cloud.interface.ShelveKeys``.

    Args:
        choice: that entry. login: the run's own, which may read when the other ends: that one, by its rules, may not.
    """

    makes = False

    def __init__(self, choice: CloudChoice, login: CloudChoice) -> None:
        super().__init__(choice)
        self._login = MintedKeys(login)

    def close(self) -> None:
        """Close connections. Never raises."""
        super().close()
        self._login.close()

    def check(self, instance: InstanceId | None, *, until_at: datetime) -> None:
        """It is an application credential, confined to actions of instances, and lasts."""
        if self._choice.auth_type != "applicationcredential":
            raise self._unfit("is no application credential")
        try:
            access = self._wire.access()
        except CloudPermanent as error:
            raise self._unfit(f"is refused: {error.what}") from error
        rules: Sequence[Rule] = access.application_credential_access_rules or ()
        if not rules:
            raise self._unfit("has no access rules: whoever gets into the instance would have the whole project")
        if any(rule["service"] != "compute" for rule in rules):
            raise self._unfit("has access rules for more than the compute service")
        needed = rules_for(self._wire.endpoint("compute"), instance or InstanceId("any"))
        covered = [any(_covers(rule, one) for rule in rules) for one in needed]
        if not any(covered[at] and covered[at + 1] for at in range(0, len(covered), 2)):
            listed = ", ".join(f"{one['method']} {one['path']}" for one in needed[-2:])
            raise self._unfit(f"lacks an access rule: {listed}")
        if access.project_id != self._login.project():
            raise self._unfit("is of another project than the run")
        ends_at = self._login.end_of(str(access.application_credential_id))
        if ends_at is not None and ends_at < until_at:
            raise self._unfit(f"ends at {ends_at:%Y-%m-%d %H:%MZ}, before {until_at:%Y-%m-%d %H:%MZ}")

    def _unfit(self, why: str) -> UsageError:
        """The error about the entry."""
        return UsageError(
            code="self-shelve-unfit",
            what=f"instance.self_shelve: the entry {self._choice.name} of clouds.yaml {why}",
            next="how to make one that fits: docs/decisions/0007-self-shelve.md",
        )

    def make(self, instance: InstanceId, *, name: str, expires_at: datetime) -> ShelveKey:
        """The one there is."""
        del name, expires_at
        auth = self._choice.region.config.get("auth") or {}
        secret = Secret(str(auth.get("application_credential_secret", "")))
        key = str(auth.get("application_credential_id") or self._wire.access().application_credential_id)
        return self._key(key, secret, instance, name=None, expires_at=None)

    def remove(self, instance: InstanceId, *, name: str) -> None:
        """It is the user's: it stays."""


def _covers(rule: Rule, wanted: Rule) -> bool:
    """Whether *rule* lets *wanted* through: ``*`` and ``{name}`` are one segment, ``**`` any number."""
    words = re.findall(r"\*\*|\*|\{[^}]*\}|[^*{}]+", rule["path"])
    meant = {"**": ".*", "*": "[^/]+"}
    pattern = "".join("[^/]+" if one.startswith("{") else meant.get(one, re.escape(one)) for one in words)
    return rule["method"] == wanted["method"] and re.fullmatch(pattern, wanted["path"]) is not None
