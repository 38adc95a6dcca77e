"""A request while it arrives: bytes in, until it is whole, too large or no HTTP. No sockets here.

h11 says where a request ends; its bytes are kept as they came, for gunicorn's own parser.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import h11
from werkzeug.datastructures import Headers

MAX_HEAD_BYTES = 2**15
"""Request line and header fields together."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""What a client waits for that sends Expect: 100-continue before a large body, as curl does."""

_MOST_THROWN_AWAY = 2**28
_STEP = 2**13


@dataclass(frozen=True)
class ReceiveLimits:
    """How long and how much is waited for.

    most_body: bytes of a body, None for no limit.
    most_held: bytes of all requests that are on their way in or being answered.
    head_seconds: from the first bytes, or from the connection if none come, to the last header.
    pause_seconds: between two pieces of a body.
    whole_seconds: from the first bytes to the last.
    stop_seconds: for requests that are on their way in when the worker is to stop.
    """

    most_body: int | None
    most_held: int = 2**29
    head_seconds: float = 15.0
    pause_seconds: float = 20.0
    whole_seconds: float = 60.0
    stop_seconds: float = 5.0


class Refusal(ValueError):
    """Why a request is not handed on; serving.answers has what its client is told."""


class NotHTTP(Refusal):
    """Bytes that are no request."""


class Late(Refusal):
    """A request that did not arrive in time."""


class HeadTooLarge(Refusal):
    """More than MAX_HEAD_BYTES before the body."""


class BodyTooLarge(Refusal):
    """A body of more bytes than the settings allow."""


class TooMuchAtOnce(Refusal):
    """A request for which there is no memory at the moment."""


class Incoming:
    """One request of a connection, fed with what its client sends.

    Args:
        most_body: bytes that the body may have, None for no limit. A body of more is read and
            thrown away first, within reason: a client that is still sending when the connection
            closes sees a broken pipe and not the answer.

    Attributes:
        pieces: the bytes so far, as they came.
        size: how many they are.
        complete: whether pieces are one whole request.
        leftover: what came behind it, the beginning of the client's next one.
        refusal: why it will never be complete; not to be fed any more then.
        begun: when the first bytes came, on the clock of time.perf_counter; None before.
        latest: when the latest came, or when this was made.
    """

    def __init__(self, most_body: int | None) -> None:
        self._most_body = most_body
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._head: h11.Request | None = None
        self._body_bytes = 0
        self.pieces: list[bytes] = []
        self.size = 0
        self.complete = False
        self.leftover = b""
        self.refusal: Refusal | None = None
        self.begun: float | None = None
        self.latest = time.perf_counter()

    def feed(self, data: bytes) -> bool:
        """Take some bytes; tell whether the client waits for CONTINUE before it sends its body."""
        self.latest = time.perf_counter()
        if self.begun is None:
            self.begun = self.latest
        self.pieces.append(data)
        self.size += len(data)
        try:
            ended = self._read_events(data)
        except h11.RemoteProtocolError as error:
            self.refusal = _broken(error)
            return False
        waits = bool(self._http.they_are_waiting_for_100_continue)
        if self._most_body is not None and self._is_larger_than(self._most_body):
            self.pieces.clear()
            self.size = 0
            if ended or waits or self._body_bytes > self._most_body + _MOST_THROWN_AWAY:
                most = self._most_body / 2**20
                self.refusal = BodyTooLarge(f"the body is larger than {most:g} MB")
            return False
        if ended:
            self._end()
        return waits

    @property
    def has_head(self) -> bool:
        """Whether all headers are there."""
        return self._head is not None

    @property
    def method(self) -> str:
        """Of the request; - before its head is there."""
        return "-" if self._head is None else self._head.method.decode("ascii")

    @property
    def path(self) -> str:
        """Of the request, without a query; - before its head is there."""
        return "-" if self._head is None else self._head.target.decode("ascii").partition("?")[0]

    @property
    def headers(self) -> Headers:
        """Of the request; none before its head is there."""
        fields = [] if self._head is None else list(self._head.headers)
        return Headers(
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
        )

    def _read_events(self, data: bytes) -> bool:
        """Whether the request has ended. Raises h11.RemoteProtocolError."""
        ended = False
        while data:
            step = _STEP if self._head is None else len(data)  # h11 measures incomplete heads only
            self._http.receive_data(data[:step])
            data = data[step:]
            ended = ended or self._next_events()
        return ended

    def _next_events(self) -> bool:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._head = event
            elif isinstance(event, h11.Data):
                self._body_bytes += len(event.data)
            else:
                return isinstance(event, h11.EndOfMessage)

    def _is_larger_than(self, most: int) -> bool:
        fields = {} if self._head is None else dict(self._head.headers)
        return max(self._body_bytes, int(fields.get(b"content-length", b"0"))) > most

    def _end(self) -> None:
        self.complete = True
        self.leftover = bytes(self._http.trailing_data[0])
        if self.leftover:
            whole = b"".join(self.pieces)
            self.pieces = [whole[: -len(self.leftover)]]
            self.size = len(self.pieces[0])


def _broken(error: h11.RemoteProtocolError) -> Refusal:
    if error.error_status_hint == 431:
        return HeadTooLarge(f"the headers are larger than {MAX_HEAD_BYTES} bytes")
    return NotHTTP(f"the request is no HTTP/1.1 ({error})")
