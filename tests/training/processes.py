"""Several processes of a training as threads of this one, for what they tell each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sagemaker_object_detection.platform.errors import JobError
from sagemaker_object_detection.platform.world import World


@dataclass(frozen=True)
class InThreads:
    """One of several communicators that share their messages."""

    world: World
    messages: list[bytes]
    barrier: threading.Barrier

    def gather(self, content: bytes) -> list[bytes]:
        self.messages[self.world.rank] = content
        self.barrier.wait(60)
        answer = list(self.messages)
        self.barrier.wait(60)
        return answer

    def fail(self, error: JobError) -> None:
        self.barrier.abort()


def communicators(worlds: Sequence[World]) -> list[InThreads]:
    """One for each world, by rank."""
    messages, barrier = [b""] * len(worlds), threading.Barrier(len(worlds))
    return [InThreads(world, messages, barrier) for world in worlds]


def worlds(hosts: int, local_size: int = 1) -> list[World]:
    """Of all processes on so many hosts."""
    names = tuple(f"algo-{number + 1}" for number in range(hosts))
    ranks = range(hosts * local_size)
    return [World("kvstore", names, local_size, rank) for rank in ranks]


def in_all(made: Sequence[InThreads], do: Callable[[InThreads], Any]) -> list[Any]:
    """What every process's call gives, by rank; raises what one of them raised."""
    with ThreadPoolExecutor(len(made)) as pool:
        return list(pool.map(do, made))
