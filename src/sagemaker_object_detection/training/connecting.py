"""The moment in which the libraries connect a process to the others."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sagemaker_object_detection.platform.errors import PlatformError
from sagemaker_object_detection.platform.network import PORTS
from sagemaker_object_detection.platform.world import HOROVOD
from sagemaker_object_detection.training.communicator import Communicator

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
    what, ports = "kvstore", f"{PORTS[0]} to {PORTS[-1]}"
    if world.form == HOROVOD:
        what, ports = "Horovod", "any TCP port"
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
