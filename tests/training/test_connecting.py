"""Waiting for other processes inside a library, with an end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

from sagemaker_object_detection.platform.errors import JobError
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import connecting


@dataclass(frozen=True)
class Recorder:
    world: World
    failures: list[str] = field(default_factory=list)

    def gather(self, content: bytes) -> list[bytes]:
        raise NotImplementedError

    def fail(self, error: JobError) -> None:
        self.failures.append(str(error))


TWO = World("kvstore", ("algo-1", "algo-2"), 1, 0)


def test_who_waits_too_long_fails_for_all() -> None:
    recorder = Recorder(TWO)
    with connecting(recorder, 0.1):
        time.sleep(0.5)
    (told,) = recorder.failures
    assert "kvstore has not connected to the other processes within 0 s" in told
    assert "29400 to 29499" in told


def test_in_time() -> None:
    recorder = Recorder(TWO)
    before = signal.getsignal(signal.SIGTERM)
    with connecting(recorder, 0.3):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    time.sleep(0.5)
    assert recorder.failures == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_one_alone_waits_for_nobody() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with connecting(Recorder(World()), 0.1):
        assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_inside_native_code() -> None:
    """A mutex that is never free, in C: no handler of Python's would run."""
    program = """
import ctypes
from sagemaker_object_detection.platform.stop_request import StopRequest
from tests.training.test_connecting import TWO, Recorder, connecting
StopRequest().install()
mutex, c = ctypes.create_string_buffer(64), ctypes.CDLL(None)
c.pthread_mutex_lock(mutex)
with connecting(Recorder(TWO)):
    print("waiting", flush=True)
    c.pthread_mutex_lock(mutex)
"""
    command = [sys.executable, "-c", program]
    environ = {**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waiting\n"
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
