"""What the processes of a training tell each other, beside gradients: gather, and what it makes.

Its messages pass through the supervisors, so that it works alike with every way of exchanging
gradients (training.optimizer).
"""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import mxnet as mx
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.platform.errors import AlgorithmError, JobError, PlatformError
from sagemaker_object_detection.platform.failure_message import by
from sagemaker_object_detection.platform.network import PORTS
from sagemaker_object_detection.platform.process_group import ProcessGroup
from sagemaker_object_detection.platform.world import HOROVOD, World


@dataclass(frozen=True)
class Communicator:
    """A process's way to the others.

    Attributes:
        world: who they are, and which of them it is.
        group: to the others; None for a process alone.
    """

    world: World
    group: ProcessGroup | None = None

    def gather(self, content: bytes) -> list[bytes]:
        """Every process's content, by rank, in every process; waits for the slowest.

        Raises PlatformError when one of them fails meanwhile.
        """
        return [content] if self.group is None else self.group.gather(content)

    def fail(self, error: JobError) -> None:
        """End all processes, from any thread; one alone has nobody to tell."""
        if self.group is not None:
            self.group.fail(by(self.world, error))


def gather_values(communicator: Communicator, value: Any) -> list[Any]:
    """A JSON value of every process, by rank."""
    return [json.loads(part) for part in communicator.gather(json.dumps(value).encode())]


def total(communicator: Communicator, values: Sequence[float]) -> list[float]:
    """The sums of all processes' values, place by place."""
    rows = gather_values(communicator, list(values))
    return [float(sum(column)) for column in zip(*rows, strict=True)]


def average(communicator: Communicator, arrays: Mapping[str, Sequence[mx.nd.NDArray]]) -> None:
    """Give all processes the mean of all their arrays, in float32, to the last bit the same.

    The arrays of a name are one value on several devices of this process, which are averaged as
    well. A network without BatchNorm has none.
    """
    if not arrays:
        return
    mx.nd.waitall()
    ours = [np.mean([copy.asnumpy() for copy in copies], axis=0) for copies in arrays.values()]
    packed = np.concatenate([values.ravel() for values in ours]).astype(np.float32).tobytes()
    parts = [np.frombuffer(part, np.float32) for part in communicator.gather(packed)]
    _put(arrays, np.mean(parts, axis=0, dtype=np.float64).astype(np.float32))


def spread(communicator: Communicator, arrays: Mapping[str, Sequence[mx.nd.NDArray]]) -> None:
    """Give all processes, on all their devices, the arrays of the main process."""
    if not arrays:
        return
    mx.nd.waitall()
    packed = b""
    if communicator.world.is_main:
        values = [copies[0].asnumpy().ravel() for copies in arrays.values()]
        packed = np.concatenate(values).astype(np.float32).tobytes()
    _put(arrays, np.frombuffer(communicator.gather(packed)[0], np.float32))


def require_equal(
    communicator: Communicator, arrays: Mapping[str, Sequence[mx.nd.NDArray]], when: str
) -> None:
    """Check that all processes, on all their devices, hold the same values.

    Raises AlgorithmError in every process: which of them differ from the first.
    """
    mx.nd.waitall()
    devices = max(len(copies) for copies in arrays.values())
    ours = [_digest(arrays, device) for device in range(devices)]
    digests = gather_values(communicator, ours)
    world = communicator.world
    first = digests[0][0]
    names = [str(replace(world, rank=rank)) for rank in range(world.size)]
    other = [name for name, ours in zip(names, digests, strict=True) if set(ours) != {first}]
    if other:
        raise AlgorithmError(
            f"After {when} the weights of {', '.join(other)} are not those of {names[0]}: "
            "gradients got lost on the way. Start the job again; with checkpoints it goes on where "
            "they were equal."
        )


def _digest(arrays: Mapping[str, Sequence[mx.nd.NDArray]], device: int) -> str:
    digest = hashlib.sha256()
    for name, copies in sorted(arrays.items()):
        digest.update(name.encode())
        digest.update(copies[min(device, len(copies) - 1)].asnumpy().tobytes())
    return digest.hexdigest()


def _put(arrays: Mapping[str, Sequence[mx.nd.NDArray]], values: NDArray[Any]) -> None:
    start = 0
    for copies in arrays.values():
        size = copies[0].size
        value = values[start : start + size].reshape(copies[0].shape)
        for copy in copies:
            copy[:] = value
        start += size


CONNECT_SECONDS = 90.0


@contextmanager
def connecting(communicator: Communicator, seconds: float = CONNECT_SECONDS) -> Iterator[None]:
    """Around calls of MXNet's kvstore or Horovod that wait for all processes, if need be for ever.

    They wait inside native code, where Python sees no signal: SIGTERM ends the process at once,
    which its supervisor takes for what it is. After so many seconds the whole job fails.
    """
    world = communicator.world
    if world.size == 1:
        yield
        return
    horovod = "Horovod", "any TCP port"
    what, ports = horovod if world.form == HOROVOD else ("kvstore", f"{PORTS[0]} to {PORTS[-1]}")
    error = PlatformError(
        f"{what} has not connected to the other processes within {seconds:.0f} s. Let the hosts of "
        f"the job reach each other at {ports} (security groups, firewalls)."
    )
    timer = threading.Timer(seconds, communicator.fail, [error])
    timer.daemon = True
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)
