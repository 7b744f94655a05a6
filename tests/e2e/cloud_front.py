"""A front between the adapter and the embedded cloud: it counts what passes, and answers in the cloud's place where told to."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from jetrun.devcloud.client import Running

Answer = tuple[int, dict[str, str], bytes]
HOP_BY_HOP = {"connection", "content-length", "host", "transfer-encoding", "server", "accept-encoding"}


@dataclass
class Rule:
    """What to answer to requests that match; ``forwards``: from the cloud's own answer. A negative ``times``: always."""

    pattern: re.Pattern[str]
    answer: Callable[[Answer | None], Answer | None]
    forwards: bool = False
    times: int = -1


class Front:
    """The front of one embedded cloud.

    Attributes:
        seen: ``METHOD path?query`` of every request. headers: theirs, names in small letters.
        connections: TCP connections accepted.
    """

    def __init__(self, running: Running) -> None:
        self.running = running
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.sockets: list[socket.socket] = []
        self._rules: list[Rule] = []
        self.released = threading.Event()
        self.url = ""

    def instead(self, pattern: str, status: int, body: Any, *, times: int = -1, **headers: str) -> None:
        """Answer requests that match with this, so many of them; a body that is no bytes goes as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._rules.append(Rule(re.compile(pattern), lambda _: (status, headers, data), times=times))

    def change(self, pattern: str, change: Callable[[Any], Any]) -> None:
        """Change the JSON of the cloud's own answer."""

        def changed(answer: Answer | None) -> Answer:
            assert answer is not None
            return answer[0], answer[1], json.dumps(change(json.loads(answer[2]))).encode()

        self._rules.append(Rule(re.compile(pattern), changed, forwards=True))

    def never_answer(self, pattern: str) -> None:
        """Hold requests that match until the test is over."""

        def held(_: Answer | None) -> None:
            self.released.wait(60)

        self._rules.append(Rule(re.compile(pattern), held))

    def answer(self, line: str, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer | None:
        """What to answer; None: end the connection."""
        self.seen.append(line)
        self.headers.append({key.lower(): value for key, value in headers.items()})
        rule = next((one for one in self._rules if one.times and one.pattern.search(line)), None)
        if rule is None:
            return self._forward(method, path, headers, body)
        rule.times -= 1
        return rule.answer(self._forward(method, path, headers, body) if rule.forwards else None)

    def _forward(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        kept = {key: value for key, value in headers.items() if key.lower() not in HOP_BY_HOP}
        request = urllib.request.Request(self.running.url + path, data=body, headers=kept, method=method)  # noqa: S310
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
                status, out, data = answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, out, data = error.code, dict(error.headers), error.read()
        out = {key: value for key, value in out.items() if key.lower() not in HOP_BY_HOP}
        return status, out, data.replace(self.running.url.encode(), self.url.encode())


def _handler(front: Front) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body in one packet: Nagle and delayed acknowledgements would cost 40 ms each.
        wbufsize = -1

        def setup(self) -> None:
            front.connections += 1
            front.sockets.append(self.request)
            super().setup()

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            answer = front.answer(f"{self.command} {self.path}", self.command, self.path, dict(self.headers), body)
            if answer is None:
                self.close_connection = True
                return
            status, headers, data = answer
            self.send_response_only(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            return

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what some tests are about."""


@contextmanager
def fronted(running: Running, folder: Path, **changes: Any) -> Iterator[tuple[Front, Path]]:
    """A front, and a clouds.yaml whose entry ``fronted`` leads to it.

    Args:
        changes: to that entry, ``auth`` merged.
    """
    front = Front(running)
    with _Server(("127.0.0.1", 0), _handler(front)) as server:
        front.url = f"http://127.0.0.1:{server.server_port}"
        entry = yaml.safe_load(running.clouds.read_text())["clouds"]["devcloud"]
        entry["auth"]["auth_url"] = f"{front.url}/identity/v3"
        for key, value in changes.items():
            entry[key] = value(entry[key]) if callable(value) else value
        path = folder / "clouds.yaml"
        path.write_text(yaml.safe_dump({"clouds": {"fronted": entry}}))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield front, path
        finally:
            front.released.set()
            for one in front.sockets:
                with contextlib.suppress(OSError):  # closed already
                    one.shutdown(socket.SHUT_RDWR)
            server.shutdown()
            thread.join()
