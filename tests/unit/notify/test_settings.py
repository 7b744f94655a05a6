"""Settings that could only fail, prompt, or show a password to the network are refused at once."""

from __future__ import annotations

from typing import Any

import pytest

from jetrun.errors import Secret, UsageError
from jetrun.notify.settings import MailSettings, Security

SECRET = "hunter2-do-not-show"


def settings(**changes: Any) -> MailSettings:
    return MailSettings(**{"host": "smtp.example.edu", "sender": "me@example.edu", **changes})


@pytest.mark.parametrize(
    ("changes", "security", "port"),
    [
        ({}, Security.STARTTLS, 587),
        ({"port": 25}, Security.STARTTLS, 25),
        ({"port": 465}, Security.TLS, 465),
        ({"port": 465, "host": "127.0.0.1"}, Security.TLS, 465),
        ({"host": "127.0.0.1", "port": 2525}, Security.NONE, 2525),
        ({"host": "localhost"}, Security.NONE, 25),
        ({"host": "::1"}, Security.NONE, 25),
        ({"host": "localhost.example.edu"}, Security.STARTTLS, 587),
        ({"security": Security.NONE}, Security.NONE, 25),
        ({"security": Security.TLS}, Security.TLS, 465),
        ({"host": "127.0.0.1", "security": Security.STARTTLS}, Security.STARTTLS, 587),
    ],
)
def test_a_connection_is_plain_only_to_this_machine_or_where_it_was_said(
    changes: dict[str, Any], security: Security, port: int
) -> None:
    made = settings(**changes)
    assert (made.effective_security, made.effective_port) == (security, port)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"host": ""}, "smtp.host"),
        ({"host": "a b"}, "smtp.host"),
        ({"host": "a\nb"}, "smtp.host"),
        ({"port": 0}, "smtp.port"),
        ({"port": 70000}, "smtp.port"),
        ({"timeout_s": 0}, "smtp.timeout"),
        ({"timeout_s": float("inf")}, "smtp.timeout"),
        ({"timeout_s": float("nan")}, "smtp.timeout"),
        ({"sender": "me"}, "smtp.sender"),
        ({"sender": ""}, "smtp.sender"),
        ({"sender": "me@example.edu, you@example.edu"}, "smtp.sender"),
        ({"sender": "me@example.edu\r\nBcc: x@example.org"}, "smtp.sender"),
        ({"user": "jdoe"}, "smtp.user"),
        ({"user": "jdoe", "password": Secret("")}, "smtp.user"),
        ({"user": "jdoe", "password": Secret("pässword")}, "smtp.user"),
    ],
)
def test_a_setting_that_cannot_work_is_named(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UsageError) as refused:
        settings(**changes)
    assert refused.value.what.startswith(key)
    assert refused.value.next


@pytest.mark.invariant(9)
def test_a_password_is_never_sent_in_the_clear_to_another_machine() -> None:
    login = {"user": "jdoe", "password": Secret(SECRET)}
    with pytest.raises(UsageError, match=r"smtp\.security"):
        settings(**login, security=Security.NONE)
    assert settings(**login, host="127.0.0.1").effective_security is Security.NONE


@pytest.mark.invariant(9)
def test_settings_do_not_show_the_password() -> None:
    assert SECRET not in repr(settings(user="jdoe", password=Secret(SECRET)))


def test_a_sender_may_have_a_name() -> None:
    assert settings(sender="jetrun on js2 <me@example.edu>").sender.startswith("jetrun")
