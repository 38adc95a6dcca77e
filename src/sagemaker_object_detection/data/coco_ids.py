"""The ids of a COCO file: as they are written, and which entry has one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NO_ID = -(2**63)
"""A number of 64 bits that `whole` takes for no id."""
_CHUNK = 2**16


def whole(value: object) -> int | None:
    """A whole number, also where it is written as 7.0 or "7"; None for other values.

    It has 64 bits and is not NO_ID.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and len(value) < 19 and value.isascii() and value.isdecimal():
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if isinstance(value, int) and NO_ID < value < 2**63 else None


def find(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int32]:
    """Where the ids `wanted` (n,) are among `known`, all different: (n,), -1 for one not there."""
    places = np.full(len(wanted), -1, np.int32)
    if not len(known):
        return places
    order = np.argsort(known, kind="stable").astype(np.int32)
    ordered = known[order]
    for start in range(0, len(wanted), _CHUNK):  # what is in between takes memory
        span = slice(start, start + _CHUNK)
        at = np.minimum(np.searchsorted(ordered, wanted[span]), len(known) - 1)
        places[span] = np.where(ordered[at] == wanted[span], order[at], -1)
    return places
