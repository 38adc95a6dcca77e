"""A connection to another process of a distributed job.

Messages are bytes framed by multiprocessing.connection, the first of which says what it is; nothing
is pickled. Who does not know the job's key is turned away (an HMAC challenge both ways).
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

BEAT, PART, ALL, FAIL, STOP, BYE = b"B", b"P", b"A", b"F", b"S", b"E"
_FRAME_BYTES = 2**20
_MORE, _LAST = b"+", b"."
_LONGEST_HELLO = 1024
ANSWER_SECONDS = 5.0
_WELCOME = b"welcome"
# What the challenge raises: the key is another one, or what was said is no challenge.
_NO_MEMBER = (AuthenticationError, AssertionError)


@dataclass(frozen=True)
class Member:
    """One process of a group, or a host with all its processes.

    Attributes:
        rank: in the group.
        host: its name.
        name: what to call it in messages.
    """

    rank: int
    host: str
    name: str = ""

    def __str__(self) -> str:
        return self.name or f"rank {self.rank} on {self.host}"


class Peer:
    """The other end of a connection, and what has come from it.

    Attributes:
        member: who it is.
        heard: when something came last, of time.monotonic.
        messages: for gather, that were not taken yet.
        left: whether it said that it leaves in peace.
    """

    def __init__(self, member: Member, connection: Connection) -> None:
        self.member = member
        self.heard = time.monotonic()
        self.messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.left = False
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, kind: bytes, content: bytes = b"") -> None:
        """From any thread. Raises OSError when the connection is broken."""
        with self._sending:
            self._send(kind, content)

    def beat(self) -> None:
        """A sign of life, unless a message is on its way, which is one. Raises OSError as send."""
        if self._sending.acquire(blocking=False):
            try:
                self._send(BEAT, b"")
            finally:
                self._sending.release()

    def _send(self, kind: bytes, content: bytes) -> None:
        view = memoryview(content)
        while len(view) > _FRAME_BYTES:
            self._connection.send_bytes(kind + _MORE + view[:_FRAME_BYTES])
            view = view[_FRAME_BYTES:]
        self._connection.send_bytes(kind + _LAST + view)

    def receive(self) -> tuple[bytes, bytes]:
        """Wait for the next message: its kind and content. Raises EOFError and OSError."""
        pieces = []
        while True:
            frame = self._connection.recv_bytes()
            self.heard = time.monotonic()
            pieces.append(frame[2:])
            if frame[1:2] != _MORE:
                return frame[:1], b"".join(pieces)

    def has_come(self, seconds: float) -> bool:
        """Whether a message begins to come within so long. Raises OSError."""
        return self._connection.poll(seconds)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def accept(connected: socket.socket, key: bytes, members: Sequence[Member]) -> Peer:
    """Rank 0's side of a new connection.

    Raises:
        ConnectionRefusedError: it does not know the key, or is no member; OSError, EOFError.
    """
    connection = Connection(connected.detach())
    try:
        deliver_challenge(connection, key)
        answer_challenge(connection, key)
        rank, _, host = connection.recv_bytes(_LONGEST_HELLO).decode().partition(" ")
        if rank not in {str(member.rank) for member in members[1:] if member.host == host}:
            raise ConnectionRefusedError(f"there is no rank {rank!r} on {host!r} in this job")
        connection.send_bytes(_WELCOME)
    except (*_NO_MEMBER, UnicodeDecodeError) as error:
        connection.close()
        raise ConnectionRefusedError(str(error)) from error
    except BaseException:
        connection.close()
        raise
    return Peer(members[int(rank)], connection)


def connect(connected: socket.socket, key: bytes, me: Member, hub: Member) -> Peer:
    """The other ranks' side. Raises as accept, and TimeoutError: nothing was said in time."""
    connection = Connection(connected.detach())
    try:
        if not connection.poll(ANSWER_SECONDS):
            raise TimeoutError("it is silent")
        answer_challenge(connection, key)
        deliver_challenge(connection, key)
        connection.send_bytes(f"{me.rank} {me.host}".encode())
        connection.recv_bytes(_LONGEST_HELLO)
    except _NO_MEMBER as error:
        connection.close()
        raise ConnectionRefusedError(str(error)) from error
    except BaseException:
        connection.close()
        raise
    return Peer(hub, connection)
