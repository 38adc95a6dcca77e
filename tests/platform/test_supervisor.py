"""A host's supervisor, over real processes that stand for workers and helpers."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sagemaker_object_detection.platform import supervisor as module
from sagemaker_object_detection.platform.errors import ClientError, JobError, PlatformError
from sagemaker_object_detection.platform.peer import Member
from sagemaker_object_detection.platform.process_group import ProcessGroup
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.platform.supervisor import Supervisor
from sagemaker_object_detection.platform.world import World

PROGRAM = """
import os, signal, sys, time
from multiprocessing.connection import Connection
from pathlib import Path
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.orphans import end_with_parent
from sagemaker_object_detection.platform.peer import Member, Peer
from sagemaker_object_detection.platform.process_group import ProcessGroup
from sagemaker_object_detection.platform.supervisor import BEGIN, FOLLOWED
from sagemaker_object_detection.platform.world import World
world = World.from_json(sys.argv[1])
end_with_parent(int(sys.argv[3]))
peer = Peer(Member(0, "algo-1", "the supervisor"), Connection(int(sys.argv[2])))
me = Member(world.local_rank + 1, "algo-1")
group = ProcessGroup(me, {0: peer}, lambda error: os._exit(FOLLOWED))
here = Path(os.environ["HERE"])
def end(code=0):
    group.close()
    os._exit(code)
def begin():
    group.gather(BEGIN)
"""

GATHERS = """
begin()
parts = group.gather(f"from {world.rank}".encode())
(here / f"told-{world.rank}").write_bytes(b", ".join(parts))
end()
"""
CONNECTS = """
(here / f"there-{world.rank}").touch()
while True:
    group.barrier()
    time.sleep(0.02)
"""
WAITS = "\nbegin()\n" + CONNECTS
SECOND_FAILS = (
    """
if world.rank == 1:
    group.fail(ClientError("class_id 9", "class_id 10"))
    time.sleep(60)
"""
    + WAITS
)
SECOND_ENDS = (
    """
if world.rank == 1:
    os._exit(5)
"""
    + WAITS
)
SECOND_ABORTS_AT_TERM = (
    "signal.signal(signal.SIGTERM, lambda *_: os.abort() if world.rank == 1 else None)\n"
)
UNTIL_TERM = """
begin()
signal.signal(signal.SIGTERM, lambda *_: end())
(here / f"there-{world.rank}").touch()
time.sleep(60)
"""
HELPER = "import time; time.sleep(60)"


class Run:
    """A supervisor in a thread, as the only host."""

    def __init__(self, here: Path, program: str, helper: str = "") -> None:
        self.here = here
        self.stop = StopRequest()
        self.world = World("horovod", ("algo-1",), 2, 0)
        self.supervisor = Supervisor(self.world, self.stop)
        self.error: BaseException | None = None
        environ = {**os.environ, "HERE": str(here)}
        if helper:
            self.supervisor.add_helper("the helper", [sys.executable, "-c", helper], environ)
        group = ProcessGroup(
            Member(0, "algo-1"), {}, self.supervisor.on_failure, self.supervisor.on_stop
        )
        self._given = group, [sys.executable, "-c", PROGRAM + program], [environ, environ]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.supervisor.run(*self._given)
        except JobError as error:
            self.error = error
        finally:
            self.supervisor.end_children()

    def wait(self, seconds: float = 30) -> BaseException | None:
        self._thread.join(seconds)
        assert not self._thread.is_alive()
        children = (*self.supervisor._workers, *self.supervisor._helpers)
        assert all(child.process.poll() is not None for child in children)
        return self.error

    def until_there(self) -> None:
        until = time.monotonic() + 30
        while not all((self.here / f"there-{rank}").exists() for rank in range(2)):
            assert time.monotonic() < until
            time.sleep(0.02)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(program: str, helper: str = "") -> Run:
        runs.append(Run(tmp_path, program, helper))
        return runs[-1]

    yield start
    for started in runs:
        started.supervisor.end_children()


def test_workers_gather_by_rank_and_end(run: Callable[..., Run], tmp_path: Path) -> None:
    assert run(GATHERS, HELPER).wait() is None
    for rank in range(2):
        assert (tmp_path / f"told-{rank}").read_text() == "from 0, from 1"


@pytest.mark.parametrize(
    ("program", "kind", "told"),
    [
        pytest.param(SECOND_FAILS, ClientError, r"\[1/2\] class_id 9", id="a worker tells"),
        pytest.param(
            SECOND_ENDS,
            PlatformError,
            "rank 1 on algo-1 ended with exit code 5. Look into its log.",
            id="a worker ends without a word",
        ),
    ],
)
def test_a_worker_fails(
    program: str, kind: type[JobError], told: str, run: Callable[..., Run]
) -> None:
    error = run(program).wait()
    assert isinstance(error, kind)
    with pytest.raises(kind, match=told):
        raise error


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_is_killed(victim: int, run: Callable[..., Run]) -> None:
    started = run(WAITS)
    started.until_there()
    started.supervisor._workers[victim].process.kill()
    told = str(started.wait())
    assert f"rank {victim} on algo-1 was ended by signal 9 (SIGKILL)" in told
    assert "ran out of memory" in told


def test_a_helper_ends(run: Callable[..., Run]) -> None:
    started = run(WAITS, HELPER)
    started.until_there()
    started.supervisor._helpers[0].process.terminate()
    assert "the helper on algo-1 was ended by signal 15 (SIGTERM)" in str(started.wait())


def test_a_helper_is_stopped(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELPER_SILENCE_SECONDS", 1.0)
    started = run(WAITS, HELPER)
    started.until_there()
    started.supervisor._helpers[0].process.send_signal(signal.SIGSTOP)
    assert "the helper on algo-1 has been stopped" in str(started.wait())


def test_a_worker_that_is_stopped_before_it_can_hear(run: Callable[..., Run]) -> None:
    """The signal ends one; the other, which waits for it, is let go: nothing has failed."""
    started = run(
        "if world.rank == 1:\n    signal.signal(signal.SIGTERM, lambda *_: None)" + CONNECTS
    )
    started.until_there()
    started.stop._handle(signal.SIGTERM, None)
    begun = time.monotonic()
    assert started.wait() is None
    assert time.monotonic() - begun < 10


def test_what_a_worker_has_started_ends_with_it(run: Callable[..., Run], tmp_path: Path) -> None:
    child = "import subprocess\nchild = subprocess.Popen(['sleep', '61.5'])\n"
    started = run(child + "(here / f'child-{world.rank}').write_text(str(child.pid))" + WAITS)
    started.until_there()
    children = [int((tmp_path / f"child-{rank}").read_text()) for rank in range(2)]
    started.supervisor._workers[0].process.kill()
    assert started.wait() is not None
    for number in children:
        stat = Path(f"/proc/{number}/stat")
        until = time.monotonic() + 5
        while stat.exists() and stat.read_text().split()[2] != "Z":
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_worker_hangs(run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORKER_SILENCE_SECONDS", 3.0)
    started = run(WAITS)
    started.until_there()
    started.supervisor._workers[1].process.send_signal(signal.SIGSTOP)
    assert "rank 1 on algo-1 has given no sign of life" in str(started.wait())


@pytest.mark.parametrize("how", ["a signal", "another host"])
def test_stop(how: str, run: Callable[..., Run]) -> None:
    started = run(UNTIL_TERM)
    started.until_there()
    if how == "a signal":
        started.stop._handle(signal.SIGTERM, None)
    else:
        started.supervisor.on_stop()
    assert started.wait() is None


def test_a_worker_that_aborts_when_it_is_to_stop(run: Callable[..., Run]) -> None:
    """While Gloo connects processes end so when one of them leaves; later it is a failure."""
    started = run(SECOND_ABORTS_AT_TERM + CONNECTS)
    started.until_there()
    started.stop._handle(signal.SIGTERM, None)
    assert started.wait() is None


def test_a_worker_that_aborts_when_training_has_begun(run: Callable[..., Run]) -> None:
    started = run(SECOND_ABORTS_AT_TERM + WAITS)
    started.until_there()
    started.stop._handle(signal.SIGTERM, None)
    assert "rank 1 on algo-1 was ended by signal 6 (SIGABRT)" in str(started.wait())


def test_a_worker_that_leaves_before_all_have_begun(run: Callable[..., Run]) -> None:
    started = run("if world.rank == 1:\n    end()\n" + WAITS)
    assert "rank 1 on algo-1 has ended, and was to go on." in str(started.wait())


def test_workers_that_do_not_stop(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 1.0)
    started = run("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITS)
    started.until_there()
    started.stop._handle(signal.SIGTERM, None)
    assert started.wait() is None
    assert "Not all processes have stopped within 1 s" in caplog.text
