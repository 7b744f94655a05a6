"""A webhook on loopback that takes alarms, as a lab's chat would."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Channel(ThreadingHTTPServer):
    """Keeps what it was given; ``broken`` answers 500."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.taken: list[dict[str, Any]] = []
        self.broken = False

    @property
    def url(self) -> str:
        """As apprise reads it, with a secret in its path."""
        return f"json://127.0.0.1:{self.server_port}/hook/topsecret"


class Receiver(BaseHTTPRequestHandler):
    """One message."""

    server: Channel

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.broken:
            self.server.taken.append(json.loads(body))
        self.send_response(500 if self.server.broken else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def channel() -> Iterator[Channel]:
    """One that listens."""
    server = Channel()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
