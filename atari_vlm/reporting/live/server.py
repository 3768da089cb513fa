"""A server of one page and its JSON on this machine alone: for whoever knows its token, and for reading only.

Whatever is not a GET or HEAD with the token, from this machine's own name, gets 403 and nothing else. Through a forwarded port
the browser's ``Host`` names another port, so any port of ``127.0.0.1`` and ``localhost`` is good; a name that a stranger's DNS
points here is not. An ``Origin`` has to be that very host: a page of another server on this machine is a stranger too.
"""

from __future__ import annotations

import hmac
import re
import secrets
import socketserver
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from atari_vlm.errors import ConfigError
from atari_vlm.vlm.remote.forking import renew_after_fork

ADDRESS = "127.0.0.1"
_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.IGNORECASE)
_MOST_CONNECTIONS = 32
_PATIENCE_S = 10.0  # with a client that says nothing
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class Answer:
    """What is sent: a body, its type, and headers of its own."""

    def __init__(self, body: bytes, kind: str, headers: Mapping[str, str] | None = None):
        self.body, self.headers = body, {**_HEADERS, "Content-Type": kind, **(headers or {})}


Routes = Mapping[str, Callable[[], Answer]]


class PageServer(ThreadingHTTPServer):
    """Serves ``routes`` (path to what makes the answer) from threads of its own until :meth:`stop`.

    ``ConfigError`` for a port that is taken or may not be opened.
    """

    daemon_threads = True
    allow_reuse_port = False

    def __init__(self, port: int, routes: Routes):
        self.routes, self.token = routes, secrets.token_urlsafe(32)
        self._room = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"--serve {port}: the port cannot be opened ({error.strerror}); give another one, or 0 for a free one"
            ) from error
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.2}, name="live page", daemon=True
        )
        renew_after_fork(self)

    @property
    def address(self) -> str:
        """Where the page is, with the token."""
        return f"http://{ADDRESS}:{self.server_address[1]}/?token={self.token}"

    def server_bind(self) -> None:
        """Bind; no name of this machine is looked up, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and free the port."""
        self.shutdown()
        self.server_close()

    def after_fork(self) -> None:
        """A child of the program does not hold its port."""
        self.socket.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each connection, as long as there are not too many."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle one, and make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is nobody's trouble."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        """Answer."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self._answer(with_body=False)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse without a word: every other method, and what is no request."""
        self._send(403, Answer(b"", "text/plain; charset=utf-8"), with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the program's terminal is its own."""

    def version_string(self) -> str:
        """Nothing of versions."""
        return "atari_vlm"

    def _answer(self, with_body: bool) -> None:
        path = self._known_path()
        if path is None:
            self.send_error(403)
            return
        make = self.server.routes.get(path)
        if make is None:
            self._send(404, Answer(b"", "text/plain; charset=utf-8"), with_body)
            return
        self._send(200, make(), with_body)

    def _known_path(self) -> str | None:
        """The path that is asked for by somebody who may; else ``None``."""
        hosts, origins = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0].strip()):
            return None
        if any(
            origin.strip().lower() != f"http://{hosts[0].strip().lower()}" for origin in origins
        ):
            return None
        try:
            asked = urlsplit(self.path)
            tokens = parse_qs(asked.query, max_num_fields=8).get("token", [])
        except ValueError:
            return None
        right = self.server.token.encode()
        if len(tokens) != 1 or not hmac.compare_digest(tokens[0].encode("utf-8", "replace"), right):
            return None
        return asked.path

    def _send(self, code: int, answer: Answer, with_body: bool) -> None:
        self.send_response(code)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)
