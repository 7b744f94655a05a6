"""Where jetrun keeps its things, and the user's own defaults: the mail server, and keys of every job.

The command line wins over the job file, which wins over the user's defaults.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from jetrun.errors import Secret, UsageError

if TYPE_CHECKING:
    from jetrun.notify.settings import MailSettings

SMTP = {"host", "port", "user", "password", "sender", "security", "timeout", "ca_file"}
SECTIONS = {"smtp", "defaults", "cloud"}
"""Keys of the configuration file; docs/config.toml is tested against them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The user's configuration.

    Attributes:
        home: journal, keys, outbox, logs of runs; mode 0700. path: of the configuration file, there or not.
        mail: the mail server, None where none is configured. defaults: keys of every job, as a job file has them.
        cloud: the clouds.yaml entry to use where none is named.
    """

    home: Path
    path: Path
    mail: MailSettings | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    cloud: str | None = None


def home_of(environ: Mapping[str, str] | None = None) -> Path:
    """JETRUN_HOME, or the platform's state directory."""
    given = (os.environ if environ is None else environ).get("JETRUN_HOME")
    return Path(given).expanduser().resolve() if given else platformdirs.user_state_path("jetrun")


def load_config(environ: Mapping[str, str]) -> Config:
    """The user's configuration, and the home folder made.

    Raises:
        UsageError: the file cannot be read or has a key that does not exist; the home folder cannot be made.
    """
    home = home_of(environ)
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.chmod(0o700)
    except OSError as error:
        raise UsageError(
            code="home-unusable",
            what=f"{home} cannot be made or written: {error.strerror}",
            next="set JETRUN_HOME to a folder of yours",
        ) from error
    path = Path(environ.get("JETRUN_CONFIG") or platformdirs.user_config_path("jetrun") / "config.toml").expanduser()
    data = _read(path)
    _known(data, SECTIONS, path, "")
    smtp = data.get("smtp", {})
    _known(smtp, SMTP, path, "smtp.")
    return Config(
        home=home,
        path=path,
        mail=_mail(smtp, environ),
        defaults=data.get("defaults", {}),
        cloud=data.get("cloud") or None,
    )


def _read(path: Path) -> dict[str, Any]:
    """The file's tables, empty without a file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(code="config-unreadable", what=f"{path}: {error}", next=f"$EDITOR {path}") from error


def _known(data: Mapping[str, Any], keys: set[str], path: Path, prefix: str) -> None:
    """Refuse a key that does not exist."""
    for key in data:
        if key not in keys:
            names = ", ".join(sorted(keys))
            raise UsageError(
                code="config-wrong",
                what=f"{path}: {prefix}{key}: unknown key; there are: {names}",
                next=f"$EDITOR {path}",
            )


def _mail(smtp: Mapping[str, Any], environ: Mapping[str, str]) -> MailSettings | None:
    """The mail server."""
    if not smtp.get("host"):
        return None
    from jetrun.notify.settings import MailSettings, Security  # noqa: PLC0415 - only where mail is configured

    password = environ.get("JETRUN_SMTP_PASSWORD") or smtp.get("password")
    return MailSettings(
        host=str(smtp["host"]),
        port=smtp.get("port"),
        user=smtp.get("user"),
        password=Secret(password) if password else None,
        sender=str(smtp.get("sender") or smtp.get("user") or "jetrun@localhost"),
        security=Security(smtp["security"]) if smtp.get("security") else None,
        timeout_s=float(smtp.get("timeout", 30)),
        ca_file=smtp.get("ca_file"),
    )
