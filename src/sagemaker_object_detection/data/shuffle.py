"""A shuffle that holds no more than a window of the stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np


class Sized(Protocol):
    """Something whose bytes count."""

    @property
    def nbytes(self) -> int:
        """How many they are."""
        ...


T = TypeVar("T", bound=Sized)


class ShuffleWindow(Generic[T]):
    """Gives the items of a stream in another order, each exactly once.

    Items are drawn at random from a window. The first is given once two were read; until the
    window is full two are read for each one given, then as many are given as it takes to make room
    for the next. So what is given depends on the stream and the generator alone, not on time.

    Args:
        bound: bytes that the window may hold; one item larger than that is held alone.
        random: all draws come from it.
    """

    def __init__(self, bound: int, random: np.random.Generator) -> None:
        self._bound = bound
        self._random = random
        self._window: list[T] = []
        self.held = 0
        """Bytes in the window."""

    def __call__(self, items: Iterable[T]) -> Iterator[T]:
        """The items in their new order, ahead of the end of the stream."""
        try:
            for count, item in enumerate(items, 1):
                while self._window and self.held + item.nbytes > self._bound:
                    yield self._draw()
                self._window.append(item)
                self.held += item.nbytes
                if count % 2 == 0:
                    yield self._draw()
            while self._window:
                yield self._draw()
        finally:
            self._window.clear()
            self.held = 0

    def _draw(self) -> T:
        chosen = int(self._random.integers(len(self._window)))
        last = self._window.pop()
        if chosen == len(self._window):
            item = last
        else:
            item, self._window[chosen] = self._window[chosen], last
        self.held -= item.nbytes
        return item
