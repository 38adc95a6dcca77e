"""Requests to a running endpoint: connections that are kept, patience, and what its answers mean.

Every status is one of three: the picture's fault (400, 413), a matter of waiting (408, 429, 502,
503, 504, and no connection), or a reason to give up, since no other picture would fare better. A
500 is the endpoint's fault with this one picture.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import threading
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from sagemaker_object_detection.platform.errors import ClientError, PlatformError
from sagemaker_object_detection.tools.predictions import PictureFailed, PictureUnusable

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds for which an endpoint may be busy or, once it has answered, be gone."""

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 180.0
_SHORTEST_PAUSE = 0.1
_LONGEST_PAUSE = 15.0
_LONGEST_ANSWER = 2**26
_SHOWN = 300

_OF_THE_PICTURE = frozenset({400, 413})
_LATER = frozenset({408, 429, 502, 503, 504})
_IN_PATHS = "/%:@!$&'()*+,;=~"
_NOT_OURS = frozenset({404, 405})

Headers = dict[str, str]


@dataclass(frozen=True)
class _Reply:
    status: int
    retry_after: str | None
    body: bytes


class EndpointClient:
    """Asks one endpoint, from any thread; each keeps a connection of its own.

    url: http://host:port or https://host:port, perhaps with a path that /invocations is below.
    patience: see PATIENCE.

    Raises ClientError for what is no such URL.
    """

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        self.url = url
        self._parts = _split(url)
        self._patience = patience
        self._own = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._interrupted = threading.Event()
        self._reached = False
        self._told = False

    def wait_ready(self) -> None:
        """Return when /ping says that the endpoint is healthy, or when there is no /ping.

        Raises PlatformError when nobody is there, or that takes more than the patience.
        """
        self._patiently("GET", "/ping", None, {})

    def post(self, data: bytes, name: str, headers: Headers) -> bytes:
        """The body that /invocations answers to a picture, which errors call `name`.

        Raises:
            PictureUnusable: the endpoint cannot use the picture.
            PictureFailed: the endpoint failed on this picture.
            ClientError: what answers is no endpoint of this kind, or does not let us in.
            PlatformError: there is no endpoint, or it stays busy.
        """
        reply = self._patiently("POST", "/invocations", data, headers)
        if reply.status == 200:
            return reply.body
        answered = f"{self.url} answered {reply.status}: {_words(reply.body)}"
        if reply.status in _OF_THE_PICTURE:
            raise PictureUnusable(f"{name}: {answered}.")
        if reply.status == 500:
            raise PictureFailed(f"{name}: {answered}.")
        if reply.status in _NOT_OURS or reply.status < 400:
            raise ClientError(
                f"{answered}. There is no endpoint at this address: give the one below which "
                "/invocations is as --url."
            )
        raise ClientError(f"{answered}. See the log of the endpoint, and what stands before it.")

    def interrupt(self) -> None:
        """End all requests and all waiting, now and later; their threads get PlatformError."""
        self._interrupted.set()
        for connection in list(self._connections):
            if connection.sock is not None:
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connections; no thread may use them any more."""
        for connection in self._connections:
            connection.close()

    def _patiently(self, method: str, path: str, data: bytes | None, headers: Headers) -> _Reply:
        """The first reply that is not about waiting."""
        began = time.monotonic()
        pause = 0.0  # a kept connection may have been closed meanwhile: once again at once
        while True:
            try:
                reply = self._once(method, path, data, headers)
            except TimeoutError:
                raise PlatformError(
                    f"{self.url} takes longer than {_CONNECT_SECONDS:.0f} s to connect, or "
                    f"{_ANSWER_SECONDS:.0f} s to answer. See the log of the endpoint, and whether "
                    "a firewall stands before it."
                ) from None
            except (OSError, http.client.HTTPException) as error:
                fault = (
                    f"{self.url} cannot be reached ({_why(error)}). Start the endpoint there, or "
                    "correct --url."
                )
                patience = self._patience if self._reached else 0.0
            else:
                self._reached = True
                patience = self._patience
                if reply.status not in _LATER:
                    return reply
                fault = (
                    f"{self.url} answered {reply.status}: {_words(reply.body)}. Try again later, "
                    "or use more or larger instances."
                )
                pause = _seconds(reply.retry_after, pause)
            if self._interrupted.is_set():
                raise PlatformError(f"The request to {self.url} was interrupted. Repeat it.")
            if pause and time.monotonic() + pause > began + patience:
                since = f"For {patience:.0f} seconds " if patience else ""
                raise PlatformError(f"{since}{fault}")
            if pause and not self._told:
                self._told = True
                log.warning("Trying again for %.0f s: %s", self._patience, fault)
            self._interrupted.wait(pause)
            pause = min(max(2 * pause, 0.5), _LONGEST_PAUSE)

    def _once(self, method: str, path: str, data: bytes | None, headers: Headers) -> _Reply:
        connection = self._connection()
        try:
            if connection.sock is None:
                connection.connect()
                assert connection.sock is not None
                connection.sock.settimeout(_ANSWER_SECONDS)
            if self._interrupted.is_set():  # while it was being made
                raise ConnectionAbortedError("interrupted")
            connection.request(method, self._parts.path + path, data, headers)
            response = connection.getresponse()
            body = response.read(_LONGEST_ANSWER)
            if response.read(1):
                raise http.client.HTTPException(f"an answer of more than {_LONGEST_ANSWER} bytes")
        except BaseException:
            connection.close()  # the next request makes a new one
            raise
        return _Reply(response.status, response.getheader("Retry-After"), body)

    def _connection(self) -> http.client.HTTPConnection:
        """The thread's own."""
        if not hasattr(self._own, "connection"):
            secure = self._parts.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            host = str(self._parts.hostname)
            self._own.connection = kind(host, self._parts.port, timeout=_CONNECT_SECONDS)
            self._connections.append(self._own.connection)
        connection: http.client.HTTPConnection = self._own.connection
        return connection


def _split(url: str) -> SplitResult:
    """The parts of the URL, its path percent-encoded and without /invocations."""
    try:
        parts = urlsplit(url)
        known = bool(parts.hostname) and parts.port != 0
        str(parts.hostname).encode("idna")  # as a connection does: two dots, or a long label
    except ValueError:
        known = False
    if not known or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ClientError(f"--url {url!r} is no address of an endpoint. Give http://host:port.")
    if parts.username is not None or parts.password is not None:
        raise ClientError(
            f"--url has a user's name for {parts.hostname}, and none is sent. Leave it out, and "
            "give the address of what asks for no name."
        )
    path = parts.path.rstrip("/").removesuffix("/invocations").rstrip("/")
    return parts._replace(path=quote(path, _IN_PATHS))


def _seconds(retry_after: str | None, otherwise: float) -> float:
    """How long to wait by a Retry-After; one that is a date, or none at all, says little."""
    text = (retry_after or "").strip()
    asked = float(text) if text.isdecimal() else max(otherwise, 1.0)
    return min(max(asked, _SHORTEST_PAUSE), _LONGEST_PAUSE)


def _why(error: OSError | http.client.HTTPException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _words(body: bytes) -> str:
    """What an error's body says, without full stop: our `error` and `hint`, or how it begins."""
    text = body.decode(errors="replace").strip()
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if isinstance(told, dict) and isinstance(told.get("error"), str):
        text = ". ".join(str(told[key]) for key in ("error", "hint") if told.get(key))
    return text[:_SHOWN].rstrip(".") or "nothing"
