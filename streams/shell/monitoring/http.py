"""HTTP server of a worker: `/metrics`, `/healthz`, `/readyz`, and erasure requests.

It must answer while the event loop is stuck, so it has threads of its own. `/healthz` fails when this process makes no
progress (the remedy is a restart), `/readyz` while it takes no part (the remedy is patience). Neither depends on the
broker.
"""

from __future__ import annotations

import hmac
import http.server
import json
import logging
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from streams.errors import UserError
from streams.shell.monitoring.health import Health

log = logging.getLogger(__name__)

REQUEST_TIMEOUT: Final = 5.0
"""Seconds for which a client may keep a connection waiting."""
CONNECTIONS: Final = 16
"""Most connections served at once; others are closed unanswered. A scrape, two probes and a person need four."""

Exposition = Callable[[str], tuple[bytes, str]]
"""Renders the metrics for an `Accept` header, with their content type (`Metrics.exposition`)."""

ERASABLE: Final = re.compile(r"/v1/(customers|anonymous)/([^/]+)")
"""Paths of persons who can be erased: a customer id or an anonymous id, percent-encoded."""


class ErasureEndpoint(NamedTuple):
    """Token of clients that may request erasures over HTTP, and the function that requests one."""

    token: str
    ask: Callable[[str, bool], str]
    """Requests the erasure of a customer id (True) or an anonymous id (False), and returns the id of the request once
    the broker has it. Called in a thread of the server. Raises `UserError` for an id that no profile can have, and any
    other exception if the request failed."""


class HttpServer:
    """HTTP server in daemon threads, from `start` to `stop`. Port 0 takes a free port; `port` is the one taken."""

    def __init__(
        self, host: str, port: int, health: Health, exposition: Exposition, erasing: ErasureEndpoint | None = None
    ) -> None:
        try:
            self._server = _Server(host, port, health, exposition, erasing)
        except OSError as error:
            raise UserError(
                f"Cannot listen on {host}:{port} for HTTP ({error.strerror or error}): "
                "set LIFECYCLE_WEB_HOST to an address of this machine and LIFECYCLE_WEB_PORT to a free port, or to 0."
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    @property
    def port(self) -> int:
        """Port that is bound."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """`http://host:port`."""
        host = str(self._server.server_address[0])
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def start(self) -> None:
        """Start to serve. Called once."""
        self._thread.start()

    def stop(self) -> None:
        """Release the port. Does not wait for requests under way."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, host: str, port: int, health: Health, exposition: Exposition, erasing: ErasureEndpoint | None
    ) -> None:
        self.health = health
        self.exposition = exposition
        self.erasing = erasing
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # the base class looks up the host's name, which can take seconds

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that hangs up is not logged
            log.exception("An HTTP request failed.")


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    server_version = "lifecycle"
    sys_version = ""
    timeout = REQUEST_TIMEOUT

    def do_GET(self) -> None:
        match urlsplit(self.path).path:
            case "/metrics":
                self._metrics()
            case "/healthz":
                stuck = self.server.health.stuck()
                if stuck:
                    seconds = {what: round(since, 1) for what, since in stuck.items()}
                    self._json(
                        HTTPStatus.SERVICE_UNAVAILABLE, {"status": "stuck", "seconds_without_a_heartbeat": seconds}
                    )
                else:
                    self._json(HTTPStatus.OK, {"status": "ok"})
            case "/readyz":
                reasons = self.server.health.reasons()
                if reasons:
                    answer = {"status": "not ready", "reasons": reasons, **self.server.health.details()}
                    self._json(HTTPStatus.SERVICE_UNAVAILABLE, answer)
                else:
                    self._json(HTTPStatus.OK, {"status": "ready"})
            case "/":
                self._answer(HTTPStatus.OK, "text/html; charset=utf-8", INDEX)
            case _:
                self._json(HTTPStatus.NOT_FOUND, {"status": "not found"})

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        person = ERASABLE.fullmatch(urlsplit(self.path).path)
        erasing = self.server.erasing
        if person is None:
            self._not_allowed()
        elif erasing is None:
            self._json(HTTPStatus.NOT_FOUND, {"status": "not found"})
        elif not self._has_token(erasing.token):
            self._json(HTTPStatus.UNAUTHORIZED, {"status": "unauthorized"}, **{"WWW-Authenticate": "Bearer"})
        else:
            self._erase(erasing, person[2], identified=person[1] == "customers")

    def _has_token(self, token: str) -> bool:
        sent = self.headers.get("Authorization", "").encode("latin-1", errors="replace")  # the raw bytes
        return hmac.compare_digest(sent, f"Bearer {token}".encode())

    def _erase(self, erasing: ErasureEndpoint, quoted: str, identified: bool) -> None:
        try:
            request_id = erasing.ask(unquote(quoted, errors="strict"), identified)
        except UnicodeDecodeError:
            self._json(HTTPStatus.BAD_REQUEST, {"status": "this id is not UTF-8, percent-encoded"})
        except UserError as error:
            self._json(HTTPStatus.BAD_REQUEST, {"status": str(error)})
        except Exception as error:  # only its type is logged: its text may contain the id
            log.warning("An erasure request failed (%s).", type(error).__name__)
            status = "the broker has not accepted the request on every partition: repeat the request"
            self._json(HTTPStatus.SERVICE_UNAVAILABLE, {"status": status})
        else:
            self._json(HTTPStatus.ACCEPTED, {"status": "accepted", "request_id": request_id})

    def _metrics(self) -> None:
        try:
            body, content_type = self.server.exposition(self.headers.get("Accept", ""))
        except Exception:
            log.exception("The metrics could not be rendered.")
            self._json(HTTPStatus.INTERNAL_SERVER_ERROR, {"status": "the metrics could not be rendered: see the log"})
        else:
            self._answer(HTTPStatus.OK, content_type, body)

    def _not_allowed(self) -> None:
        self._json(HTTPStatus.METHOD_NOT_ALLOWED, {"status": "method not allowed"}, Allow="GET, HEAD")

    do_POST = do_PUT = do_PATCH = do_OPTIONS = _not_allowed

    def _json(self, status: HTTPStatus, body: dict[str, Any], **headers: str) -> None:
        self._answer(status, "application/json", json.dumps(body).encode() + b"\n", **headers)

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log no requests: probes are noise, and a query string may contain anything."""


INDEX: Final = b"""<!doctype html>
<html lang="en"><title>Lifecycle Streams worker</title>
<h1>Lifecycle Streams worker</h1>
<ul>
<li><a href="/metrics">/metrics</a> for Prometheus
<li><a href="/healthz">/healthz</a> 503 when the process makes no progress: restart it
<li><a href="/readyz">/readyz</a> 503 while the worker is not ready, with the reasons
</ul>
"""
