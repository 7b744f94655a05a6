"""Every failure of smtplib and yagmail has a meaning, by its class and code."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import smtplib
import socket
import ssl
from types import ModuleType

import pytest

from jetrun.errors import MailError, Secret
from jetrun.notify.deadline import Deadline
from jetrun.notify.settings import MailSettings
from jetrun.notify.verdicts import NETWORK_MEANINGS, SMTP_MEANINGS, YAGMAIL_MEANINGS, Meaning, mail_error

SECRET = "hunter2-do-not-show"
SETTINGS = MailSettings(
    host="smtp.example.edu", sender="me@example.edu", user="jdoe", password=Secret(SECRET), timeout_s=7
)


def judged(error: BaseException, *, over: bool = False) -> MailError:
    moments = iter([0.0, 100.0 if over else 1.0])
    return mail_error(error, SETTINGS, Deadline(7, now=lambda: next(moments)))


def exceptions_of(module: ModuleType) -> set[type[BaseException]]:
    return {
        found
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, BaseException) and found.__module__ == module.__name__
    }


def test_every_exception_of_smtplib_is_in_the_table() -> None:
    assert exceptions_of(smtplib) == set(SMTP_MEANINGS)


def test_every_exception_of_yagmail_is_in_the_table() -> None:
    package = importlib.import_module("yagmail")
    names = [one.name for one in pkgutil.walk_packages(package.__path__, "yagmail.") if "__main__" not in one.name]
    found = {kind.__name__ for name in names for kind in exceptions_of(importlib.import_module(name))}
    assert found == set(YAGMAIL_MEANINGS)


def test_the_tables_cover_what_a_socket_and_tls_can_raise() -> None:
    public = {getattr(socket, name) for name in ("error", "gaierror", "herror", "timeout")}
    kinds = {*exceptions_of(ssl), *public, ConnectionResetError, TimeoutError, UnicodeEncodeError}
    assert all(any(issubclass(kind, known) for known in NETWORK_MEANINGS) for kind in kinds)


@pytest.mark.parametrize("code", [421, 450, 451, 452, 454, -1])
def test_a_code_that_is_not_5yz_is_worth_another_attempt(code: int) -> None:
    for error in (
        smtplib.SMTPDataError(code, b"later"),
        smtplib.SMTPSenderRefused(code, b"later", "me@example.edu"),
        smtplib.SMTPConnectError(code, b"later"),
        smtplib.SMTPAuthenticationError(code, b"later"),
        smtplib.SMTPHeloError(code, b"later"),
        smtplib.SMTPResponseException(code, "later"),
    ):
        assert not judged(error).permanent


@pytest.mark.parametrize("code", [500, 530, 535, 550, 552, 554])
def test_a_code_of_5yz_is_final(code: int) -> None:
    for kind in (smtplib.SMTPDataError, smtplib.SMTPConnectError, smtplib.SMTPAuthenticationError):
        refused = judged(kind(code, b"no"))
        assert refused.permanent
        assert f"{code} no" in refused.what


def test_one_recipient_who_may_be_taken_later_makes_another_attempt_worth_while() -> None:
    final, later = (550, b"no such user"), (450, b"greylisted")
    assert judged(smtplib.SMTPRecipientsRefused({"a@example.edu": final})).permanent
    assert not judged(smtplib.SMTPRecipientsRefused({"a@example.edu": final, "b@example.edu": later})).permanent
    assert not judged(smtplib.SMTPRecipientsRefused({})).permanent


@pytest.mark.parametrize(
    ("error", "permanent", "code"),
    [
        (smtplib.SMTPServerDisconnected("x"), False, "mail-server-disconnected"),
        (smtplib.SMTPNotSupportedError("x"), True, "mail-not-supported"),
        (smtplib.SMTPException("No suitable authentication method found."), True, "mail-not-supported"),
        (ssl.SSLCertVerificationError(1, "x"), True, "mail-certificate-refused"),
        (ssl.SSLError(1, "x"), False, "mail-tls-failed"),
        (socket.gaierror(-2, "x"), False, "mail-server-not-found"),
        (ConnectionRefusedError(111, "x"), False, "mail-server-unreachable"),
        (TimeoutError("x"), False, "mail-timed-out"),
        (ValueError("x"), True, "mail-malformed"),
        (RuntimeError("x"), False, "mail-failed"),
    ],
)
def test_the_most_derived_class_decides(error: BaseException, *, permanent: bool, code: str) -> None:
    found = judged(error)
    assert (found.permanent, found.code) == (permanent, code)
    assert found.next


def test_whatever_fails_once_the_time_is_over_is_a_timeout() -> None:
    found = judged(smtplib.SMTPServerDisconnected("Connection unexpectedly closed: timed out"), over=True)
    assert found.code == "mail-timed-out"
    assert "within 7 s" in found.what
    assert not found.permanent


@pytest.mark.invariant(9)
@pytest.mark.parametrize(
    "error",
    [
        smtplib.SMTPAuthenticationError(535, f"bad password {SECRET}".encode()),
        smtplib.SMTPRecipientsRefused({"a@example.edu": (550, SECRET.encode())}),
        UnicodeEncodeError("ascii", SECRET, 0, 1, "x"),
        ValueError(SECRET),
        OSError(SECRET),
    ],
)
def test_no_error_shows_the_password(error: BaseException) -> None:
    assert SECRET not in judged(error).render()


def test_what_a_server_says_cannot_move_the_cursor_or_fill_the_screen() -> None:
    what = judged(smtplib.SMTPDataError(554, b"\x1b[2J\r\nerror: all is well\n" + b"x" * 5000)).what
    assert "\x1b" not in what
    assert "\n" not in what
    assert len(what) < 400


def test_meanings_by_code_are_only_given_to_errors_that_have_one() -> None:
    by_code = {kind for kind, (meaning, _) in SMTP_MEANINGS.items() if meaning is Meaning.BY_CODE}
    assert all(issubclass(kind, smtplib.SMTPResponseException) for kind in by_code)
