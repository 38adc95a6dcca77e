"""Pictures that are there more than once, by the digests of their bytes.

Inside a channel they only weigh more than others. In two channels they are leakage: a detector is
scored on what it has learnt by heart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def groups_inside(digests: NDArray[Any], most: int) -> tuple[int, list[NDArray[Any]]]:
    """Copies inside one channel.

    Args:
        digests: uint64 (k,).
        most: groups that are shown, and members of each.

    Returns:
        how many pictures have the digest of an earlier one; positions of the first groups, int64.
    """
    _, firsts, inverse, counts = np.unique(
        digests, return_index=True, return_inverse=True, return_counts=True
    )
    several = np.flatnonzero(counts > 1)
    several = several[np.argsort(firsts[several])][:most]
    shown = [np.flatnonzero(inverse == group)[:most] for group in several]
    return len(digests) - len(counts), shown


def pairs_across(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Every picture of `second` that is in `first` too, with the first place where it is there.

    Args:
        first, second: digests of two channels, uint64.

    Returns:
        int64 (n, 2), rows (position in first, position in second), ascending in the second.
    """
    if not len(first):
        return np.zeros((0, 2), np.int64)
    values, places = np.unique(first, return_index=True)
    nearest = np.minimum(np.searchsorted(values, second), len(values) - 1)
    leaked = np.flatnonzero(values[nearest] == second)
    return np.stack([places[nearest[leaked]], leaked], axis=1)
