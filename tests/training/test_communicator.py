"""What processes tell each other, made of gather alone, and waiting with an end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

import mxnet as mx
import numpy as np
import pytest

from sagemaker_object_detection.platform.errors import AlgorithmError, JobError
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import (
    Communicator,
    average,
    connecting,
    gather_values,
    require_equal,
    spread,
    total,
)
from sagemaker_object_detection.training.data import HOST_RECORDS, find_shards
from sagemaker_object_detection.training.update import Update, agree
from tests.training.processes import InThreads, communicators, in_all, worlds

Arrays = dict[str, list[mx.nd.NDArray]]


def _arrays(rank: int, devices: int = 1) -> Arrays:
    """Values that differ by rank and device."""
    return {
        name: [mx.nd.full(shape, 10 * rank + d, ctx=mx.cpu(d)) for d in range(devices)]
        for name, shape in (("mean", (3,)), ("variance", (2, 2)))
    }


def _values(arrays: Arrays) -> list[list[float]]:
    return [[float(copy.mean().asscalar()) for copy in copies] for copies in arrays.values()]


def test_values_and_sums() -> None:
    made = communicators(worlds(3))
    assert (
        in_all(made, lambda c: gather_values(c, {"rank": c.world.rank}))
        == [[{"rank": 0}, {"rank": 1}, {"rank": 2}]] * 3
    )
    assert in_all(made, lambda c: total(c, [c.world.rank, 0.1])) == [[3.0, 0.1 + 0.1 + 0.1]] * 3
    assert total(Communicator(World()), [0.1, 1e300]) == [0.1, 1e300]


def test_the_average_is_over_processes_and_their_devices() -> None:
    def averaged(communicator: InThreads) -> list[list[float]]:
        arrays = _arrays(communicator.world.rank, devices=2)
        average(communicator, arrays)
        return _values(arrays)

    assert in_all(communicators(worlds(2)), averaged) == [[[5.5, 5.5], [5.5, 5.5]]] * 2


def test_averages_are_the_same_bits() -> None:
    def averaged(communicator: InThreads) -> bytes:
        random = np.random.default_rng(communicator.world.rank)
        arrays = {"mean": [mx.nd.array(random.normal(0, 1, 999))]}
        average(communicator, arrays)
        return bytes(arrays["mean"][0].asnumpy().tobytes())

    assert len(set(in_all(communicators(worlds(3)), averaged))) == 1


def test_the_main_processes_values_for_all() -> None:
    def spreaded(communicator: InThreads) -> list[list[float]]:
        arrays = _arrays(communicator.world.rank, devices=2)
        spread(communicator, arrays)
        return _values(arrays)

    assert in_all(communicators(worlds(2)), spreaded) == [[[0, 0], [0, 0]]] * 2


def test_a_network_without_batchnorm_has_nothing_to_average() -> None:
    average(Communicator(World()), {})
    spread(Communicator(World()), {})


def test_equal_weights_pass() -> None:
    in_all(communicators(worlds(2)), lambda c: require_equal(c, {"w": [mx.nd.ones(3)]}, "epoch 1"))


@pytest.mark.parametrize(
    ("device", "told"),
    [
        pytest.param(0, "the weights of rank 1 on algo-2 are not those", id="a process"),
        pytest.param(1, "the weights of rank 1 on algo-2 are not those", id="one of its devices"),
    ],
)
def test_one_that_differs_in_a_bit(device: int, told: str) -> None:
    """All processes say so."""

    def check(communicator: InThreads) -> str:
        copies = [mx.nd.ones(3, ctx=mx.cpu(d)) for d in range(2)]
        if communicator.world.rank == 1:
            copies[device][2] = np.nextafter(np.float32(1), np.float32(2))
        with pytest.raises(AlgorithmError) as error:
            require_equal(communicator, {"w": copies}, "epoch 1")
        return str(error.value)

    for message in in_all(communicators(worlds(2)), check):
        assert message.startswith("After epoch 1 ")
        assert told in message


def test_agreement() -> None:
    """An update is made while anybody has a batch, with the positives of all."""
    given = [
        (True, False, False, 4, [3.0, 2.0]),
        (False, False, False, 0, []),
        (True, False, False, 2, [7.0]),
    ]

    def told(communicator: InThreads) -> tuple[bool, bool, bool, int, float]:
        *ours, positives = given[communicator.world.rank]
        update = agree(communicator, Update(*ours, mx.nd.array([sum(positives)])))
        flags = (update.goes_on, update.stopped, update.line_due)
        return *flags, update.images, update.positives.asscalar()

    assert in_all(communicators(worlds(3)), told) == [(True, False, False, 6, 12.0)] * 3
    given[1] = (False, True, False, 0, [])
    assert in_all(communicators(worlds(3)), told) == [(True, True, False, 6, 12.0)] * 3
    given[1] = (False, False, True, 0, [])
    assert in_all(communicators(worlds(3)), told) == [(True, False, True, 6, 12.0)] * 3
    given[:] = [(False, False, False, 0, [])] * 3
    assert in_all(communicators(worlds(3)), told) == [(False, False, False, 0, 0.0)] * 3


@pytest.mark.parametrize("local_size", [1, 2])
def test_names_of_records_over_all_hosts(local_size: int) -> None:
    made = communicators(worlds(2, local_size))

    def named(communicator: InThreads) -> list[str]:
        host = communicator.world.host_rank

        def own(record: int) -> str:
            return f"host {host}, {record}"

        shards = find_shards(communicator, True, own, 3 + host)
        assert shards.start == host * HOST_RECORDS
        assert shards.several
        return [shards.name(own, 2), shards.name(own, HOST_RECORDS + 3)]

    assert in_all(made, named) == [["host 0, 2", "host 1, 3"]] * len(made)


def test_records_that_all_have() -> None:
    made = communicators(worlds(2))
    shards = in_all(made, lambda c: find_shards(c, False, str, 5))
    assert [(s.start, s.several, s.name(str, 4)) for s in shards] == [(0, False, "4")] * 2


def test_records_of_a_stream_on_another_host() -> None:
    made = communicators(worlds(2))
    shards = in_all(made, lambda c: find_shards(c, True, str, 0))
    assert shards[0].name(str, HOST_RECORDS + 8) == "record 8 on algo-2"


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
from tests.training.test_communicator import TWO, Recorder, connecting
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
