"""An HTTP server that answers as a test tells it to, request by request."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
NOTHING: Reply = (200, {}, b'{"predictions": []}')


def found(*predictions: dict[str, Any]) -> Reply:
    return (
        200,
        {"Content-Type": "application/json"},
        json.dumps({"predictions": list(predictions)}).encode(),
    )


def fault(status: int, error: str, hint: str = "", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, json.dumps({"error": error, "hint": hint}).encode()


@dataclass
class Request:
    """What came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Scripted:
    """A running server: its address, and what it was asked."""

    url: str
    requests: list[Request] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    """Set when the test is over: for a script that lets a request hang."""

    @property
    def posts(self) -> list[Request]:
        return [one for one in self.requests if one.method == "POST"]


Script = Callable[[Scripted, Request], Reply | None]


@contextlib.contextmanager
def scripted(script: Script) -> Iterator[Scripted]:
    """Serve on a free port; `script` gives the reply to each request, None to hang up on it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            request = Request(
                self.command, self.path, dict(self.headers.items()), self.rfile.read(length)
            )
            state.requests.append(request)
            reply = script(state, request)
            if reply is None:
                self.close_connection = True
                return
            status, headers, body = reply
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _handle

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing on the screen."""

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = Scripted(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield state
    finally:
        state.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


def healthy(answer: Script) -> Script:
    """A script whose /ping is 200 and whose /invocations answers by `answer`."""

    def script(state: Scripted, request: Request) -> Reply | None:
        return (200, {}, b"") if request.path.endswith("/ping") else answer(state, request)

    return script
