"""The processes of a distributed job, tied together so that they live and end as one.

Rank 0 is the hub: all others are connected to it. Over these connections go small messages
(gather), signs of life, and the cause when somebody fails. Gradients go other ways.
"""

from __future__ import annotations

import queue
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from sagemaker_object_detection.platform.errors import PlatformError
from sagemaker_object_detection.platform.peer import ALL, BEAT, BYE, FAIL, PART, Member, Peer

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 20.0
TELL_SECONDS = 5.0


class ProcessGroup:
    """This process among all of a job's.

    Attributes:
        me: this process.
        world_size: how many there are.

    Args:
        peers: rank 0 has all others, the others have rank 0.
        on_failure: called once, in a thread of the group's, with the cause when any process fails,
            goes, or is silent for `silence` seconds. It is to end this process.
    """

    def __init__(
        self,
        me: Member,
        world_size: int,
        peers: Mapping[int, Peer],
        on_failure: Callable[[str], None],
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self.me = me
        self.world_size = world_size
        self._peers = peers
        self._on_failure = on_failure
        self._silence = silence
        self._failed = threading.Lock()
        self._closing = threading.Event()
        for peer in peers.values():
            threading.Thread(target=self._listen, args=(peer,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def gather(self, content: bytes) -> list[bytes]:
        """Every process's content, by rank, in every process; all have to call it as often.

        Waits for the slowest. Raises PlatformError when the group fails meanwhile, unless
        on_failure has ended the process before.
        """
        if self.me.rank:
            self._tell(self._peers[0], PART, content)
            return _unpack(self._next(self._peers[0]))
        parts = [content, *(self._next(self._peers[rank]) for rank in range(1, self.world_size))]
        packed = _pack(parts)
        for peer in self._peers.values():
            self._tell(peer, ALL, packed)
        return parts

    def barrier(self) -> None:
        """Wait until all processes have come here."""
        self.gather(b"")

    def fail(self, cause: str) -> None:
        """End the whole group: every process's on_failure hears who failed and why."""
        self._fail(f"{self.me}: {cause}")

    def close(self) -> None:
        """Leave in peace; from now on the others may leave as well."""
        self._closing.set()
        for peer in self._peers.values():
            try:
                peer.send(BYE)
            except OSError:  # it has left before
                continue

    def _tell(self, peer: Peer, kind: bytes, content: bytes) -> None:
        try:
            peer.send(kind, content)
        except OSError as error:
            self._fail(f"{peer.member} cannot be reached any more ({error}).")
            raise PlatformError(f"{peer.member} cannot be reached any more.") from error

    def _next(self, peer: Peer) -> bytes:
        """The peer's next message for gather."""
        while True:
            try:
                return peer.messages.get(timeout=BEAT_SECONDS)
            except queue.Empty:
                if self._failed.locked():
                    raise PlatformError("The group of processes has failed.") from None

    def _listen(self, peer: Peer) -> None:
        while True:
            try:
                kind, content = peer.receive()
            except (EOFError, OSError):
                if not peer.left and not self._closing.is_set():
                    self._fail(
                        f"{peer.member} is gone: its process has ended or its connection is broken."
                    )
                return
            if kind == FAIL:
                self._fail(content.decode())
            elif kind == BYE:
                peer.left = True
            elif kind != BEAT:
                peer.messages.put(content)

    def _beat(self) -> None:
        while not self._closing.wait(BEAT_SECONDS):
            for peer in self._peers.values():
                if peer.left:
                    continue
                silent = time.monotonic() - peer.heard
                if silent > self._silence:
                    self._fail(f"{peer.member} has given no sign of life for {silent:.0f} s.")
                    return
                try:
                    peer.send(BEAT)
                except OSError:
                    continue  # its own thread tells

    def _fail(self, cause: str) -> None:
        if not self._failed.acquire(blocking=False):
            return
        told = threading.Thread(target=self._tell_all, args=(cause,), daemon=True)
        told.start()
        told.join(TELL_SECONDS)  # a connection that is down would hold it for ever
        self._on_failure(cause)

    def _tell_all(self, cause: str) -> None:
        for peer in self._peers.values():
            try:
                peer.send(FAIL, cause.encode())
            except OSError:
                continue


def _pack(parts: Sequence[bytes]) -> bytes:
    lengths = struct.pack(f"<I{len(parts)}Q", len(parts), *map(len, parts))
    return b"".join([lengths, *parts])


def _unpack(packed: bytes) -> list[bytes]:
    (count,) = struct.unpack_from("<I", packed)
    lengths = struct.unpack_from(f"<{count}Q", packed, 4)
    parts, start = [], 4 + 8 * count
    for length in lengths:
        parts.append(packed[start : start + length])
        start += length
    return parts
