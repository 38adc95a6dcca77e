"""A connection to another process of a distributed job.

Messages are bytes framed by multiprocessing.connection, the first of which says what it is; nothing
is pickled. Who does not know the job's key is turned away (an HMAC challenge both ways).
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

BEAT, PART, ALL, FAIL, BYE = b"B", b"P", b"A", b"F", b"E"
_LONGEST_HELLO = 1024


@dataclass(frozen=True)
class Member:
    """One process of the job."""

    rank: int
    host: str

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host}"


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
            self._connection.send_bytes(kind + content)

    def receive(self) -> tuple[bytes, bytes]:
        """Wait for the next message: its kind and content. Raises EOFError and OSError."""
        message = self._connection.recv_bytes()
        self.heard = time.monotonic()
        return message[:1], message[1:]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def accept(connected: socket.socket, key: bytes, me: Member, world_size: int) -> Peer:
    """Rank 0's side of a new connection.

    Raises:
        ConnectionRefusedError: it does not know the key, or is no member; OSError, EOFError.
    """
    connection = Connection(connected.detach())
    try:
        deliver_challenge(connection, key)
        answer_challenge(connection, key)
        rank, _, host = connection.recv_bytes(_LONGEST_HELLO).decode().partition(" ")
        if not rank.isdigit() or not 0 < int(rank) < world_size:
            raise ConnectionRefusedError(f"there is no rank {rank!r} in a job of {world_size}")
        connection.send_bytes(me.host.encode())
    except (AuthenticationError, UnicodeDecodeError) as error:
        connection.close()
        raise ConnectionRefusedError(str(error)) from error
    except BaseException:
        connection.close()
        raise
    return Peer(Member(int(rank), host), connection)


def connect(connected: socket.socket, key: bytes, me: Member) -> Peer:
    """The other ranks' side. Raises as accept."""
    connection = Connection(connected.detach())
    try:
        answer_challenge(connection, key)
        deliver_challenge(connection, key)
        connection.send_bytes(f"{me.rank} {me.host}".encode())
        host = connection.recv_bytes(_LONGEST_HELLO).decode()
    except AuthenticationError as error:
        connection.close()
        raise ConnectionRefusedError(str(error)) from error
    except BaseException:
        connection.close()
        raise
    return Peer(Member(0, host), connection)
