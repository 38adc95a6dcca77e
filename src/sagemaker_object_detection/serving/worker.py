"""gunicorn's threaded worker, but whose threads get whole requests: slow clients hold none.

gunicorn's own reads a request in the thread that answers it, so that as many slow clients as there
are threads shut everyone else out; and it waits up to two seconds for each client that does not
close its side of a connection, while nobody is served. Here the one thread that watches all
sockets takes in what comes, and lets go of those who keep it waiting.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from selectors import EVENT_READ
from typing import Any, Protocol

from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import TConn, ThreadWorker

from sagemaker_object_detection.serving import incoming
from sagemaker_object_detection.serving.incoming import Incoming, ReceiveLimits, Refusal
from sagemaker_object_detection.serving.trace import ARRIVED

_READ_AT_ONCE = 2**18
_SEND_SECONDS = 20
_CLOSE_SECONDS = 2.0
_LOOK_SECONDS = 0.2


class Receiving(Protocol):
    """What the worker needs of the application it runs (gunicorn's BaseApplication)."""

    receive_limits: ReceiveLimits

    def refused(self, request: Incoming, refusal: Refusal) -> bytes:
        """Note that a request was refused before it reached the application; its answer."""


class _Connection(TConn):  # type: ignore[misc]
    """gunicorn's connection and the request that arrives on it."""

    request: Incoming
    idle_until: float


class BufferingWorker(ThreadWorker):  # type: ignore[misc]
    """See the module. In `_open` are connections whose request is not whole; in `_closing` those
    whose answer is sent and whose client has yet to close; all others are with the threads."""

    app: Receiving

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - gunicorn's
        super().__init__(*args, **kwargs)
        self._open: dict[_Connection, None] = {}
        self._closing: dict[socket.socket, float] = {}
        self._held = 0
        self._latest_end = float("inf")
        self._next_look = 0.0

    @property
    def _limits(self) -> ReceiveLimits:
        return self.app.receive_limits

    def accept(self, listener: socket.socket) -> None:
        """Called by gunicorn's loop; see ThreadWorker."""
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            self._accept_one(listener)

    def _accept_one(self, listener: socket.socket) -> None:
        client, address = listener.accept()
        # A client that does not read its answer must not hold a thread for ever either.
        client.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS, 0)
        )
        connection = _Connection(self.cfg, client, address, listener.getsockname())
        connection.initialized = True  # its parser gets whole requests, not the socket
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections and self._open:
            self._drop(min(self._open, key=lambda other: other.request.latest))
        self._await_request(connection, self._limits.head_seconds)

    def handle(self, conn: _Connection) -> bool:
        """Answer the request of a connection, in a thread; whether the connection stays open."""
        ARRIVED.set(conn.request.begun)
        return bool(super().handle(conn))

    def finish_request(self, conn: _Connection, fs: Future[bool]) -> None:
        """Called when a thread has answered."""
        self._held -= conn.request.size
        if fs.cancelled() or fs.exception() is not None or not fs.result():
            self._close(conn)
            return
        leftover = conn.request.leftover
        conn.sock.setblocking(False)
        self._await_request(conn, self.cfg.keepalive, leftover)

    def murder_pending(self) -> None:
        """Called by gunicorn's loop, after all that happens: let go of who is late."""
        now = time.perf_counter()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        late = [one for one in self._open if min(self._deadline(one), self._latest_end) < now]
        for connection in late:
            if connection.request.begun is None:
                self._drop(connection)  # it has asked for nothing
            else:
                seconds = now - connection.request.begun
                what = f"the request did not arrive within {seconds:g} seconds"
                self._refuse(connection, incoming.Late(what))
        for client in [client for client, until in self._closing.items() if until < now]:
            self._closed(client)

    def murder_keepalived(self, force: bool = False) -> None:
        """Called by gunicorn's loop, with force when it ends."""
        if force:
            for connection in list(self._open):
                self._drop(connection)
            for client in list(self._closing):
                self._closed(client)

    def _cap_keepalive(self, deadline: float) -> None:
        """Called by gunicorn's loop when it is to stop: take in who has connected, and let the
        system refuse who comes later, instead of leaving both without an answer."""
        for listener in self.sockets:
            with contextlib.suppress(OSError):
                while True:
                    self._accept_one(listener)
            listener.close()
        now = time.perf_counter()
        self._latest_end = now + self._limits.stop_seconds
        idle = now + deadline - time.monotonic()
        for connection in self._open:
            if connection.request.begun is None:
                connection.idle_until = min(connection.idle_until, idle)

    def _await_request(self, connection: _Connection, seconds: float, begun: bytes = b"") -> None:
        """Watch a connection for its next request, of which some bytes may be there."""
        connection.request = Incoming(self._limits.most_body)
        connection.idle_until = connection.request.latest + seconds
        self._open[connection] = None
        self.poller.register(connection.sock, EVENT_READ, partial(self._readable, connection))
        if begun:
            self._take(connection, begun)
        else:
            self._readable(connection, connection.sock)  # most often it is there already

    def _readable(self, connection: _Connection, client: socket.socket) -> None:
        if connection not in self._open:
            return  # it made room for a new one that was seen in the same look at the sockets
        try:
            data = client.recv(_READ_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._take(connection, data)
        else:
            self._drop(connection)

    def _take(self, connection: _Connection, data: bytes) -> None:
        request, limits = connection.request, self._limits
        before = request.size
        waits = request.feed(data)
        self._held += request.size - before
        if request.refusal is not None:
            self._refuse(connection, request.refusal)
        elif self._held > limits.most_held:
            what = "too many large requests are being sent at this moment"
            self._refuse(connection, incoming.TooMuchAtOnce(what))
        elif request.complete:
            self._unwatch(connection)
            pieces = _each_once(request.pieces)
            connection.parser = RequestParser(self.cfg, pieces, connection.client)
            self.enqueue_req(connection)
        elif waits:
            with contextlib.suppress(OSError):
                connection.sock.send(incoming.CONTINUE)

    def _deadline(self, connection: _Connection) -> float:
        request, limits = connection.request, self._limits
        if request.begun is None:
            return connection.idle_until
        if not request.has_head:
            return request.begun + limits.head_seconds
        return min(request.latest + limits.pause_seconds, request.begun + limits.whole_seconds)

    def _refuse(self, connection: _Connection, refusal: Refusal) -> None:
        answer = self.app.refused(connection.request, refusal)
        with contextlib.suppress(OSError):
            connection.sock.send(answer)
        self._unwatch(connection)
        self._held -= connection.request.size
        self._close(connection)

    def _drop(self, connection: _Connection) -> None:
        """Close without an answer."""
        self._unwatch(connection)
        self._held -= connection.request.size
        self.nr_conns -= 1
        connection.close()

    def _unwatch(self, connection: _Connection) -> None:
        del self._open[connection]
        self.poller.unregister(connection.sock)

    def _close(self, connection: _Connection) -> None:
        """Close so that the client gets the whole answer, also when it is still sending
        (RFC 9112, 9.6)."""
        client = connection.sock
        try:
            client.setblocking(False)
            client.shutdown(socket.SHUT_WR)
        except OSError:  # it is gone, or gunicorn has closed it after half an answer
            self.nr_conns -= 1
            connection.close()
            return
        self._closing[client] = time.perf_counter() + _CLOSE_SECONDS
        self.poller.register(client, EVENT_READ, self._drain)

    def _drain(self, client: socket.socket) -> None:
        try:
            more = client.recv(_READ_AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            self._closed(client)

    def _closed(self, client: socket.socket) -> None:
        del self._closing[client]
        self.poller.unregister(client)
        self.nr_conns -= 1
        client.close()


def _each_once(pieces: list[bytes]) -> Iterator[bytes]:
    """The pieces, of which none is kept."""
    pieces.reverse()
    while pieces:
        yield pieces.pop()
