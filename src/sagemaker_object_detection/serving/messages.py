"""Messages between the server and the process of a model: an object of JSON, then bytes.

Neither side unpickles what the other sends, and neither believes a length that no model has.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

Head = dict[str, Any]

_LENGTHS = struct.Struct(">II")
_LONGEST = 2**30


class Connection:
    """One end of a connected stream socket; for one thread at a time.

    After any error but those of the message itself the connection is of no more use.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream

    def send(
        self, head: Mapping[str, object], content: bytes | memoryview = b"", patience: float = 60.0
    ) -> None:
        """Raises OSError, TimeoutError among them, when the other side does not take it."""
        told = json.dumps(head).encode()
        self._stream.settimeout(patience)
        self._stream.sendall(_LENGTHS.pack(len(told), len(content)) + told)
        if content:
            self._stream.sendall(content)

    def receive(self, patience: float | None = None) -> tuple[Head, bytearray]:
        """The next message, waiting for the whole of it up to `patience` seconds.

        Raises EOFError when the other side has closed, TimeoutError, or another OSError.
        """
        until = None if patience is None else time.monotonic() + patience
        lengths = _LENGTHS.unpack(self._read(_LENGTHS.size, until))
        if max(lengths) > _LONGEST:
            raise OSError(f"a message of {max(lengths)} bytes; the longest there is has {_LONGEST}")
        head, content = (self._read(length, until) for length in lengths)
        return json.loads(head), content

    def shut(self) -> None:
        """Tell the other side, and whoever waits on this one, that nothing more comes."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Also tells the other side, but no thread that waits on this one."""
        self._stream.close()

    def _read(self, length: int, until: float | None) -> bytearray:
        data = bytearray(length)
        left = memoryview(data)
        while left:
            if until is not None and (seconds := until - time.monotonic()) > 0:
                self._stream.settimeout(seconds)
            elif until is not None:
                raise TimeoutError
            else:
                self._stream.settimeout(None)
            got = self._stream.recv_into(left)
            if not got:
                raise EOFError
            left = left[got:]
        return data
