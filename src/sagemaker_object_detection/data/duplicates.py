"""Pictures that are there more than once, by the digests of their bytes.

Inside a channel they only weigh more than others. In two channels they are leakage: a detector is
scored on what it has learnt by heart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2**14
"""Pictures looked at together: what is made for each of them takes memory."""


def groups_inside(digests: NDArray[Any], most: int) -> tuple[int, list[NDArray[Any]]]:
    """Copies inside one channel.

    Args:
        digests: uint64 (k,).
        most: groups that are shown, and members of each.

    Returns:
        how many pictures have the digest of an earlier one; positions of the first groups, int64.
    """
    ordered = np.sort(digests)
    copies = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(copies):
        return 0, []
    several = _positions(digests, np.unique(copies))
    _, firsts, groups = np.unique(digests[several], return_index=True, return_inverse=True)
    shown = [several[groups == group][:most] for group in np.argsort(firsts)[:most]]
    return len(copies), shown


def _positions(digests: NDArray[Any], wanted: NDArray[Any]) -> NDArray[Any]:
    """Where those are that are among the wanted, which are in order."""
    found = np.zeros(len(digests), np.bool_)
    for start in range(0, len(digests), _CHUNK):
        chunk = digests[start : start + _CHUNK]
        nearest = np.minimum(np.searchsorted(wanted, chunk), len(wanted) - 1)
        found[start : start + _CHUNK] = wanted[nearest] == chunk
    return np.flatnonzero(found)


def pairs_across(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Every picture of `second` that is in `first` too, with the first place where it is there.

    Args:
        first, second: digests of two channels, uint64.

    Returns:
        int64 (n, 2), rows (position in first, position in second), ascending in the second.
    """
    if not len(first):
        return np.zeros((0, 2), np.int64)
    order = np.argsort(first, kind="stable")
    rows = []
    for start in range(0, len(second), _CHUNK):
        chunk = second[start : start + _CHUNK]
        place = np.searchsorted(first, chunk, sorter=order)
        nearest = order[np.minimum(place, len(first) - 1)]
        leaked = np.flatnonzero(first[nearest] == chunk)
        rows.append(np.stack([nearest[leaked], start + leaked], axis=1))
    return np.concatenate([np.zeros((0, 2), np.int64), *rows])
