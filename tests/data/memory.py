"""Memory that a call takes, as the interpreter counts it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def measured(call: Callable[[], Result]) -> tuple[Result, int, int]:
    """What the call gives, the bytes that it leaves behind, and the most it took on the way.

    What is left to the tables of pathlib does not count: they grow by leaps and belong to all. So
    that they do not count on the way either, the least of three calls is taken.
    """
    peaks = []
    for _ in range(3):
        tracemalloc.start()
        try:
            result = call()
            peaks.append(tracemalloc.get_traced_memory()[1])
            snapshot = tracemalloc.take_snapshot()
        finally:
            tracemalloc.stop()
    kept = snapshot.filter_traces([tracemalloc.Filter(False, "*/pathlib.py")])
    return result, sum(trace.size for trace in kept.traces), min(peaks)
