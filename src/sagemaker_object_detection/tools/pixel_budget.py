"""A bound to the pixels that several threads have decoded at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sagemaker_object_detection.images import MAX_PIXELS, header_size


class PixelBudget:
    """So many pixels may be decoded at a time; who comes when they are spent waits for his turn.

    most: by default the largest picture that is read at all, so that only small pictures are
        decoded side by side. A picture that is larger, or does not tell its size, counts as all.
    """

    def __init__(self, most: int = MAX_PIXELS) -> None:
        self._most = most
        self._spent = 0
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def for_picture(self, data: bytes) -> Iterator[None]:
        """Hold what an encoded picture needs."""
        size = header_size(data)
        share = self._most if size is None else min(size[0] * size[1], self._most)
        with self._turn, self._changed:  # the turn: small pictures do not overtake a large one
            self._changed.wait_for(lambda: self._spent + share <= self._most)
            self._spent += share
        try:
            yield
        finally:
            with self._changed:
                self._spent -= share
                self._changed.notify_all()
