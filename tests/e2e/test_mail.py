"""Mail over real SMTP on loopback: what is accepted, what is not, and that every attempt ends."""

from __future__ import annotations

import builtins
import getpass
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import smtp_servers as servers
from smtp_servers import PASSWORD, Mailbox, bare_server, certificate, real_server

from jetrun.errors import MailError, Secret
from jetrun.notify.mail import Accepted, MailSettings, Outgoing, Security, send
from jetrun.notify.outgoing import Attachment, InlineImage

TO = ["a@example.edu"]
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 3000


def settings(port: int, **changes: Any) -> MailSettings:
    return MailSettings(**{"host": "127.0.0.1", "port": port, "sender": "jetrun <me@example.edu>", **changes})


def outgoing(**changes: Any) -> Outgoing:
    return Outgoing(
        **{
            "subject": "train: succeeded; 温度 is proven down",
            "text": "PROVEN DOWN\n.a line that begins with a dot\n",
            "html": "<html><body><p>PROVEN DOWN</p></body></html>\n",
            "message_id": "<run.report@example.edu>",
            "created_at": datetime(2026, 11, 20, 14, 3, 28, tzinfo=UTC),
            **changes,
        }
    )


def with_file(folder: Path, data: bytes = PNG) -> Outgoing:
    path = folder / "loss.png"
    path.write_bytes(data)
    image = InlineImage(cid="picture-1@jetrun", path=str(path), name="results/loss.png")
    return outgoing(images=(image,), attachments=(Attachment(path=str(path), name="Größe 温度.csv"),))


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt would hold up a run at midnight for ever."""

    def ask(*_: object, **__: object) -> str:
        raise AssertionError("a person was asked")

    monkeypatch.setattr(builtins, "input", ask)
    monkeypatch.setattr(getpass, "getpass", ask)


def refused(port: int, message: Outgoing | None = None, **changes: Any) -> MailError:
    with pytest.raises(MailError) as caught:
        send(message or outgoing(), settings(port, **changes), TO)
    return caught.value


def test_a_mail_arrives_whole(tmp_path: Path) -> None:
    with real_server(Mailbox()) as box:
        accepted = send(with_file(tmp_path), settings(box.port), ["a@example.edu", "b@example.edu"])
    assert accepted == Accepted(message_id="<run.report@example.edu>", recipients=("a@example.edu", "b@example.edu"))
    assert box.recipients == ["a@example.edu", "b@example.edu"]
    mail = box.read()
    assert mail["Subject"] == "train: succeeded; 温度 is proven down"
    assert mail["Message-ID"] == "<run.report@example.edu>"
    text = mail.get_body(("plain",))
    assert text is not None
    assert text.get_content().splitlines() == ["PROVEN DOWN", ".a line that begins with a dot"]
    files = {part.get_filename(): part.get_payload(decode=True) for part in mail.walk() if part.get_filename()}
    assert files == {"loss.png": PNG, "Größe 温度.csv": PNG}


def test_a_mail_out_of_the_outbox_is_the_same_mail(tmp_path: Path) -> None:
    """It is sent again by another process, from JSON: what makes a repeat recognisable must not change."""
    kept = json.loads(json.dumps(with_file(tmp_path).to_dict()))
    with real_server(Mailbox()) as box:
        send(with_file(tmp_path), settings(box.port), TO)
        send(Outgoing.from_dict(kept), settings(box.port), TO)
    assert len(box.messages) == 2
    heads = [
        {
            line
            for line in raw.split(b"\r\n\r\n")[0].split(b"\r\n")
            if not line.strip().startswith((b"boundary", b"Content-Type"))
        }
        for raw in box.messages
    ]
    assert heads[0] == heads[1]


def test_a_relay_without_login_is_not_logged_in_to() -> None:
    with real_server(Mailbox()) as box:
        send(outgoing(), settings(box.port), TO)
    assert box.logins == []


def test_a_user_name_is_sent_as_it_is() -> None:
    """yagmail would make jdoe@gmail.com of it."""
    with real_server(Mailbox()) as box:
        send(outgoing(), settings(box.port, user="jdoe", password=Secret(PASSWORD)), TO)
    assert box.logins == ["jdoe"]
    assert len(box.messages) == 1


@pytest.mark.invariant(9)
def test_a_wrong_password_is_final_and_not_shown() -> None:
    with real_server(Mailbox()) as box:
        error = refused(box.port, user="jdoe", password=Secret("wrong and secret"))
    assert (error.code, error.permanent) == ("mail-login-refused", True)
    assert "wrong and secret" not in error.render()
    assert "535" in error.what
    assert box.messages == []


def test_a_recipient_who_is_refused_does_not_keep_the_others_from_being_told() -> None:
    with real_server(Mailbox(refused={"b@example.edu": "550 no such user", "c@example.edu": "450 later"})) as box:
        accepted = send(outgoing(), settings(box.port), ["a@example.edu", "b@example.edu", "c@example.edu"])
    assert accepted.recipients == ("a@example.edu",)
    assert [(one.address, one.code, one.permanent) for one in accepted.refused] == [
        ("b@example.edu", 550, True),
        ("c@example.edu", 450, False),
    ]


@pytest.mark.parametrize(
    ("reply", "permanent"), [("550 no such user", True), ("450 greylisted", False), ("421 busy", False)]
)
def test_nobody_taken_is_an_error_by_the_servers_code(reply: str, *, permanent: bool) -> None:
    with real_server(Mailbox(refused={TO[0]: reply})) as box:
        error = refused(box.port)
    assert (error.code, error.permanent) == ("mail-recipients-refused", permanent)
    assert reply in error.what


@pytest.mark.parametrize(
    ("reply", "permanent"), [("554 spam", True), ("451 later", False), ("421 4.3.2 closing", False)]
)
def test_a_refused_message_is_an_error_by_the_servers_code(reply: str, *, permanent: bool) -> None:
    with real_server(Mailbox(data_replies=[reply])) as box:
        error = refused(box.port)
    assert (error.code, error.permanent) == ("mail-refused", permanent)


def test_a_refused_sender_is_told_what_to_check() -> None:
    with real_server(Mailbox(mail_reply="553 not your address")) as box:
        error = refused(box.port)
    assert (error.code, error.permanent) == ("mail-sender-refused", True)
    assert "smtp.sender" in error.next


def test_a_mail_over_the_announced_size_goes_without_its_files(tmp_path: Path) -> None:
    """A campus relay that takes 20 kB must not keep the verdict from a person."""
    with real_server(Mailbox(), data_size_limit=20_000) as box:
        accepted = send(with_file(tmp_path, PNG * 20), settings(box.port), TO)
    assert accepted.without_files
    mail = box.read()
    assert not [part for part in mail.walk() if part.get_filename()]
    text = mail.get_body(("plain",))
    assert text is not None
    assert f"(the mail server takes 20.0 kB at most): {tmp_path}/loss.png" in text.get_content()


def test_a_mail_refused_for_its_size_is_sent_again_without_its_files(tmp_path: Path) -> None:
    with real_server(Mailbox(data_replies=["552 too large", ""])) as box:
        accepted = send(with_file(tmp_path), settings(box.port), TO)
    assert accepted.without_files
    assert len(box.messages) == 1


def test_a_mail_without_files_that_is_too_large_is_refused_for_good() -> None:
    with real_server(Mailbox(data_replies=["552 too large", ""])) as box:
        assert refused(box.port).permanent
    assert box.messages == []


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_a_trusted_certificate_is_accepted_and_the_session_is_encrypted(tmp_path: Path, security: Security) -> None:
    context, public = certificate(tmp_path)
    way = {"starttls": context} if security is Security.STARTTLS else {"tls": context}
    with real_server(Mailbox(), **way) as box:
        send(outgoing(), settings(box.port, security=security, ca_file=public), TO)
    assert len(box.messages) == 1
    assert box.was_tls or security is Security.TLS


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
@pytest.mark.parametrize("flaw", ["self-signed", "another name"])
def test_a_certificate_that_proves_nothing_is_refused(tmp_path: Path, security: Security, flaw: str) -> None:
    context, public = certificate(tmp_path, name="127.0.0.1" if flaw == "self-signed" else "mail.example.edu")
    way = {"starttls": context} if security is Security.STARTTLS else {"tls": context}
    with real_server(Mailbox(), **way) as box:
        login = {"user": "jdoe", "password": Secret(PASSWORD)}
        error = refused(box.port, security=security, ca_file=None if flaw == "self-signed" else public, **login)
    assert (error.code, error.permanent) == ("mail-certificate-refused", True)
    assert box.messages == []
    assert box.logins == []


@pytest.mark.invariant(9)
def test_a_server_without_starttls_gets_neither_mail_nor_password() -> None:
    """Somebody on the way may have taken the offer out of the server's answer."""
    with real_server(Mailbox()) as box:
        error = refused(box.port, security=Security.STARTTLS, user="jdoe", password=Secret(PASSWORD))
    assert (error.code, error.permanent) == ("mail-not-supported", True)
    assert box.messages == []
    assert box.logins == []


@pytest.mark.parametrize(
    "act",
    [
        servers.say_nothing,
        servers.hang_after_greeting,
        servers.trickle,
        servers.trickle_lines,
        servers.hang_in_handshake,
        servers.hang_after_data,
    ],
)
def test_a_server_that_hangs_or_trickles_is_left_by_the_deadline(act: Callable[..., None]) -> None:
    security = Security.STARTTLS if act is servers.hang_in_handshake else None
    with bare_server(act) as port:
        began = time.monotonic()
        error = refused(port, timeout_s=0.4, security=security)
        took_s = time.monotonic() - began
    assert (error.code, error.permanent) == ("mail-timed-out", False)
    assert 0.3 < took_s < 2


def test_a_tls_handshake_that_never_answers_is_left_by_the_deadline() -> None:
    with bare_server(servers.say_nothing) as port:
        began = time.monotonic()
        error = refused(port, timeout_s=0.4, security=Security.TLS)
        assert time.monotonic() - began < 2
    assert (error.code, error.permanent) == ("mail-timed-out", False)


def test_the_deadline_is_for_the_whole_attempt_and_not_for_each_step() -> None:
    with bare_server(servers.dawdle_then_hang_in_handshake) as port:
        began = time.monotonic()
        error = refused(port, timeout_s=1.0, security=Security.STARTTLS)
        assert time.monotonic() - began < 1.4
    assert (error.code, error.permanent) == ("mail-timed-out", False)


def test_a_server_that_stops_reading_is_left_by_the_deadline(tmp_path: Path) -> None:
    with bare_server(servers.never_read_data) as port:
        began = time.monotonic()
        error = refused(port, with_file(tmp_path, PNG * 700), timeout_s=1.0)
        assert time.monotonic() - began < 3
    assert (error.code, error.permanent) == ("mail-timed-out", False)


def test_a_server_that_floods_is_left_long_before_the_deadline() -> None:
    with bare_server(servers.flood) as port:
        began = time.monotonic()
        error = refused(port, timeout_s=60)
        assert time.monotonic() - began < 10
    assert not error.permanent


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (servers.hang_up_at_once, "mail-server-disconnected"),
        (servers.hang_up_in_data, "mail-server-disconnected"),
        (servers.refuse_connection, "mail-server-busy"),
        (servers.talk_nonsense, "mail-server-busy"),
    ],
)
def test_a_server_that_breaks_off_is_tried_again_later(act: Callable[..., None], code: str, tmp_path: Path) -> None:
    with bare_server(act) as port:
        error = refused(port, with_file(tmp_path, PNG * 300), timeout_s=10)
    assert (error.code, error.permanent) == (code, False)


def test_a_mail_that_was_accepted_stays_accepted_whatever_comes_after() -> None:
    with bare_server(servers.hang_at_quit) as port:
        began = time.monotonic()
        assert send(outgoing(), settings(port, timeout_s=30), TO).recipients == tuple(TO)
        assert time.monotonic() - began < 8


def test_a_mail_is_handed_over_once_only() -> None:
    """yagmail's own send repeats after a lost answer, in the same breath; that is the outbox's to decide."""
    connections = []

    def count(peer: socket.socket, over: threading.Event) -> None:
        connections.append(peer)
        servers.hang_up_in_data(peer, over)

    with bare_server(count) as port:
        refused(port, timeout_s=5)
    assert len(connections) == 1


def test_a_server_that_is_not_there_is_tried_again_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = refused(port)
    assert (error.code, error.permanent) == ("mail-server-unreachable", False)
    assert f"127.0.0.1:{port}" in error.what


@pytest.mark.parametrize("address", ["nobody", "", "a@example.edu\r\nRCPT TO:<b@example.edu>", "a b@example.edu"])
def test_an_address_that_is_none_never_reaches_the_server(address: str) -> None:
    with real_server(Mailbox()) as box, pytest.raises(MailError) as caught:
        send(outgoing(), settings(box.port), [address])
    assert caught.value.permanent
    assert box.messages == []


def test_an_address_outside_ascii_needs_a_server_that_takes_it() -> None:
    with real_server(Mailbox(), enable_SMTPUTF8=True) as box:
        assert send(outgoing(), settings(box.port), ["größe@example.edu"]).recipients == ("größe@example.edu",)
    with real_server(Mailbox()) as box, pytest.raises(MailError) as caught:
        send(outgoing(), settings(box.port), ["größe@example.edu"])
    assert caught.value.code == "mail-not-supported"


def test_nothing_is_written_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with bare_server(servers.hang_up_in_data) as port:
        refused(port, timeout_s=5)
    with real_server(Mailbox()) as box:
        send(outgoing(), settings(box.port, user="jdoe", password=Secret(PASSWORD)), TO)
    assert capfd.readouterr() == ("", "")
