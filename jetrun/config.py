"""The user's configuration and jetrun's home on this machine. The environment is passed in; nothing else is read from it.

``config.toml`` holds ``cloud`` (an entry of clouds.yaml), ``[smtp]`` (how mails go out), ``[alarm]`` (channels besides mail) and
``[defaults]`` (keys of a job file that every job starts from).
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetrun.errors import Secret, UsageError
from jetrun.job_fields import Origin, Table
from jetrun.job_file import Layer, absolute, read_toml
from jetrun.job_rules import SECTIONS

if TYPE_CHECKING:
    from jetrun.notify.channels import Channel
    from jetrun.notify.settings import MailSettings

NOT_DEFAULTS = ("name", "script", "command", "inputs", "outputs")
"""What makes a job that job; a default for it would hide a mistake."""

SCHEMA: Mapping[str, Mapping[str, str]] = {
    "": {"cloud": '"js2"', "smtp": "{ ... }", "alarm": "{ ... }", "defaults": "{ ... }"},
    "smtp": {
        "host": '"smtp.uni.edu"', "port": "587", "user": '"me"', "password": '"..."', "sender": '"me@uni.edu"',
        "security": '"starttls"', "timeout": '"30s"', "ca_file": '"/etc/ssl/campus.pem"',
    },
    "alarm": {"channels": '["ntfys://ntfy.uni.edu/a-secret-topic"]'},
    "defaults": {key: value for key, value in SECTIONS[""].items() if key not in NOT_DEFAULTS},
}  # fmt: skip
"""Every key of config.toml; below ``[defaults]`` those of a job file."""

PASSWORD = "JETRUN_SMTP_PASSWORD"  # noqa: S105 - the name of a variable

CHANNELS = "JETRUN_ALARM_URLS"
"""Channels besides those of the file, with blanks between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the user set.

    Attributes:
        path: of config.toml, which may not be there.
        home: of the journal, keys and outbox; there, and for this user alone.
        cloud: an entry of clouds.yaml, where neither the command line nor the environment names one.
        mail: None where no mail can be sent. channels: where alarms go besides.
        layer: the defaults of jobs, for ``job_file.load``.
    """

    path: Path
    home: Path
    cloud: str | None = None
    mail: MailSettings | None = None
    channels: tuple[Channel, ...] = ()
    layer: Layer = field(default_factory=lambda: Layer(data={}, where=lambda _: "config.toml"))

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The defaults of jobs, as they are written."""
        return self.layer.data

    @property
    def usual_recipients(self) -> tuple[str, ...]:
        """Whom jobs tell unless they say otherwise: ``defaults.email.to``."""
        email = self.defaults.get("email")
        to = email.get("to", ()) if isinstance(email, Mapping) else ()
        return (to,) if isinstance(to, str) else tuple(str(one) for one in to)


def load_config(env: Mapping[str, str]) -> Config:
    """The configuration that *env* leads to; without a file, an empty one.

    Effects:
        Makes the home, with mode 0700.

    Raises:
        UsageError: the file that ``JETRUN_CONFIG`` names is missing, or something is wrong; with file and line.
    """
    path = config_path(env)
    home = open_home(home_of(env))
    if not os.path.exists(path) and not env.get("JETRUN_CONFIG"):  # noqa: PTH110 - Path.exists raises where this says no
        return Config(path=path, home=home, channels=_channels((), env))
    data, where = read_toml(path, shown=str(path), next="unset JETRUN_CONFIG   # or name a file that is there")
    given = Table(data, "", schema=SCHEMA, origin=where)
    mail = _mail(given.section("smtp"), path, where, env.get(PASSWORD)) if "smtp" in given else None
    urls: tuple[str, ...] = ()
    if "alarm" in given:
        urls = given.section("alarm").texts("channels")
        _check_private(path, where("alarm.channels"), "alarm.channels", CHANNELS)
    return Config(
        path=path,
        home=home,
        cloud=given.text("cloud"),
        mail=mail,
        channels=_channels(urls, env, where("alarm.channels")),
        layer=_defaults(given, path, where),
    )


def config_path(env: Mapping[str, str]) -> Path:
    """Where config.toml is, or would be."""
    if named := env.get("JETRUN_CONFIG"):
        return Path(named).absolute()
    return _platform(env, "XDG_CONFIG_HOME", ".config", "user_config_path") / "config.toml"


def home_of(env: Mapping[str, str] | None = None) -> Path:
    """Where the journal, keys and outbox are, or would be; by the process's own environment if none is given."""
    env = os.environ if env is None else env
    if named := env.get("JETRUN_HOME"):
        return Path(named).absolute()
    return _platform(env, "XDG_STATE_HOME", ".local/state", "user_state_path")


def open_home(home: Path) -> Path:
    """*home*, made if it is not there, for this user alone.

    Effects:
        Creates the folder with mode 0700; takes other people's rights away from an existing one.

    Raises:
        UsageError: it cannot be made or written, or belongs to somebody else.
    """
    choose = "export JETRUN_HOME=/a/folder/of/your/own"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = home.stat()
        if found.st_uid != os.geteuid():
            raise UsageError(
                code="home-unsafe", what=f"{home} belongs to another user (uid {found.st_uid})", next=choose
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            home.chmod(0o700)
    except OSError as error:
        raise UsageError(code="home-unusable", what=f"{home} cannot be used: {error.strerror}", next=choose) from error
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise UsageError(code="home-unusable", what=f"{home} may not be written", next=choose)
    return home


def _platform(env: Mapping[str, str], variable: str, below_home: str, elsewhere: str) -> Path:
    """The platform's folder for jetrun; by *env* where it follows XDG, so that a test or a service can say it."""
    if named := env.get(variable):
        return Path(named).absolute() / "jetrun"
    if sys.platform == "linux" and env.get("HOME"):
        return Path(env["HOME"]).absolute() / below_home / "jetrun"
    import platformdirs  # noqa: PLC0415 - 20 ms that Linux does not need

    found: Path = getattr(platformdirs, elsewhere)("jetrun", appauthor=False)
    return found


def _defaults(given: Table, path: Path, where: Origin) -> Layer:
    """The defaults of jobs; their keys are looked at with the job's."""
    section = given.section("defaults")
    data: dict[str, Any] = dict(section.data)
    ssh = data.get("ssh")
    if isinstance(ssh, Mapping) and "keys" in ssh:
        data["ssh"] = {**ssh, "keys": absolute(ssh["keys"], path.parent)}
    return Layer(data=data, where=lambda key: where(f"defaults.{key}"))


def _mail(given: Table, path: Path, where: Origin, password: str | None) -> MailSettings:
    """How mails go out.

    Raises:
        UsageError: a key is wrong, or a password lies where others can read it.
    """
    from jetrun.notify.settings import MailSettings, Security  # noqa: PLC0415 - only where mail is set up

    host, user, sender = given.text("host"), given.text("user"), given.text("sender")
    if host is None:
        raise given.wrong("host", "is needed to send mail")
    if sender is None and (user is None or "@" not in user):
        raise given.wrong("sender", "is needed to send mail: the address that mails come from")
    written = given.text("password")
    if written is not None:
        _check_private(path, where("smtp.password"), "smtp.password", PASSWORD)
    secret = password or written
    security = given.choice("security", list(Security))
    ca_file = given.text("ca_file")
    return MailSettings(
        host=host,
        port=given.integer("port", 1, 65535),
        user=user,
        password=Secret(secret) if secret else None,
        sender=sender or user or "",
        security=Security(security) if security else None,
        timeout_s=given.duration("timeout") or 30.0,
        ca_file=str(absolute(ca_file, path.parent)) if ca_file else None,
    )


def _channels(urls: tuple[str, ...], env: Mapping[str, str], where: str = "") -> tuple[Channel, ...]:
    """The channels of the file and of the environment, each once.

    Raises:
        UsageError: one is no URL.
    """
    more = env.get(CHANNELS, "").split()
    if not urls and not more:
        return ()
    from jetrun.notify.channels import channel  # noqa: PLC0415 - only where there are any

    found = [channel(url, where) for url in urls] + [channel(url, CHANNELS) for url in more]
    return tuple({one.name: one for one in found}.values())


def _check_private(path: Path, line: str, key: str, variable: str) -> None:
    """Refuse a secret in a file that others can read.

    Raises:
        UsageError: they can.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UsageError(
            code="config-unsafe",
            what=f"{line}: {key}: the file can be read by others (mode {mode:04o})",
            next=f"chmod 600 '{path}'   # or export {variable} and remove the line",
        )
