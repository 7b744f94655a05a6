"""SMTP servers on loopback for the mail tests: a real one, and bare sockets that misbehave in ways a library will not."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = "correct horse"


@dataclass
class Mailbox:
    """What a server got, and how it is to answer: to RCPT by address, to MAIL and DATA with a reply."""

    messages: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    mail_reply: str = ""
    data_replies: list[str] = field(default_factory=list)
    was_tls: bool = False
    port: int = 0

    def read(self) -> EmailMessage:
        """The only message, as a mail program reads it."""
        (raw,) = self.messages
        mail = message_from_bytes(raw, policy=default)
        assert isinstance(mail, EmailMessage)
        return mail

    async def handle_MAIL(self, _: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802
        if self.mail_reply:
            return self.mail_reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        self.was_tls = session.ssl is not None
        return "250 OK"

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]) -> str:  # noqa: N802
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.data_replies and (reply := self.data_replies.pop(0)):
            return reply
        assert isinstance(envelope.content, bytes)
        self.messages.append(envelope.content)
        self.recipients.extend(envelope.rcpt_tos)
        return "250 OK"

    def login(self, _: SMTP, __: Session, ___: Envelope, ____: str, data: object) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append(data.login.decode())
        return AuthResult(success=data.password.decode() == PASSWORD, handled=False)


@contextmanager
def real_server(
    mailbox: Mailbox, *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, **options: Any
) -> Iterator[Mailbox]:
    """An aiosmtpd server in a thread of its own; its port is in the mailbox."""
    loop = asyncio.new_event_loop()
    sessions: list[SMTP] = []

    def factory() -> SMTP:
        settings = {"authenticator": mailbox.login, "auth_require_tls": False, "tls_context": starttls, **options}
        session = SMTP(mailbox, hostname="test", loop=loop, **settings)
        sessions.append(session)
        return session

    server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0, ssl=tls))
    mailbox.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield mailbox
    finally:
        asyncio.run_coroutine_threadsafe(_close(server, sessions), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _close(server: asyncio.Server, sessions: list[SMTP]) -> None:
    """End what is open, then let every task see its end."""
    server.close()
    for session in sessions:
        # Python 3.11.2 cannot abort a TLS session that has ended.
        if isinstance(session.transport, asyncio.WriteTransport) and not session.transport.is_closing():
            session.transport.abort()
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


@contextmanager
def bare_server(act: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """A socket on loopback that does *act* with its one connection; the event says that the test is over."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10)

    def serve() -> None:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        with peer:
            peer.settimeout(10)
            try:
                act(peer, over)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        listener.close()
        thread.join(15)


def say_nothing(_: socket.socket, over: threading.Event) -> None:
    """Accept, and be silent for ever."""
    over.wait(20)


def hang_after_greeting(peer: socket.socket, over: threading.Event) -> None:
    """Greet, and be silent for ever."""
    peer.sendall(b"220 test\r\n")
    over.wait(20)


def trickle(peer: socket.socket, over: threading.Event) -> None:
    """A byte of a greeting every now and then: each within any timeout for a single read."""
    peer.sendall(b"220-")
    while not over.wait(0.02):
        peer.sendall(b"x")


def trickle_lines(peer: socket.socket, over: threading.Event) -> None:
    """Lines of one greeting without end, slowly."""
    while not over.wait(0.02):
        peer.sendall(b"220-x\r\n")


def flood(peer: socket.socket, over: threading.Event) -> None:
    """Lines of one greeting without end, as fast as they go."""
    while not over.is_set():
        peer.sendall(b"220-" + b"x" * 500 + b"\r\n")


def talk_nonsense(peer: socket.socket, over: threading.Event) -> None:
    """Not SMTP."""
    peer.sendall(b"\x00\xff\x16\x03 HTTP/1.1 400 Bad Request\r\n\r\n")
    over.wait(20)


def hang_up_at_once(peer: socket.socket, _: threading.Event) -> None:
    """Accept, and close."""
    del peer


def never_read_data(peer: socket.socket, over: threading.Event) -> None:
    """Take the envelope, then stop reading, so that the sender's buffers fill."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    _envelope(peer)
    over.wait(20)


def hang_up_in_data(peer: socket.socket, _: threading.Event) -> None:
    """Take the envelope, and close in the middle of the message."""
    _envelope(peer)
    peer.recv(100)


def hang_after_data(peer: socket.socket, over: threading.Event) -> None:
    """Take the whole message, and never say whether it was accepted."""
    _envelope(peer)
    got = b""
    while not got.endswith(b"\r\n.\r\n"):
        got += peer.recv(65536)
    over.wait(20)


def hang_at_quit(peer: socket.socket, over: threading.Event) -> None:
    """Accept the message, and be silent from then on."""
    _envelope(peer)
    got = b""
    while not got.endswith(b"\r\n.\r\n"):
        got += peer.recv(65536)
    peer.sendall(b"250 OK\r\n")
    over.wait(20)


def hang_in_handshake(peer: socket.socket, over: threading.Event) -> None:
    """Agree to TLS, and never shake hands."""
    peer.sendall(b"220 test\r\n")
    peer.recv(1000)
    peer.sendall(b"250-test\r\n250 STARTTLS\r\n")
    peer.recv(1000)
    peer.sendall(b"220 go\r\n")
    over.wait(20)


def dawdle_then_hang_in_handshake(peer: socket.socket, over: threading.Event) -> None:
    """Agree to TLS after most of a second, and never shake hands."""
    peer.sendall(b"220 test\r\n")
    peer.recv(1000)
    peer.sendall(b"250-test\r\n250 STARTTLS\r\n")
    peer.recv(1000)
    over.wait(0.7)
    peer.sendall(b"220 go\r\n")
    over.wait(20)


def refuse_connection(peer: socket.socket, over: threading.Event) -> None:
    """Too busy to talk."""
    peer.sendall(b"421 4.3.2 try again later\r\n")
    over.wait(20)


def _envelope(peer: socket.socket) -> None:
    """Everything up to the message itself."""
    peer.sendall(b"220 test\r\n")
    while line := peer.recv(1000):
        if line.upper().startswith(b"DATA"):
            peer.sendall(b"354 go\r\n")
            return
        peer.sendall(b"250 OK\r\n")


def certificate(folder: Path, *, name: str = "127.0.0.1") -> tuple[ssl.SSLContext, str]:
    """A server context with a fresh self-signed certificate for *name*, and the certificate's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    hour = dt.timedelta(hours=1)
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now - hour, now + hour)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "cert.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return context, str(public)
