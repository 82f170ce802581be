"""/healthz, /readyz, /metrics and erasure requests: their answers, also while the event loop is stuck."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from streams.errors import UserError
from streams.shell.monitoring import http as shell_http
from streams.shell.monitoring.health import Health, LoopLag
from streams.shell.monitoring.http import ErasureEndpoint, HttpServer
from tests.observe.readings import adapter


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock)


@pytest.fixture
def server(health: Health) -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, health, adapter().exposition)
    server.start()
    yield server
    server.stop()


def ask(server: HttpServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


# -- liveness


def test_worker_is_healthy_until_its_event_loop_stands_still_for_60_s(
    server: HttpServer, health: Health, clock: Clock
) -> None:
    clock.now += 59.9
    assert ask(server, "/healthz")[0] == 200
    clock.now += 0.1
    status, _, body = ask(server, "/healthz")
    assert status == 503
    assert json.loads(body) == {"status": "stuck", "seconds_without_a_heartbeat": {"event_loop": 60.0}}
    health.loop_heartbeat()
    assert ask(server, "/healthz")[0] == 200


def test_stuck_consumer_makes_the_worker_unhealthy(health: Health, clock: Clock) -> None:
    health.consumer_heartbeat()
    clock.now += 75
    health.loop_heartbeat()
    assert health.stuck() == {"consumer": 75}
    health.consumer_heartbeat()
    assert health.stuck() == {}


def test_a_consumer_that_has_not_begun_or_rests_is_not_stuck(health: Health, clock: Clock) -> None:
    def an_hour() -> None:
        clock.now += 3600
        health.loop_heartbeat()

    an_hour()  # the broker was away from the start
    assert health.stuck() == {}
    health.consumer_heartbeat()
    health.consumer_rests()
    an_hour()  # the broker went away in a rebalance
    assert health.stuck() == {}
    health.consumer_heartbeat()
    an_hour()
    assert health.stuck() == {"consumer": 3600}


# -- readiness


def test_worker_is_ready_once_recovered_and_not_before(server: HttpServer, health: Health) -> None:
    status, _, body = ask(server, "/readyz")
    assert (status, json.loads(body)) == (503, {"status": "not ready", "reasons": ["recovering"]})
    health.recovery({"records_left": 5, "records_per_second": 2.5, "seconds_left": 2.0})
    answer = json.loads(ask(server, "/readyz")[2])
    assert answer["recovery"] == {"records_left": 5, "records_per_second": 2.5, "seconds_left": 2.0}
    health.recovered()
    status, _, body = ask(server, "/readyz")
    assert (status, json.loads(body)) == (200, {"status": "ready"})
    health.recovered()  # after a rebalance
    assert health.ready()


def test_worker_is_not_ready_while_a_reason_remains(server: HttpServer, health: Health) -> None:
    health.recovered()
    health.not_ready("stopping")
    health.not_ready("clock_skew")
    status, _, body = ask(server, "/readyz")
    assert (status, json.loads(body)["reasons"]) == (503, ["clock_skew", "stopping"])
    health.clear("clock_skew")
    assert health.reasons() == ["stopping"]
    health.clear("stopping")
    health.clear("stopping")
    assert ask(server, "/readyz")[0] == 200


def test_liveness_does_not_depend_on_readiness(health: Health, clock: Clock) -> None:
    clock.now += 100
    health.recovered()
    assert health.ready()
    assert health.stuck()


# -- the event loop's lag


async def test_event_loop_lag_is_the_longest_of_the_window(health: Health, clock: Clock) -> None:
    held_up = [0.0, 2.0, 0.1, 0.0, 0.0]
    seen: list[float] = []

    async def sleep(seconds: float) -> None:
        seen.append(lag.worst())
        if not held_up:
            raise asyncio.CancelledError
        clock.now += seconds + held_up.pop(0)

    lag = LoopLag(health, interval=0.5, window=1.5, clock=clock, sleep=sleep)
    clock.now += 50
    with pytest.raises(asyncio.CancelledError):
        await lag.run()
    assert seen == pytest.approx([0, 0, 2.0, 2.0, 2.0, 0.1])
    clock.now += 59
    assert health.stuck() == {}


async def test_event_loop_block_in_progress_is_counted(health: Health, clock: Clock) -> None:
    async def sleep(seconds: float) -> None:
        clock.now += seconds + 33
        assert lag.worst() == pytest.approx(33)
        raise asyncio.CancelledError

    lag = LoopLag(health, clock=clock, sleep=sleep)
    assert lag.worst() == 0
    with pytest.raises(asyncio.CancelledError):
        await lag.run()


async def test_server_answers_while_the_event_loop_is_stuck(server: HttpServer, clock: Clock) -> None:
    # No await until the answer is there: nothing on this event loop could give it.
    clock.now += 61
    assert ask(server, "/healthz")[0] == 503
    assert ask(server, "/metrics")[0] == 200


# -- HTTP


def test_metrics_are_served_in_both_formats(server: HttpServer) -> None:
    status, headers, body = ask(server, "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"\nlifecycle_ready 1.0\n" in body
    _, headers, body = ask(server, "/metrics?name=x", Accept="application/openmetrics-text;version=1.0.0")
    assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert body.endswith(b"# EOF\n")


def test_index_page_links_to_every_path(server: HttpServer) -> None:
    status, headers, body = ask(server, "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for path in ("/metrics", "/healthz", "/readyz"):
        assert f'href="{path}"'.encode() in body


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/readyz", "/nothing"])
def test_head_is_get_without_a_body(server: HttpServer, path: str) -> None:
    get_status, get_headers, _ = ask(server, path)
    status, headers, body = ask(server, path, "HEAD")
    assert (status, headers["Content-Type"], body) == (get_status, get_headers["Content-Type"], b"")
    assert int(headers["Content-Length"]) > 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:  # the client library hides a body
        raw.sendall(f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
        assert raw.makefile("rb").read().endswith(b"\r\n\r\n")


def test_unknown_paths_are_404_and_other_methods_405(server: HttpServer) -> None:
    assert ask(server, "/nothing")[0] == 404
    assert ask(server, "/metrics/")[0] == 404
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        status, headers, _ = ask(server, "/metrics", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert ask(server, "/metrics", "BREW")[0] == 501


def test_content_of_requests_is_not_logged(
    server: HttpServer, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    ask(server, "/metrics?customer=c-1")
    ask(server, "/nothing?customer=c-1")
    ask(server, "/metrics?customer=c-1", "BREW")
    assert "c-1" not in caplog.text + "".join(capfd.readouterr())


def test_metrics_that_cannot_be_rendered_are_an_error_and_the_server_goes_on(
    health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(accept: str) -> tuple[bytes, str]:
        raise RuntimeError("a collector is broken")

    server = HttpServer("127.0.0.1", 0, health, broken)
    server.start()
    try:
        assert ask(server, "/metrics")[0] == 500
        assert "a collector is broken" in caplog.text
        assert ask(server, "/healthz")[0] == 200
    finally:
        server.stop()


def test_silent_client_is_disconnected(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_http._Handler, "timeout", 0.05)
    server = HttpServer("127.0.0.1", 0, health, adapter().exposition)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as silent:
            assert silent.recv(1) == b""
    finally:
        server.stop()


def test_connections_are_bounded(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_http, "CONNECTIONS", 1)
    entered, leave = threading.Event(), threading.Event()

    def slow(accept: str) -> tuple[bytes, str]:
        entered.set()
        assert leave.wait(10)
        return b"", "text/plain"

    server = HttpServer("127.0.0.1", 0, health, slow)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as first:
            first.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert entered.wait(10)
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as second:
                assert second.recv(1) == b""
            leave.set()
            assert first.recv(12) == b"HTTP/1.0 200"
    finally:
        leave.set()
        server.stop()


def test_taken_port_is_reported_in_one_sentence(server: HttpServer, health: Health) -> None:
    with pytest.raises(UserError, match=rf"Cannot listen on 127\.0\.0\.1:{server.port} .*LIFECYCLE_WEB_PORT"):
        HttpServer("127.0.0.1", server.port, health, adapter().exposition)


def test_foreign_host_is_reported_in_one_sentence(health: Health) -> None:
    with pytest.raises(UserError, match="LIFECYCLE_WEB_HOST"):
        HttpServer("host.invalid", 0, health, adapter().exposition)


def test_the_port_is_free_again_after_stop(health: Health) -> None:
    server = HttpServer("127.0.0.1", 0, health, adapter().exposition)
    server.start()
    port = server.port
    assert server.url == f"http://127.0.0.1:{port}"
    assert ask(server, "/healthz")[0] == 200
    server.stop()
    again = HttpServer("127.0.0.1", port, health, adapter().exposition)
    assert again.port == port
    again.stop()


# -- erasures


class Asked:
    """Stands for the worker that is asked for an erasure."""

    def __init__(self) -> None:
        self.people: list[tuple[str, bool]] = []
        self.fails: Exception | None = None

    def __call__(self, person: str, identified: bool) -> str:
        if self.fails is not None:
            raise self.fails
        self.people.append((person, identified))
        return "r-1"


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def erasing(health: Health, asked: Asked) -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, health, adapter().exposition, ErasureEndpoint("s3cret-ü", asked))
    server.start()
    yield server
    server.stop()


BEARER = "Bearer s3cret-ü".encode().decode("latin-1")


def test_request_with_the_token_starts_an_erasure(erasing: HttpServer, asked: Asked) -> None:
    for path in ("/v1/customers/c-1", "/v1/customers/a%2Fb%20%C3%BC?why=1", "/v1/anonymous/a-7"):
        status, _, body = ask(erasing, path, "DELETE", Authorization=BEARER)
        assert (status, json.loads(body)) == (202, {"status": "accepted", "request_id": "r-1"})
    assert asked.people == [("c-1", True), ("a/b ü", True), ("a-7", False)]


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer s3cret", f"{BEARER}x", f"bearer {BEARER[7:]}", "Basic x"])
def test_request_without_the_right_token_is_refused(erasing: HttpServer, asked: Asked, sent: str | None) -> None:
    headers = {} if sent is None else {"Authorization": sent}
    status, answered, _ = ask(erasing, "/v1/customers/c-1", "DELETE", **headers)
    assert (status, answered["WWW-Authenticate"]) == (401, "Bearer")
    assert asked.people == []


def test_erasure_paths_are_404_where_no_token_is_set(server: HttpServer) -> None:
    assert ask(server, "/v1/customers/c-1", "DELETE", Authorization="Bearer x")[0] == 404


@pytest.mark.parametrize("path", ["/v1/customers/", "/v1/customers", "/v1/customers/a/b", "/v1/orders/1", "/metrics"])
def test_delete_of_other_paths_is_refused(erasing: HttpServer, asked: Asked, path: str) -> None:
    assert ask(erasing, path, "DELETE", Authorization=BEARER)[0] == 405
    assert asked.people == []


def test_failed_erasure_request_is_logged_without_a_name(
    erasing: HttpServer, asked: Asked, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    assert ask(erasing, "/v1/customers/%FF", "DELETE", Authorization=BEARER)[0] == 400
    asked.fails = UserError("this id names no customer")
    status, _, body = ask(erasing, "/v1/customers/null", "DELETE", Authorization=BEARER)
    assert (status, json.loads(body)["status"]) == (400, "this id names no customer")
    asked.fails = TimeoutError("of c-77")
    status, _, body = ask(erasing, "/v1/customers/c-77", "DELETE", Authorization=BEARER)
    assert (status, b"repeat the request" in body) == (503, True)
    assert "TimeoutError" in caplog.text
    assert "c-77" not in caplog.text + "".join(capfd.readouterr()) + body.decode()
