"""Progress of long work: a bar on a terminal, elsewhere a line in the log now and then."""

from __future__ import annotations

import logging
import time

from sagemaker_object_detection.platform.terminal import Bar

log = logging.getLogger(__name__)

LINE_EVERY_SECONDS = 5.0
LONGEST_SILENCE_SECONDS = 30.0


class Heartbeat:
    """Tells work that consists of steps when to log a line, so that its log is never silent long.

    Args:
        seconds: between two lines at most, unless one step takes longer.
    """

    def __init__(self, seconds: float = LONGEST_SILENCE_SECONDS) -> None:
        self._seconds = seconds
        self._asked = self._logged = time.monotonic()

    def is_due(self) -> bool:
        """Whether one more step like the last would end too late for a line; ask once a step."""
        now = time.monotonic()
        step, self._asked = now - self._asked, now
        return now + step - self._logged >= self._seconds

    def logged(self) -> None:
        """A line was logged."""
        self._logged = time.monotonic()


class Progress(Bar):
    """Counts steps of `what`; a context manager.

    Args:
        what: what is counted, for the log, as in "Channel 'train': images checked".
        total: steps in all.
        unit: what one step is.
    """

    def __init__(self, what: str, total: int, unit: str = "images") -> None:
        super().__init__(what, total, unit)
        self._what = what
        self._total = total
        self._unit = unit
        self._done = 0
        self._began = self._logged = time.monotonic()

    def advance(self, steps: int, figures: str = "") -> None:
        """So many more steps are done; `figures` stand at the end of a terminal's line."""
        super().advance(steps, figures)
        self._done += steps
        now = time.monotonic()
        if not self.is_shown and now - self._logged >= LINE_EVERY_SECONDS:
            self._logged = now
            rate = self._done / (now - self._began)
            log.info(
                "%s: %d of %d %s (%.0f a second).",
                self._what,
                self._done,
                self._total,
                self._unit,
                rate,
            )
