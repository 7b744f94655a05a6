"""A proxy between jetrun and an API: passes everything on, and for chosen requests ends the connection after the effect."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(kw_only=True)
class Front:
    """What it does.

    Attributes:
        loses: whether the reply to (method, path, body) is lost; asked once for each request, in order.
        lost: the status codes of the replies that were.
    """

    target: str
    loses: Callable[[str, str, object], bool]
    lost: list[int] = field(default_factory=list)
    url: str = ""


@contextmanager
def front(target: str, loses: Callable[[str, str, object], bool]) -> Iterator[Front]:
    """A proxy for the API at *target*; its address is in ``url``, with the same path."""
    made = Front(target=target, loses=loses)
    where = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def pass_on(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            upstream = http.client.HTTPConnection(where.hostname or "", where.port, timeout=90)
            headers = {key: value for key, value in self.headers.items() if key.lower() not in {"host", "connection"}}
            try:
                upstream.request(self.command, self.path, body, headers)
                answer = upstream.getresponse()
                data = answer.read()
                self.answer(answer, data, json.loads(body) if body else None)
            finally:
                upstream.close()

        def answer(self, answer: http.client.HTTPResponse, data: bytes, body: object) -> None:
            if made.loses(self.command, self.path, body):
                made.lost.append(answer.status)
                self.close_connection = True
                return
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in {"connection", "transfer-encoding", "content-length", "server", "date"}:
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on  # noqa: N815 - http.server's names

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, *_: object) -> None:
            """A client that hangs up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}{where.path}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
