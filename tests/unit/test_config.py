"""The user's configuration and jetrun's home."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jetrun.config import config_path, home_of, load_config, open_home
from jetrun.errors import UsageError
from jetrun.job_file import load
from jetrun.notify.settings import Security

SMTP = """[smtp]
host = "smtp.uni.edu"
user = "me"
password = "from the file"
sender = "me@uni.edu"
"""


def env_of(folder: Path, text: str | None = None, **more: str) -> dict[str, str]:
    path = folder / "config.toml"
    if text is not None:
        path.write_text(text)
        path.chmod(0o600)
        more = {"JETRUN_CONFIG": str(path)} | more
    return {"HOME": str(folder), **more}


def refused(folder: Path, text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_config(env_of(folder, text))
    return caught.value


def test_without_a_file_everything_has_its_place(tmp_path):
    config = load_config(env_of(tmp_path))
    assert config.path == tmp_path / ".config/jetrun/config.toml"
    assert config.home == tmp_path / ".local/state/jetrun"
    assert config.mail is None
    assert config.defaults == {}
    assert not config.path.parent.exists()
    assert config.home.stat().st_mode & 0o777 == 0o700


def test_the_cloud_of_the_config_is_read(tmp_path):
    assert load_config(env_of(tmp_path, 'cloud = "js2"\n')).cloud == "js2"


def test_the_environment_says_where_things_are(tmp_path):
    env = {"XDG_CONFIG_HOME": str(tmp_path / "c"), "XDG_STATE_HOME": str(tmp_path / "s"), "HOME": "/nonexistent"}
    assert config_path(env) == tmp_path / "c/jetrun/config.toml"
    assert home_of(env) == tmp_path / "s/jetrun"
    assert home_of(env | {"JETRUN_HOME": str(tmp_path / "mine")}) == tmp_path / "mine"


def test_smtp_is_read_whole(tmp_path):
    text = SMTP + 'port = 465\nsecurity = "tls"\ntimeout = "10s"\nca_file = "campus.pem"\n'
    smtp = load_config(env_of(tmp_path, text)).mail
    assert smtp is not None
    assert (smtp.host, smtp.port, smtp.user, smtp.sender) == ("smtp.uni.edu", 465, "me", "me@uni.edu")
    assert (smtp.security, smtp.timeout_s, smtp.ca_file) == (Security.TLS, 10.0, str(tmp_path / "campus.pem"))
    assert smtp.password is not None
    assert smtp.password.reveal() == "from the file"
    assert "from the file" not in repr(smtp)


def test_the_password_of_the_environment_wins(tmp_path):
    smtp = load_config(env_of(tmp_path, SMTP, JETRUN_SMTP_PASSWORD="from the environment")).mail
    assert smtp is not None
    assert smtp.password is not None
    assert smtp.password.reveal() == "from the environment"


def test_the_sender_is_the_user_where_that_is_an_address(tmp_path):
    text = '[smtp]\nhost = "localhost"\nuser = "me@uni.edu"\npassword = "x"\n'
    smtp = load_config(env_of(tmp_path, text)).mail
    assert smtp is not None
    assert smtp.sender == "me@uni.edu"


def test_a_password_that_others_can_read_is_refused(tmp_path):
    env = env_of(tmp_path, SMTP)
    (tmp_path / "config.toml").chmod(0o644)
    with pytest.raises(UsageError) as caught:
        load_config(env)
    assert caught.value.code == "config-unsafe"
    assert "config.toml:4: smtp.password" in caught.value.what
    assert "from the file" not in caught.value.render()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[smpt]\n", "smpt: unknown key; did you mean smtp?"),
        ('[smtp]\nhst = "x"\n', "config.toml:2: smtp.hst: unknown key; did you mean smtp.host?"),
        ('[smtp]\nsender = "a@b.de"\n', "smtp.host: is needed"),
        ('[smtp]\nhost = "x"\nuser = "me"\n', "smtp.sender: is needed"),
        ('[smtp]\nhost = "x"\nsender = "a@b.de"\nport = "25"\n', 'smtp.port: found "25"'),
        ('[smtp]\nhost = "x"\nsender = "a@b.de"\nsecurity = "ssl"\n', "smtp.security: found"),
        ('[smtp]\nhost = "x"\nsender = "a@b.de"\ntimeout = 30\n', "smtp.timeout: found the number 30"),
        ('[defaults]\nscript = "x.sh"\n', "defaults.script: unknown key"),
        ("[defaults]\nlifetime = 3\n", "defaults.lifetime: unknown key"),
        ("defaults = 3\n", "defaults: found 3, expected a table"),
        ("x = \n", "config.toml:1: "),
    ],
)
def test_a_mistake_is_told_with_its_key(tmp_path, text, what):
    assert what in refused(tmp_path, text).what


def test_a_config_that_is_named_must_be_there(tmp_path):
    with pytest.raises(UsageError, match="there is no such file"):
        load_config({"JETRUN_CONFIG": str(tmp_path / "absent.toml"), "HOME": str(tmp_path)})


def test_defaults_are_the_lowest_layer_and_their_mistakes_have_a_line(tmp_path):
    (tmp_path / "a.sh").write_text("#!/bin/sh\n")
    text = 'defaults.timeout = "2h"\n[defaults.instance]\non = "vm"\n[defaults.ssh]\nuser = "exouser"\n'
    flags = {"script": "a.sh"}
    job = load(None, command_line=flags, defaults=load_config(env_of(tmp_path, text)).layer, folder=tmp_path)
    assert (job.timeout_s, job.ssh.user) == (7200, "exouser")
    wrong = load_config(env_of(tmp_path, text + "port = 0\n")).layer
    with pytest.raises(UsageError, match=r"config.toml:6: ssh.port: found 0"):
        load(None, command_line=flags, defaults=wrong, folder=tmp_path)


def test_home_is_made_for_this_user_alone(tmp_path):
    home = open_home(tmp_path / "deep" / "jetrun")
    assert home.stat().st_mode & 0o777 == 0o700


def test_an_open_home_is_closed_to_others(tmp_path):
    home = tmp_path / "jetrun"
    home.mkdir()
    home.chmod(0o755)
    assert open_home(home).stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_place_of_home_is_refused(tmp_path):
    (tmp_path / "jetrun").write_text("")
    with pytest.raises(UsageError) as caught:
        open_home(tmp_path / "jetrun")
    assert caught.value.next.startswith("export JETRUN_HOME=")


def test_a_home_of_somebody_else_is_refused(tmp_path):
    home = Path("/usr")
    if os.geteuid() == 0:
        home = tmp_path / "jetrun"
        home.mkdir()
        os.chown(home, 65534, 65534)
    with pytest.raises(UsageError, match="belongs to another user"):
        open_home(home)
