"""A headless Chromium that is spoken to by the DevTools protocol, over a pair of pipes.

Nothing but the browser is needed for that.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.browser import command

Json = dict[str, Any]

PATIENCE = 60.0


class Connection:
    """A running browser with one page. Skips the test where there is none.

    `events` are those that `note` keeps, for wait_event.
    """

    def __init__(self, folder: Path) -> None:
        self.events: list[Json] = []
        self._ids = itertools.count(1)
        self._pending = b""
        (their_in, self._out), (self._in, their_out) = os.pipe(), os.pipe()
        # Chromium reads from 3 and writes to 4; copies far from these are safe to be renamed.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 100) for end in (their_in, their_out)]
        rename = f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}'
        # Its log would fill a pipe that nobody reads.
        with (folder / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", rename, "bash", *command(folder), "--remote-debugging-pipe"],
                pass_fds=theirs,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": str(folder)},
                start_new_session=True,
            )
        for end in (their_in, their_out, *theirs):
            os.close(end)
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def note(self, event: Json) -> None:
        """Called with each event as it comes."""
        self.events.append(event)

    def call(self, method: str, **arguments: Any) -> Json:  # noqa: ANN401
        """Send one command of the protocol and wait for what it returns."""
        number = self.send(method, **arguments)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for message in self.receive(1.0):
                if message.get("id") == number:
                    assert "error" not in message, (method, message["error"])
                    result: Json = message["result"]
                    return result
        raise TimeoutError(f"{method}: no answer in {PATIENCE} s")

    def wait_event(self, method: str) -> Json:
        """The first event of this kind that was not waited for yet."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for event in self.events:
                if event["method"] == method:
                    self.events.remove(event)
                    parameters: Json = event["params"]
                    return parameters
            self.receive(0.1)
        raise TimeoutError(f"{method}: no such event in {PATIENCE} s")

    def send(self, method: str, **arguments: Any) -> int:  # noqa: ANN401
        number = next(self._ids)
        message: Json = {"id": number, "method": method, "params": arguments}
        if self._session is not None:
            message["sessionId"] = self._session
        data = memoryview(json.dumps(message).encode() + b"\0")
        while data:
            data = data[os.write(self._out, data) :]
        return number

    def receive(self, patience: float) -> list[Json]:
        """Answers that came, at least one read of the pipe; events are kept or handled."""
        if not select.select([self._in], [], [], patience)[0]:
            return []
        data = os.read(self._in, 2**20)
        assert data, "the browser has ended"
        *whole, self._pending = (self._pending + data).split(b"\0")
        messages = [json.loads(one) for one in whole]
        for event in messages:
            if "method" in event:
                self.note(event)
        return [one for one in messages if "id" in one]
