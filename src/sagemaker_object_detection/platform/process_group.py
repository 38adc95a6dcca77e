"""Processes of a distributed job, tied together so that they live and end as one.

Rank 0 is the hub: all others are connected to it. Over these connections go small messages
(gather), signs of life, the wish to stop, and the cause when somebody fails. Gradients go other
ways. The hosts of a job are such a group, and on each host its supervisor and its workers are one.
"""

from __future__ import annotations

import logging
import queue
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from sagemaker_object_detection.platform.errors import JobError, PlatformError
from sagemaker_object_detection.platform.failure_message import decode, encode
from sagemaker_object_detection.platform.peer import ALL, BEAT, BYE, FAIL, PART, STOP, Member, Peer

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 20.0
TELL_SECONDS = 5.0
SLOW_SECONDS = 60.0


class Gone(PlatformError):
    """A process of the group that is silent or cannot be reached."""


class Left(PlatformError):
    """A process that has left in peace is waited for."""


class ProcessGroup:
    """This process among those of a group.

    Attributes:
        me: this process.

    Args:
        peers: rank 0 has all others, the others have rank 0.
        on_failure: called once, in a thread of the group's, when any process fails, goes, or is
            silent for `silence` seconds. It is to end this process.
        on_stop: called, in a thread of the group's, when another asks all to stop.
        tells: whether the hub says in the log for whom it waits long.
    """

    def __init__(
        self,
        me: Member,
        peers: Mapping[int, Peer],
        on_failure: Callable[[JobError], None],
        on_stop: Callable[[], None] = lambda: None,
        silence: float = SILENCE_SECONDS,
        tells: bool = False,
    ) -> None:
        self.me = me
        self._peers = peers
        self._on_failure = on_failure
        self._on_stop = on_stop
        self._silence = silence
        self._tells = tells
        self._failed = threading.Lock()
        self._told = threading.Event()
        self._closing = threading.Event()
        for peer in peers.values():
            for target in (self._listen, self._beat, self._watch):
                threading.Thread(target=target, args=(peer,), daemon=True).start()

    def gather(self, content: bytes) -> list[bytes]:
        """Every process's content, by rank, in every process; all have to call it as often.

        Waits for the slowest.

        Raises:
            Left: one of them, or for the others the hub, has left in peace and will not come.
            PlatformError: the group has failed meanwhile, and on_failure did not end the process.
        """
        if self.me.rank:
            self._tell(self._peers[0], PART, content)
            return unpack(self._next(self._peers[0]))
        parts = [content, *self.collect()]
        self.answer(parts)
        return parts

    def collect(self) -> list[bytes]:
        """The hub's half of gather: what the others have given to it, by rank. Raises as gather."""
        return [self._next(self._peers[rank]) for rank in sorted(self._peers)]

    def answer(self, parts: Sequence[bytes]) -> None:
        """The hub's other half: what gather returns to the others. Raises as gather."""
        packed = pack(parts)
        for peer in self._peers.values():
            self._tell(peer, ALL, packed)

    def barrier(self) -> None:
        """Wait until all processes have come here."""
        self.gather(b"")

    def fail(self, error: JobError) -> None:
        """End the whole group: every process's on_failure hears of it."""
        self._fail(error)

    def stop(self) -> None:
        """Ask all the others to stop; it is passed on by the hub."""
        self._pass_on(STOP, b"", None)

    def close(self) -> None:
        """Leave in peace; from now on the others may leave as well."""
        self._closing.set()
        self._pass_on(BYE, b"", None)

    def _tell(self, peer: Peer, kind: bytes, content: bytes) -> None:
        try:
            peer.send(kind, content)
        except OSError as error:
            gone = Gone(f"{peer.member} cannot be reached any more ({error}).")
            self._fail(gone)
            self._wait_told()
            raise gone from error

    def _next(self, peer: Peer) -> bytes:
        """The peer's next message for gather."""
        asked = told = time.monotonic()
        while True:
            try:
                return peer.messages.get(timeout=BEAT_SECONDS)
            except queue.Empty:
                if self._failed.locked():
                    self._wait_told()
                    raise PlatformError("The group of processes has failed.") from None
                if peer.left and peer.messages.empty():
                    raise Left(f"{peer.member} has ended, and was to go on.") from None
            now = time.monotonic()
            if self._tells and self.me.rank == 0 and now - told > SLOW_SECONDS:
                told = now
                log.info("Waiting for %s, %.0f s so far.", peer.member, now - asked)

    def _listen(self, peer: Peer) -> None:
        while True:
            try:
                kind, content = peer.receive()
            except (EOFError, OSError):
                if not peer.left and not self._closing.is_set():
                    self._fail(
                        Gone(
                            f"{peer.member} is gone: its process has ended or its connection is "
                            "broken. Look into its log."
                        )
                    )
                return
            if kind == FAIL:
                self._fail(decode(content))
            elif kind == STOP:
                self._pass_on(STOP, b"", peer)
                self._on_stop()
            elif kind == BYE:
                peer.left = True
            elif kind != BEAT:
                peer.messages.put(content)

    def _beat(self, peer: Peer) -> None:
        """A thread for each peer: one that takes nothing holds up only its own."""
        while not self._closing.wait(BEAT_SECONDS) and not peer.left:
            with suppress(OSError):  # its listener tells
                peer.beat()

    def _watch(self, peer: Peer) -> None:
        before = time.monotonic()
        while not self._closing.wait(BEAT_SECONDS) and not peer.left:
            now = time.monotonic()
            stood_still, before = now - before - BEAT_SECONDS, now
            # What this process slept through itself is nobody's silence.
            peer.heard += max(0.0, stood_still - BEAT_SECONDS)
            silent = now - peer.heard
            if silent > self._silence:
                self._fail(
                    Gone(
                        f"{peer.member} has given no sign of life for {silent:.0f} s: it hangs "
                        "or its network is down. Look into its log."
                    )
                )
                return

    def _fail(self, error: JobError) -> None:
        if not self._failed.acquire(blocking=False):
            return
        self._pass_on(FAIL, encode(error), None)
        self._on_failure(error)
        self._told.set()

    def _wait_told(self) -> None:
        """Let the thread that noticed the failure first tell of it: it may end this process."""
        self._told.wait(2 * TELL_SECONDS)

    def _pass_on(self, kind: bytes, content: bytes, source: Peer | None) -> None:
        """To all but the one it came from; waits TELL_SECONDS at most.

        Each in a thread of its own: a connection that is down would hold up the others.
        """

        def tell(peer: Peer) -> None:
            with suppress(OSError):  # it has left before
                peer.send(kind, content)

        others = [peer for peer in self._peers.values() if peer is not source]
        threads = [threading.Thread(target=tell, args=(peer,), daemon=True) for peer in others]
        for thread in threads:
            thread.start()
        until = time.monotonic() + TELL_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def pack(parts: Sequence[bytes]) -> bytes:
    """Several contents as one."""
    lengths = struct.pack(f"<I{len(parts)}Q", len(parts), *map(len, parts))
    return b"".join([lengths, *parts])


def unpack(packed: bytes) -> list[bytes]:
    """What pack was given."""
    (count,) = struct.unpack_from("<I", packed)
    lengths = struct.unpack_from(f"<{count}Q", packed, 4)
    parts, start = [], 4 + 8 * count
    for length in lengths:
        parts.append(packed[start : start + length])
        start += length
    return parts
