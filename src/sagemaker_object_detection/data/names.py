"""Names of very many files in little memory.

A Python string takes 50 bytes beside its text, a Path several hundred. Here a name takes 4 bytes
beside its text, and 12 more while it has to be found again; they have room for 4 GiB.
"""

from __future__ import annotations

import heapq
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

import numpy as np

from sagemaker_object_detection.data.column import Column

_RUN = 2**14


class Names(Sequence[str]):
    """An immutable sequence of strings, kept as one run of bytes.

    File names that are not text come back as they were (PEP 383).
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        text, ends = Column("B"), Column("I")
        ends.append(0)
        for name in names:
            text.extend(name.encode("utf-8", "surrogatepass"))
            ends.append(len(text))
        self._text = text.array().data
        self._ends = ends.array()

    @classmethod
    def in_order(cls, names: Iterable[str]) -> Names:
        """The names, sorted; only some of them are strings at any time."""
        source = iter(names)
        runs: list[Names] = []
        while run := sorted(islice(source, _RUN)):
            runs.append(cls(run))
        return runs[0] if len(runs) == 1 else cls(heapq.merge(*runs))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Names: ...

    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            return Names(self[i] for i in range(len(self))[index])
        at = range(len(self))[index]
        text = self._text[self._ends[at] : self._ends[at + 1]]
        return str(text, "utf-8", "surrogatepass")


class Chosen(Sequence[str]):
    """Some of the names, by their places in the order wanted; 4 bytes each beside the names."""

    def __init__(self, names: Names, places: Iterable[int]) -> None:
        self._names = names
        self._places = array("i", places)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Chosen: ...

    def __getitem__(self, index: int | slice) -> str | Chosen:
        if isinstance(index, slice):
            return Chosen(self._names, self._places[index])
        return self._names[self._places[index]]


class Lookup:
    """Where the names with a certain key are; 12 bytes for each, as hashes in order.

    Letters with marks are found however they are composed: macOS takes the names of files apart,
    and what a program has written about them may be whole (Unicode's forms NFD and NFC).

    Args:
        names: the names.
        key: what of a name is looked for.
    """

    def __init__(self, names: Sequence[str], key: Callable[[str], str]) -> None:
        self._names = names
        self._key = key
        hashes = (hash(_composed(key(name))) for name in names)
        self._hashes = np.fromiter(hashes, np.int64, len(names))
        self._places = np.argsort(self._hashes, kind="stable").astype(np.int32)
        self._hashes.sort()

    def find(self, key: str) -> Iterator[int]:
        """Positions of the names that have this key, in their order."""
        key = _composed(key)
        wanted = hash(key)
        place = int(self._hashes.searchsorted(wanted))
        while place < len(self._hashes) and self._hashes[place] == wanted:
            position = int(self._places[place])
            if _composed(self._key(self._names[position])) == key:
                yield position
            place += 1


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)
