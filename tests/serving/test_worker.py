"""The worker's loop, driven by hand over real sockets; what it does as a process is in
tests/functional/test_serve_abuse.py."""

from __future__ import annotations

import http.client
import json
import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from sagemaker_object_detection.serving import refused
from sagemaker_object_detection.serving.incoming import Incoming, ReceiveLimits, Refusal
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.worker import BufferingWorker

HEAD = b"POST /invocations HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n"


class _Loop:
    """A worker that listens on a free port, and its clients."""

    def __init__(self, limits: ReceiveLimits, connections: int = 1000) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        config = Config()
        config.set("threads", 2)
        config.set("worker_connections", connections)
        app = SimpleNamespace(receive_limits=limits, refused=self._refused)
        log = logging.getLogger("worker")
        self.worker = BufferingWorker(0, os.getpid(), [self.listener], app, 30, config, log)
        self.worker.poller = selectors.DefaultSelector()
        self.worker.set_accept_enabled(True)
        self.clients: list[socket.socket] = []

    def _refused(self, request: Incoming, refusal: Refusal) -> bytes:
        return refused.answer(request, refusal, Metrics())

    def connect(self, sent: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.listener.getsockname(), timeout=10)
        self.clients.append(client)
        self.send(client, sent)
        return client

    def send(self, client: socket.socket, sent: bytes) -> None:
        client.sendall(sent)
        self.turn(2)

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.worker.wait_for_and_dispatch_events(0.02)
            self.worker.murder_pending()

    def turn_until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < until
            self.turn()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.worker.murder_keepalived(force=True)
        assert self.worker.nr_conns == 0
        self.worker.poller.close()
        self.listener.close()
        self.worker.tmp.close()


@pytest.fixture
def make_loop() -> Iterator[Callable[..., _Loop]]:
    loops: list[_Loop] = []

    def make(connections: int = 1000, **limits: Any) -> _Loop:  # noqa: ANN401
        loops.append(_Loop(ReceiveLimits(10_000, **limits), connections))
        return loops[-1]

    yield make
    for loop in loops:
        loop.close()


def _status(client: socket.socket) -> tuple[int, str]:
    response = http.client.HTTPResponse(client)
    response.begin()
    assert response.headers["Connection"] == "close"
    return response.status, json.loads(response.read())["error"]


@pytest.mark.parametrize(
    ("limits", "sent", "least"),
    [
        pytest.param({"head_seconds": 0.1}, [HEAD], 0.1, id="the head takes too long"),
        pytest.param({"pause_seconds": 0.1}, [HEAD + b"\r\n", b"a"], 0.1, id="the body pauses"),
        pytest.param({"whole_seconds": 0.2}, [HEAD + b"\r\n", b"a", b"b"], 0.2, id="all does"),
    ],
)
def test_a_late_request_is_408(
    make_loop: Callable[..., _Loop], limits: dict[str, float], sent: list[bytes], least: float
) -> None:
    loop = make_loop(**limits)
    start = time.monotonic()
    client = loop.connect()
    for part in sent:
        loop.send(client, part)
    loop.turn_until(lambda: loop.worker._closing)
    assert time.monotonic() - start >= least
    status, error = _status(client)
    assert status == 408
    assert "did not arrive within 0." in error


def test_who_asks_for_nothing_is_let_go_without_a_word(make_loop: Callable[..., _Loop]) -> None:
    loop = make_loop(head_seconds=0.05)
    client = loop.connect()
    loop.turn_until(lambda: loop.worker.nr_conns == 0)
    assert client.recv(100) == b""


def test_the_one_that_was_silent_longest_makes_room(make_loop: Callable[..., _Loop]) -> None:
    loop = make_loop(connections=3)
    first, second = loop.connect(HEAD), loop.connect(HEAD)
    loop.send(first, b"X: 1\r\n")
    third = loop.connect(HEAD)
    loop.turn_until(lambda: loop.worker.nr_conns == 2)
    assert second.recv(100) == b""
    for client in (first, third):
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)


def test_the_one_that_makes_room_may_be_sending(make_loop: Callable[..., _Loop]) -> None:
    loop = make_loop(connections=3)
    first, _ = loop.connect(HEAD), loop.connect(HEAD)
    third = socket.create_connection(loop.listener.getsockname(), timeout=10)
    loop.clients.append(third)
    first.sendall(b"X: 1\r\n")  # one look at the sockets finds both
    loop.turn(2)
    with pytest.raises(ConnectionResetError):  # with what it sent unread
        first.recv(100)
    assert loop.worker.nr_conns == 2


def test_bodies_together_are_bounded(make_loop: Callable[..., _Loop]) -> None:
    loop = make_loop(most_held=1500)
    loop.connect(HEAD + b"\r\n" + bytes(700))
    second = loop.connect(HEAD + b"\r\n" + bytes(900))
    status, error = _status(second)
    assert status == 503
    assert "too many large requests" in error
    assert 700 < loop.worker._held < 800 + len(HEAD)


def test_nothing_is_held_for_who_has_gone(make_loop: Callable[..., _Loop]) -> None:
    loop = make_loop()
    client = loop.connect(HEAD + b"\r\n" + bytes(700))
    assert loop.worker._held > 700
    client.close()
    loop.turn_until(lambda: loop.worker.nr_conns == 0)
    assert loop.worker._held == 0
