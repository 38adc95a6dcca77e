"""The wish that a training process should end, which comes as SIGTERM."""

from __future__ import annotations

import logging
import signal
from types import FrameType

log = logging.getLogger(__name__)


class StopRequest:
    """SIGTERM: before and after training it ends the process, while training it is a wish to end.

    Attributes:
        training: whether there is somebody who looks at `requested`.
        finishing: whether training is over and its model is in place.
    """

    def __init__(self) -> None:
        self.training = False
        self.finishing = False
        self._requested = False

    def install(self) -> None:
        """Take the signal over; only the main thread may."""
        signal.signal(signal.SIGTERM, self._handle)

    def requested(self) -> bool:
        """Whether the signal has come."""
        return self._requested

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        if self.finishing:
            log.warning("Stopped: what was to follow the training is left undone.")
            raise SystemExit(0)
        if not self.training:
            log.warning("Stopped by SIGTERM before training began; there is no model.")
            raise SystemExit(0)
        log.warning("SIGTERM: training ends at the next batch.")
