"""Flat arrays that grow, in pages of their own.

An array on the heap is copied as it grows and leaves a hole where it was: several that grow by
turns take twice what they hold, and much of it stays taken when they are dropped. Pages are mapped
elsewhere without a copy, and go back to the system.
"""

from __future__ import annotations

import mmap
from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TAIL_BYTES = 4096


class Column:
    """Numbers of one type, put one behind the other.

    Args:
        code: the type as array and numpy call it: b, B, i, I, q, Q, f or d.
    """

    def __init__(self, code: str) -> None:
        self._type = np.dtype(code)
        self._pages = _mapped(mmap.PAGESIZE)
        self._used = 0  # bytes of the pages
        self._tail: array[Any] = array(code)
        self._most = _TAIL_BYTES // self._type.itemsize

    def __len__(self) -> int:
        return self._used // self._type.itemsize + len(self._tail)

    def append(self, number: float) -> None:
        """Put a number to the end. Raises OverflowError for one that the type cannot hold."""
        self._tail.append(number)
        if len(self._tail) >= self._most:
            self._flush()

    def extend(self, numbers: NDArray[Any] | bytes) -> None:
        """Put numbers to the end: an array, or their bytes."""
        if not isinstance(numbers, bytes):
            numbers = np.ascontiguousarray(numbers, self._type).tobytes()
        self._tail.frombytes(numbers)
        if len(self._tail) >= self._most:
            self._flush()

    def array(self) -> NDArray[Any]:
        """All numbers, not copied: as long as this is in use, none can be put to the end."""
        self._flush()
        return np.frombuffer(self._pages, self._type, self._used // self._type.itemsize)

    def _flush(self) -> None:
        if not self._tail:
            return
        data = self._tail.tobytes()
        needed = self._used + len(data)
        if needed > len(self._pages):
            self._grow(max(needed, len(self._pages) * 9 // 8 + mmap.PAGESIZE))
        self._pages[self._used : needed] = data
        self._used = needed
        del self._tail[:]

    def _grow(self, size: int) -> None:
        """Make room; pages that nothing was written to take no memory."""
        try:
            self._pages.resize(size)
        except SystemError:  # it is not Linux
            pages = _mapped(size)
            pages[: self._used] = self._pages[: self._used]
            self._pages = pages


def _mapped(size: int) -> mmap.mmap:
    # Private: to write to shared pages behind their first size is a bus error.
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
