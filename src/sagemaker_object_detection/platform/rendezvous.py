"""How the processes of a distributed job find each other."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from sagemaker_object_detection.platform.errors import JobError, PlatformError
from sagemaker_object_detection.platform.peer import BEAT, Member, Peer, accept, connect
from sagemaker_object_detection.platform.process_group import SILENCE_SECONDS, ProcessGroup

log = logging.getLogger(__name__)

JOIN_SECONDS = 900.0
TELL_EVERY_SECONDS = 10.0
_RETRY_SECONDS = 0.5
_CONNECT_SECONDS = 5.0


def join(
    members: Sequence[Member],
    rank: int,
    bind: str,
    port: int,
    key: bytes,
    on_failure: Callable[[JobError], None],
    patience: float = JOIN_SECONDS,
    silence: float = SILENCE_SECONDS,
    on_stop: Callable[[], None] = lambda: None,
) -> ProcessGroup:
    """Wait for all members of a job; each calls this with its own rank.

    Args:
        members: by rank. Rank 0 listens, the others connect to its host by name.
        bind: address of this machine on the network that the members share.
        port: rank 0's.
        key: what only members know.
        on_failure, silence, on_stop: see ProcessGroup.
        patience: seconds to wait.

    Raises:
        PlatformError: not all have come in time; names who is missing, or what is in the way.
    """
    if rank == 0:
        peers = _listen(members, bind, port, key, patience)
    else:
        peers = {0: _connect(members, rank, bind, port, key, patience)}
    group = ProcessGroup(members[rank], peers, on_failure, on_stop, silence, tells=True)
    group.barrier()
    return group


def _listen(
    members: Sequence[Member], bind: str, port: int, key: bytes, patience: float
) -> dict[int, Peer]:
    came: dict[int, Peer] = {}
    lock = threading.Lock()

    def greet(connected: socket.socket, address: object) -> None:
        try:
            peer = accept(connected, key, members)
        except (OSError, EOFError) as error:
            log.warning("A connection from %s is turned away: %s", address, error)
            return
        with lock:
            came[peer.member.rank] = peer

    waiting = _Patience(patience)
    with _serve(bind, port, len(members)) as server:
        server.settimeout(_RETRY_SECONDS)
        while len(came) < len(members) - 1:
            missing = [str(member) for member in members[1:] if member.rank not in came]
            waiting.tell(f"{', '.join(missing)} to connect to port {port}")
            try:
                connected, address = server.accept()
            except TimeoutError:
                continue
            _keep_alive(connected)
            threading.Thread(target=greet, args=(connected, address), daemon=True).start()
    for peer in came.values():
        with suppress(OSError):  # it has ended meanwhile, and the group will tell so
            peer.send(BEAT)
    return came


def _serve(bind: str, port: int, backlog: int) -> socket.socket:
    try:
        return socket.create_server((bind, port), backlog=backlog)
    except OSError as error:
        raise PlatformError(
            f"The hosts of the job cannot meet at port {port} of {bind}: {error.strerror}. Another "
            "job on this machine holds it; wait for its end, or stop it."
        ) from error


def _keep_alive(connected: socket.socket) -> None:
    """Blocking from now on; an end that is gone while nothing is sent is noticed in 30 s."""
    connected.settimeout(None)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("IDLE", 10), ("INTVL", 5), ("CNT", 4)):
        connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{option}"), value)


def _connect(
    members: Sequence[Member], rank: int, bind: str, port: int, key: bytes, patience: float
) -> Peer:
    waiting = _Patience(patience)
    while True:
        try:
            connected = socket.create_connection(
                (members[0].host, port), _CONNECT_SECONDS, source_address=(bind, 0)
            )
            _keep_alive(connected)
            peer = connect(connected, key, members[rank], members[0])
            log.info("Connected to %s; waiting until all %d are there.", members[0], len(members))
            while not peer.has_come(_RETRY_SECONDS):
                waiting.tell("the others to connect to it too")
            peer.receive()
            return peer
        except (OSError, EOFError) as error:
            reason = str(error) or type(error).__name__
        waiting.tell(f"{members[0]} at port {port} ({reason})")
        time.sleep(_RETRY_SECONDS)


class _Patience:
    """Says every ten seconds what is waited for, and has an end."""

    def __init__(self, seconds: float) -> None:
        self._began = self._told = time.monotonic()
        self._seconds = seconds

    def tell(self, what: str) -> None:
        """Raises PlatformError when the time is over."""
        now = time.monotonic()
        waited = now - self._began
        if waited > self._seconds:
            raise PlatformError(
                f"Waited {waited:.0f} s for {what}. Look into the logs of the other hosts, and "
                "whether the network lets them connect."
            )
        if now - self._told >= TELL_EVERY_SECONDS:
            self._told = now
            log.info("Waiting for %s, %.0f s so far.", what, waited)
