"""The process of a host that starts those which train, watches them, and ends them all.

It loads no numerical library, so that it is there when a process of its host is killed, hangs or
runs out of memory, and can say so to all hosts. The workers of a host are a group whose hub it is;
what they gather, it gathers from all hosts.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from sagemaker_object_detection.platform.child import Child
from sagemaker_object_detection.platform.errors import JobError, PlatformError
from sagemaker_object_detection.platform.peer import Member, Peer
from sagemaker_object_detection.platform.process_group import (
    Gone,
    Left,
    ProcessGroup,
    pack,
    unpack,
)
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.platform.world import World

log = logging.getLogger(__name__)

FOLLOWED = 75
"""Exit code of a worker that ended because another process had failed."""

BEGIN = b"begin"
"""What all workers gather when they are connected and ready to train."""

WORKER_SILENCE_SECONDS = 40.0
HELPER_SILENCE_SECONDS = 20.0
STOP_SECONDS = 100.0
_POLL_SECONDS = 0.1
_EXIT_SECONDS = 2.0


class Supervisor:
    """Starts the workers of this host and its helpers, and watches them.

    Args:
        world: of the first worker here.
        stop: asked all the time.
    """

    def __init__(self, world: World, stop: StopRequest) -> None:
        self._world = world
        self._stop = stop
        self._failure: JobError | None = None
        self._failed = threading.Event()
        self._hosts: ProcessGroup | None = None
        self._helpers: list[Child] = []
        self._workers: list[Child] = []
        self._stop_told = threading.Event()
        self._begun = False
        self._stood_still: dict[Child, float] = {}

    def on_failure(self, error: JobError) -> None:
        """What the group of the hosts is to call when it fails."""
        self._failure = error
        self._failed.set()

    def stopping(self) -> bool:
        """Whether this host or another was asked to stop."""
        return self._stop.requested() or self._stop_told.is_set()

    def told(self) -> JobError | None:
        """What on_failure was called with; None where it is not within a moment."""
        self._failed.wait(_EXIT_SECONDS)
        return self._failure

    def on_stop(self) -> None:
        """What the group of the hosts is to call when another host is asked to stop."""
        log.warning("Another host was asked to stop: training ends at the next batch.")
        self._stop_told.set()

    def add_helper(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start a process that has to be there as long as the workers are.

        Args:
            command: behind it comes this process's number.
        """
        name = f"{name} on {self._world.hosts[self._world.host_rank]}"
        self._helpers.append(Child.start(name, [*command, str(os.getpid())], environ))

    def run(
        self, hosts: ProcessGroup, command: Sequence[str], environs: Sequence[Mapping[str, str]]
    ) -> None:
        """Start the workers and wait until all have ended well, or were stopped.

        Args:
            hosts: the group that calls on_failure and on_stop.
            command: of a worker; behind it come its World, the descriptor of its connection and
                this process's number.
            environs: of each worker.

        Raises:
            JobError: what failed first, on whichever host.
        """
        self._hosts = hosts
        self._stop.training = True
        local = self._start_workers(command, environs)
        threading.Thread(target=self._relay, args=(local,), daemon=True).start()
        self._watch(hosts)
        hosts.close()

    def end_children(self) -> None:
        """Kill whatever still runs; nothing is left when it returns."""
        for child in (*self._workers, *self._helpers):
            child.kill()
        for child in (*self._workers, *self._helpers):
            child.process.wait()

    def _start_workers(
        self, command: Sequence[str], environs: Sequence[Mapping[str, str]]
    ) -> ProcessGroup:
        peers = {}
        for index, environ in enumerate(environs):
            world = replace(self._world, rank=self._world.rank + index)
            ours, theirs = socket.socketpair()
            with theirs:
                given = [*command, world.as_json(), str(theirs.fileno()), str(os.getpid())]
                self._workers.append(Child.start(str(world), given, environ, theirs.fileno()))
            member = Member(index + 1, world.hosts[world.host_rank], str(world))
            peers[index + 1] = Peer(member, Connection(ours.detach()))
        me = Member(0, self._world.hosts[self._world.host_rank])
        return ProcessGroup(me, peers, self._local_failure, silence=WORKER_SILENCE_SECONDS)

    def _relay(self, local: ProcessGroup) -> None:
        """What the workers of all hosts gather, in the order of their ranks."""
        assert self._hosts is not None
        with suppress(PlatformError):  # one of the groups has failed, and says so itself
            while True:
                waited_for = not self._begun  # later a worker may leave when it is done
                try:
                    ours = pack(local.collect())
                    waited_for = True
                    packed = self._hosts.gather(ours)
                except Left as left:
                    if waited_for:
                        local.fail(left)
                    return
                parts = [part for parts in packed for part in unpack(parts)]
                self._begun = self._begun or parts[0] == BEGIN
                local.answer(parts)

    def _local_failure(self, error: JobError) -> None:
        """A worker has failed or is gone: of the latter its end tells more.

        Who was asked to stop may leave, and the others need not tell that they miss it. Before
        training has begun they may miss it in any way: Gloo, connecting, ends a process by SIGABRT.
        """
        assert self._hosts is not None
        if isinstance(error, Gone):
            error = self._ended(_EXIT_SECONDS) or error
        missed = isinstance(error, Gone | Left) or not self._begun
        if not (self.stopping() and missed):
            self._hosts.fail(error)

    def _ended(self, patience: float = 0.0) -> PlatformError | None:
        """Of a child that has ended and should not have."""
        until = time.monotonic() + patience
        while True:
            for child in self._workers:
                code = child.process.poll()
                if code not in (None, FOLLOWED) and not self._in_peace(code):
                    return child.end
            if not self._all_done():
                for child in self._helpers:
                    if child.end:
                        return child.end
                    if self._hangs(child):
                        return PlatformError(f"{child.name} has been stopped, and was not let go.")
            if time.monotonic() >= until:
                return None
            time.sleep(_POLL_SECONDS)

    def _hangs(self, helper: Child) -> bool:
        """Whether a helper has stood still for too long; workers give signs of life themselves."""
        now = time.monotonic()
        if not helper.stands_still():
            self._stood_still.pop(helper, None)
            return False
        return now - self._stood_still.setdefault(helper, now) > HELPER_SILENCE_SECONDS

    def _all_done(self) -> bool:
        return all(self._in_peace(worker.process.poll()) for worker in self._workers)

    def _in_peace(self, code: int | None) -> bool:
        """Whether a worker's exit code is a good end: see _local_failure. None: it goes on."""
        if code is None or code == 0:
            return code == 0
        return self.stopping() and (code == FOLLOWED or not self._begun)

    def _watch(self, hosts: ProcessGroup) -> None:
        stopping: float | None = None
        while not self._all_done():
            if self._failed.wait(_POLL_SECONDS) and self._failure is not None:
                raise self._failure
            if stopping is None and self.stopping():
                stopping = time.monotonic()
                if self._stop.requested():
                    hosts.stop()
                for worker in self._workers:
                    worker.process.terminate()
            if stopping is not None and time.monotonic() - stopping > STOP_SECONDS:
                log.warning("Not all processes have stopped within %.0f s.", STOP_SECONDS)
                return
            ended = self._ended()
            if ended is not None:
                self._local_failure(ended)
