"""The group of a job's processes: messages, ends and failures, over real sockets."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from sagemaker_object_detection.platform import peer as peer_module
from sagemaker_object_detection.platform.errors import ClientError, JobError, PlatformError
from sagemaker_object_detection.platform.peer import Member
from sagemaker_object_detection.platform.process_group import Left, ProcessGroup
from sagemaker_object_detection.platform.rendezvous import join

LOCAL = "127.0.0.1"
KEY = b"job 7"


def _free_port() -> int:
    with socket.create_server((LOCAL, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _members(count: int) -> tuple[Member, ...]:
    return tuple(Member(rank, LOCAL) for rank in range(count))


class Job:
    """Ranks in threads of this process."""

    def __init__(self, size: int, silence: float = 20.0) -> None:
        self.failures: dict[int, list[JobError]] = {rank: [] for rank in range(size)}
        self.stopped = threading.Semaphore(0)
        self.failed = threading.Semaphore(0)
        port = _free_port()

        def start(rank: int) -> ProcessGroup:
            return join(
                _members(size),
                rank,
                LOCAL,
                port,
                KEY,
                self._hear(rank),
                20,
                silence=silence,
                on_stop=self.stopped.release,
            )

        with ThreadPoolExecutor(size) as pool:
            self.groups = list(pool.map(start, range(size)))

    def _hear(self, rank: int) -> Callable[[JobError], None]:
        def hear(cause: JobError) -> None:
            self.failures[rank].append(cause)
            self.failed.release()

        return hear

    def all_gather(self, contents: list[bytes]) -> list[list[bytes]]:
        with ThreadPoolExecutor(len(self.groups)) as pool:
            return list(pool.map(lambda g, c: g.gather(c), self.groups, contents))

    def wait_for_failures(self, count: int) -> None:
        for _ in range(count):
            assert self.failed.acquire(timeout=30)


@pytest.fixture
def started() -> Iterator[Callable[..., Job]]:
    jobs: list[Job] = []

    def start(*given: object, **options: object) -> Job:
        jobs.append(Job(*given, **options))  # type: ignore[arg-type]
        return jobs[-1]

    yield start
    for job in jobs:
        for group in job.groups:
            group.close()


@pytest.mark.parametrize("size", [2, 3, 8])
def test_gather(size: int, started: Callable[..., Job]) -> None:
    job = started(size)
    contents = [bytes([rank]) * (rank * 1000) for rank in range(size)]
    assert job.all_gather(contents) == [contents] * size
    assert job.all_gather([b""] * size) == [[b""] * size] * size


def test_large_messages(started: Callable[..., Job]) -> None:
    job = started(3)
    contents = [os.urandom(5_000_000) for _ in range(3)]
    assert job.all_gather(contents) == [contents] * 3


def test_the_slowest_is_waited_for(started: Callable[..., Job]) -> None:
    job = started(2)
    arrived: list[float] = []

    def first() -> None:
        job.groups[0].barrier()
        arrived.append(time.monotonic())

    thread = threading.Thread(target=first)
    thread.start()
    time.sleep(0.5)
    assert not arrived
    job.groups[1].barrier()
    thread.join(10)
    assert arrived


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_one_fails(failing: int, started: Callable[..., Job]) -> None:
    """All hear who and why, once."""
    job = started(3)
    job.groups[failing].fail(ClientError("no space left on device", "and a second fault"))
    job.wait_for_failures(3)
    for failures in job.failures.values():
        (error,) = failures
        assert isinstance(error, ClientError)
        assert error.faults == ("no space left on device", "and a second fault")


@pytest.mark.parametrize("asking", [0, 1, 2])
def test_one_asks_all_to_stop(asking: int, started: Callable[..., Job]) -> None:
    job = started(3)
    job.groups[asking].stop()
    for _ in range(2):
        assert job.stopped.acquire(timeout=30)
    assert not job.stopped.acquire(timeout=0.3)


def test_who_waits_is_freed(started: Callable[..., Job]) -> None:
    job = started(2)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.groups[0].barrier)
        job.groups[1].fail(PlatformError("broken"))
        with pytest.raises(PlatformError, match="group of processes has failed"):
            waiting.result(30)


def test_leaving_in_peace_is_no_failure(started: Callable[..., Job]) -> None:
    job = started(3)
    for group in job.groups[1:]:
        group.close()
    time.sleep(2.5)
    job.groups[0].close()
    assert not any(job.failures.values())


def test_who_notices_second_lets_the_first_tell(
    started: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken connection is noticed by its listener, and by who sends."""

    def broken(kind: bytes, content: bytes = b"") -> None:
        raise BrokenPipeError

    job = started(2)
    group = job.groups[1]
    monkeypatch.setattr(group._peers[0], "send", broken)
    assert group._failed.acquire(blocking=False)  # as the listener's thread
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(group.barrier)
        time.sleep(0.5)
        assert not sending.done()
        group._told.set()
        with pytest.raises(PlatformError, match="cannot be reached any more"):
            sending.result(10)


@pytest.mark.parametrize("waiting", [0, 1])
def test_one_that_has_left_is_not_waited_for(waiting: int, started: Callable[..., Job]) -> None:
    job = started(2)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(job.groups[waiting].barrier)
        job.groups[1 - waiting].close()
        with pytest.raises(Left, match=f"rank {1 - waiting} on {LOCAL} has ended"):
            future.result(30)
    assert not any(job.failures.values())


def test_one_that_takes_nothing_holds_up_no_sign_of_life(
    started: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub hangs in a message to the first; the second hears from it all the same."""
    job = started(3, silence=3.0)
    peer = job.groups[0]._peers[1]
    monkeypatch.setattr(peer, "beat", lambda: time.sleep(60))
    heard = job.groups[2]._peers[0]
    time.sleep(5)
    assert time.monotonic() - heard.heard < 3
    job.wait_for_failures(3)
    assert "no sign of life" in str(job.failures[1][0])


CHILD = """
import sys, time
from sagemaker_object_detection.platform.peer import Member
from sagemaker_object_detection.platform.rendezvous import join
rank, size, port = map(int, sys.argv[1:])
members = [Member(r, "127.0.0.1") for r in range(size)]
def end(cause):
    print(cause, flush=True)
    import os; os._exit(3)
group = join(members, rank, "127.0.0.1", port, b"job 7", end, 20, silence=4)
print("joined", flush=True)
for _ in range(10**9):
    group.barrier()
    time.sleep(0.01)
"""


@contextlib.contextmanager
def _processes(size: int) -> Iterator[list[subprocess.Popen[str]]]:
    port = _free_port()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(rank), str(size), str(port)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "joined\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("victim", [0, 1, 2])
@pytest.mark.parametrize(
    ("how", "told"),
    [
        pytest.param(signal.SIGKILL, "is gone", id="killed"),
        pytest.param(signal.SIGSTOP, "has given no sign of life for", id="hangs as a whole"),
    ],
)
def test_a_process_that_goes_ends_all(victim: int, how: signal.Signals, told: str) -> None:
    with _processes(3) as processes:
        processes[victim].send_signal(how)
        for rank, process in enumerate(processes):
            if rank != victim:
                output, _ = process.communicate(timeout=30)
                assert f"rank {victim} on {LOCAL} {told}" in output
                assert process.returncode == 3


def test_strangers_are_turned_away(caplog: pytest.LogCaptureFixture) -> None:
    """One without the key, one that says nothing, one of a rank that there is not."""
    port = _free_port()
    members = _members(2)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(join, members, 0, LOCAL, port, KEY, print, 20)
        with pytest.raises(PlatformError, match="Waited"):
            join(members, 1, LOCAL, port, b"another key", print, 2)
        silent = socket.create_connection((LOCAL, port))
        with pytest.raises(PlatformError, match="Waited"):
            join(_members(6), 5, LOCAL, port, KEY, print, 2)
        second = pool.submit(join, members, 1, LOCAL, port, KEY, print, 20)
        groups = [first.result(20), second.result(20)]
        silent.close()
    for group in groups:
        group.close()
    assert "is turned away" in caplog.text


@pytest.mark.parametrize(
    ("rank", "told"),
    [
        pytest.param(0, r"Waited \d s for rank 1 on 127.0.0.1, rank 2 on", id="the hub"),
        pytest.param(1, r"Waited \d s for rank 0 on 127.0.0.1 at port .*refused", id="another"),
    ],
)
def test_nobody_comes(rank: int, told: str) -> None:
    with pytest.raises(PlatformError, match=told):
        join(_members(3), rank, LOCAL, _free_port(), KEY, print, 1)


def test_a_port_that_is_taken() -> None:
    with socket.create_server((LOCAL, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PlatformError, match=f"cannot meet at port {port} of {LOCAL}: Address"):
            join(_members(2), 0, LOCAL, port, KEY, print, 1)


def test_a_port_where_nobody_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "ANSWER_SECONDS", 0.5)
    with socket.create_server((LOCAL, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PlatformError, match=r"Waited \d s for rank 0 .*\(it is silent\)"):
            join(_members(2), 1, LOCAL, port, KEY, print, 2)


def test_a_port_where_another_program_speaks() -> None:
    """It frames what it says as a peer would, and does not know the challenge."""

    def speak(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                Connection(server.accept()[0].detach()).send_bytes(b"who is there?")

    with socket.create_server((LOCAL, 0)) as server:
        threading.Thread(target=speak, args=(server,), daemon=True).start()
        port = server.getsockname()[1]
        with pytest.raises(PlatformError, match=r"Waited \d s for rank 0 .*who is there"):
            join(_members(2), 1, LOCAL, port, KEY, print, 2)


def test_one_that_goes_while_others_are_waited_for() -> None:
    """All the others hear who it was."""
    port = _free_port()
    told: list[JobError] = []
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(join, _members(3), 0, LOCAL, port, KEY, told.append, 20)
        command = [sys.executable, "-c", CHILD, "1", "3", str(port)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as second:
            time.sleep(2)
            second.kill()
        third = pool.submit(join, _members(3), 2, LOCAL, port, KEY, told.append, 20)
        for future in (first, third):
            with pytest.raises(PlatformError):
                future.result(40)
    assert [str(error) for error in told] == [
        f"rank 1 on {LOCAL} is gone: its process has ended or its connection is broken. Look into "
        "its log."
    ] * 2


def test_one_that_comes_late(caplog: pytest.LogCaptureFixture) -> None:
    port = _free_port()
    with ThreadPoolExecutor(2) as pool:
        second = pool.submit(join, _members(2), 1, LOCAL, port, KEY, print, 20)
        time.sleep(1.5)
        first = pool.submit(join, _members(2), 0, LOCAL, port, KEY, print, 20)
        groups = [first.result(20), second.result(20)]
    assert [str(group.me) for group in groups] == [f"rank 0 on {LOCAL}", f"rank 1 on {LOCAL}"]
    for group in groups:
        group.close()


class Evil:
    """Runs something where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("receiving", [0, 1])
def test_nothing_is_unpickled(receiving: int, started: Callable[..., Job], tmp_path: Path) -> None:
    """What comes over a connection can run nothing here."""
    groups = started(2).groups
    sent = pickle.dumps(Evil(tmp_path / "mark"))
    groups[1 - receiving]._peers[receiving]._connection.send_bytes(sent)
    assert groups[receiving]._peers[1 - receiving].messages.get(timeout=10) == sent[2:]
    assert not (tmp_path / "mark").exists()
    pickle.loads(sent)
    assert (tmp_path / "mark").exists()
