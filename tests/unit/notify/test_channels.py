"""Channels besides mail: what their URLs may be, that they stay secret, and what is said when one does not take a message."""

from __future__ import annotations

import sys

import pytest

from jetrun.config import load_config
from jetrun.errors import MailError, UsageError
from jetrun.notify.channels import channel, push

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

URL = "json://127.0.0.1:9/hooks/topsecret/T0KEN?+X-Key=hidden42"


def test_its_name_says_the_kind_and_not_the_url():
    one = channel(URL, "here")
    assert one.name.startswith("json-")
    assert one.name == channel(URL, "there").name != channel(URL + "x", "there").name
    for shown in (repr(one), str(one), one.name):
        assert "topsecret" not in shown


@pytest.mark.parametrize("text", ["ntfy", "ntfy:/topic", "://x", "ntfy://", "ntfy://a b"])
def test_what_is_no_url_is_refused_with_its_place(text):
    with pytest.raises(UsageError) as caught:
        channel(text, "config.toml line 3")
    assert "config.toml line 3" in caught.value.what


def test_one_that_does_not_answer_says_so_without_its_secrets():
    with pytest.raises(MailError) as caught:
        push(channel(URL, "here"), title="t", body="b", urgent=True)
    assert caught.value.code == "channel-refused"
    assert not caught.value.permanent
    for word in ("topsecret", "T0KEN", "hidden42"):
        assert word not in caught.value.render()


def test_a_kind_that_apprise_does_not_know():
    with pytest.raises(MailError) as caught:
        push(channel("pigeon://loft/7", "here"), title="t", body="b", urgent=False)
    assert caught.value.code == "channel-unknown"


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(MailError) as caught:
        push(channel(URL, "here"), title="t", body="b", urgent=True)
    assert caught.value.next == "pip install 'jetrun[alarm]'"


def test_channels_of_the_file_and_the_environment_come_together_once(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[alarm]\nchannels = ["json://a/b"]\n')
    path.chmod(0o600)
    env = {"HOME": str(tmp_path), "JETRUN_CONFIG": str(path), "JETRUN_ALARM_URLS": "json://a/b ntfy://c"}
    assert [one.url.reveal() for one in load_config(env).channels] == ["json://a/b", "ntfy://c"]
    path.chmod(0o644)
    with pytest.raises(UsageError) as caught:
        load_config(env)
    assert "alarm.channels" in caught.value.what
    assert "JETRUN_ALARM_URLS" in caught.value.next
    assert len(load_config({"HOME": str(tmp_path), "JETRUN_ALARM_URLS": "ntfy://c"}).channels) == 1
