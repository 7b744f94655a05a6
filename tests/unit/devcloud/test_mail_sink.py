"""The mail sink, spoken to by the standard library's client on loopback: what it keeps, whom it lets in, how it fails."""

from __future__ import annotations

import asyncio
import datetime as dt
import smtplib
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jetrun.devcloud import mail_sink
from jetrun.devcloud.faults import FaultBook
from jetrun.devcloud.mail_sink import Access

MESSAGE = "From: a@x\r\nTo: b@x\r\nSubject: s\r\n\r\nbody\r\n.dotted\r\n"


class Sink:
    """A sink that lives as long as a client's talk with it."""

    def __init__(self, folder):
        self.folder = folder
        self.faults = FaultBook()

    def talk(self, client, *, access=None):
        """Runs *client* with the port, in a thread: the standard library's client blocks."""

        async def whole():
            server, port = await mail_sink.serve(self.folder, self.faults, access=access)
            try:
                return await asyncio.to_thread(client, port)
            finally:
                server.close()
                await server.wait_closed()
                others = asyncio.all_tasks() - {asyncio.current_task()}
                for task in others:
                    task.cancel()
                await asyncio.gather(*others, return_exceptions=True)

        return asyncio.run(whole())

    @property
    def names(self):
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


@pytest.fixture
def sink(tmp_path):
    return Sink(tmp_path / "mail")


def send(port, *, to=("b@x",), login=None, prepare=None, within_s=5, text=MESSAGE):
    with smtplib.SMTP("127.0.0.1", port, timeout=within_s) as smtp:
        if prepare is not None:
            prepare(smtp)
        if login is not None:
            smtp.login(*login)
        return smtp.sendmail("a@x", list(to), text)


def test_message_is_kept_as_it_came_with_those_it_is_for(sink):
    sink.talk(lambda port: send(port, to=["b@x", "c@x"]))
    assert sink.names == ["0001.eml"]
    assert (sink.folder / "0001.eml").read_bytes() == b"X-Envelope-To: b@x, c@x\r\n" + MESSAGE.encode()


def test_numbers_go_on_where_an_earlier_sink_ended(sink):
    sink.talk(send)
    sink.talk(lambda port: [send(port), send(port)])
    assert sink.names == ["0001.eml", "0002.eml", "0003.eml"]


def test_any_login_is_right_but_the_wrong_one(sink):
    sink.talk(lambda port: send(port, login=("me", "anything")))
    with pytest.raises(smtplib.SMTPAuthenticationError):
        sink.talk(lambda port: send(port, login=("me", "wrong")))
    assert sink.names == ["0001.eml"]


@pytest.mark.parametrize("login", [("me", "bad"), ("you", "good"), ("me", "")])
def test_configured_login_is_the_only_right_one(sink, login):
    access = Access(user="me", password="good")
    with pytest.raises(smtplib.SMTPAuthenticationError):
        sink.talk(lambda port: send(port, login=login), access=access)
    sink.talk(lambda port: send(port, login=("me", "good")), access=access)
    sink.talk(send, access=access)
    assert len(sink.names) == 2


def test_refused_message_is_not_kept_and_the_next_one_is(sink):
    sink.faults.add("mail-refused")
    with pytest.raises(smtplib.SMTPDataError) as caught:
        sink.talk(send)
    assert caught.value.smtp_code == 550
    sink.talk(send)
    assert sink.names == ["0001.eml"]


def test_connection_ends_while_the_message_is_on_its_way(sink):
    sink.faults.add("mail-disconnects")
    long = MESSAGE + "x" * 78 + "\r\n" + ("y" * 78 + "\r\n") * 50_000
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
        sink.talk(lambda port: send(port, text=long))
    assert sink.names == []
    sink.talk(send)
    assert sink.names == ["0001.eml"]


def test_hanging_server_outlasts_its_client(sink):
    sink.faults.add("mail-hangs", seconds=0)
    with pytest.raises((TimeoutError, smtplib.SMTPServerDisconnected)):
        sink.talk(lambda port: send(port, within_s=0.2))
    assert sink.names == []


def test_fault_of_another_call_is_not_the_mails(sink):
    sink.faults.add("mail-refused", on="smtp.other")
    sink.talk(send)
    assert sink.names == ["0001.eml"]


def test_starttls_and_tls_with_a_given_certificate(sink, certificate):
    served, trusted = certificate
    sink.talk(
        lambda port: send(port, prepare=lambda smtp: smtp.starttls(context=trusted)), access=Access(certificate=served)
    )

    def implicit(port):
        with smtplib.SMTP_SSL("127.0.0.1", port, timeout=5, context=trusted) as smtp:
            smtp.sendmail("a@x", ["b@x"], MESSAGE)

    sink.talk(implicit, access=Access(certificate=served, is_implicit=True))
    assert sink.names == ["0001.eml", "0002.eml"]


@pytest.fixture
def certificate(tmp_path):
    """A server's context, and a client's that trusts it."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "sink.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(path)
    return served, ssl.create_default_context(cafile=str(path))
