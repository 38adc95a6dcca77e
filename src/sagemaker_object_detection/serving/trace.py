"""What is known of one request, filled in on its way through the endpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

Stage = Literal["receive", "decode", "queue", "model", "encode"]

RECEIVED_HEADER = "X-Received-Seconds"
"""Set by nginx: how long the request took to arrive."""

STAGES: tuple[Stage, ...] = get_args(Stage)
"""In the order of a request: its arrival, from the first byte until a thread has the body, making
pixels of it, waiting for a turn at that and for the model, the model's run (of the whole batch),
the answer."""


@dataclass
class Trace:
    """The times of a request's stages, and what a log line tells besides.

    arrived: seconds since 1970. started: the same moment on the clock that durations are
    taken with, as all of these: seconds has those of the stages that were reached, total the
    whole once finish was called; it also counts what lies between the stages.
    body_bytes: length of the body, as declared until it is read. image_size: (width, height) in
    pixels as displayed. batch: images in the model's run. detections: those in the answer.
    error: what went wrong.
    """

    arrived: float = field(default_factory=time.time)
    started: float = field(default_factory=time.perf_counter)
    seconds: dict[Stage, float] = field(default_factory=dict)
    total: float | None = None
    body_bytes: int | None = None
    image_size: tuple[int, int] | None = None
    batch: int | None = None
    detections: int | None = None
    error: str | None = None

    @classmethod
    def begun(cls, seconds_ago: float) -> Trace:
        """That of a request whose first bytes came so long ago."""
        trace = cls(time.time() - seconds_ago, time.perf_counter() - seconds_ago)
        trace.seconds["receive"] = seconds_ago
        return trace

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Count the time of a block, however it ends, as that of a stage; blocks add up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: Stage, seconds: float) -> None:
        """Count so many seconds as a stage's."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def finish(self) -> None:
        """Set the total."""
        self.total = time.perf_counter() - self.started

    def milliseconds(self) -> dict[str, float]:
        """Of the stages that were reached, in their order, then of the total; rounded to 1 us."""
        known: dict[str, float] = {
            name: self.seconds[name] for name in STAGES if name in self.seconds
        }
        if self.total is not None:
            known["total"] = self.total
        return {name: round(1000 * seconds, 3) for name, seconds in known.items()}

    def server_timing(self) -> str:
        """The value of a Server-Timing header (https://www.w3.org/TR/server-timing/)."""
        return ", ".join(f"{name};dur={ms:.3f}" for name, ms in self.milliseconds().items())
