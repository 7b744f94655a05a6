"""yagmail's traps stay closed."""

from __future__ import annotations

import builtins
import getpass
import logging
import ssl
import subprocess
import sys

import pytest

from jetrun.errors import Secret
from jetrun.notify.deadline import Deadline
from jetrun.notify.settings import MailSettings, Security
from jetrun.notify.wire import Wire


def wire(**changes: object) -> Wire:
    values: dict[str, object] = {"host": "smtp.example.edu", "sender": "me@example.edu", **changes}
    return Wire(MailSettings(**values), Deadline(5, now=lambda: 0.0))  # type: ignore[arg-type]


def test_a_missing_password_is_an_error_and_not_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> str:
        raise AssertionError("a person was asked")

    monkeypatch.setattr(getpass, "getpass", ask)
    monkeypatch.setattr(builtins, "input", ask)
    with pytest.raises(ValueError, match="without a password"):
        Wire.handle_password("jdoe", None)


def test_yagmail_has_no_way_to_write_to_stderr() -> None:
    wire()
    handlers = logging.getLogger("yagmail.log").handlers
    assert handlers
    assert all(isinstance(one, logging.NullHandler) for one in handlers)


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_certificate_and_host_name_are_verified(security: Security) -> None:
    context = wire(security=security)._context
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_starttls_is_demanded_with_that_context() -> None:
    made = wire(security=Security.STARTTLS)
    assert made.starttls == {"context": made._context}
    assert wire(security=Security.NONE).starttls is False
    assert wire(security=Security.TLS).starttls is False


def test_a_user_name_is_not_completed() -> None:
    assert wire(user="jdoe", password=Secret("x")).user == "jdoe"


def test_yagmail_is_imported_by_a_mail_only() -> None:
    """It costs 80 ms, which ``--help`` and a run without mail have no use for."""
    code = "import sys, jetrun.notify.mail, jetrun.notify.compose; sys.exit('yagmail' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
