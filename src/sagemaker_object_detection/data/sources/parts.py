"""Several sources as one, and a part of a source as one."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from sagemaker_object_detection.data.class_names import AnnotatedNames
from sagemaker_object_detection.data.dataset import RawRecord, Source


class Joined(Source):
    """The records of several sources, whose classes are numbered alike, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self._starts = [0, *accumulate(len(source) for source in sources)]

    @property
    def found_names(self) -> AnnotatedNames:
        """Of all of them."""
        return AnnotatedNames.merged(source.found_names for source in self.sources)

    @property
    def unannotated(self) -> Sequence[str]:
        """Of all of them."""
        return [name for source in self.sources for name in source.unannotated]

    @property
    def remarks(self) -> Sequence[str]:
        """Of all of them."""
        return [remark for source in self.sources for remark in source.remarks]

    def __len__(self) -> int:
        return self._starts[-1]

    def _locate(self, index: int) -> tuple[Source, int]:
        part = bisect_right(self._starts, index) - 1
        return self.sources[part], index - self._starts[part]

    def name(self, index: int) -> str:
        """As its source calls it."""
        source, place = self._locate(index)
        return source.name(place)

    def image_name(self, index: int) -> str | None:
        """As its source calls it."""
        source, place = self._locate(index)
        return source.image_name(place)

    def read(self, index: int) -> RawRecord:
        """Raises ClientError as the source does."""
        source, place = self._locate(index)
        return source.read(place)

    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""
        source, place = self._locate(index)
        return source.read_image(place)


class Part(Source):
    """The records of a source at these places.

    Args:
        reports: whether the part has what the whole source left out and remarks on, which belong
            to one of its parts only.
    """

    def __init__(self, source: Source, places: Sequence[int], reports: bool = False) -> None:
        self._source = source
        self._places = places
        self._reports = reports

    @property
    def listed_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Of the whole source, as it numbers them."""
        return self._source.listed_names

    @property
    def found_names(self) -> AnnotatedNames:
        """Of the whole source."""
        return self._source.found_names

    @property
    def unannotated(self) -> Sequence[str]:
        """Of the whole source, if this part reports them."""
        return self._source.unannotated if self._reports else ()

    @property
    def remarks(self) -> Sequence[str]:
        """Of the whole source, if this part reports them."""
        return self._source.remarks if self._reports else ()

    def __len__(self) -> int:
        return len(self._places)

    def name(self, index: int) -> str:
        """As the source calls it."""
        return self._source.name(self._places[index])

    def image_name(self, index: int) -> str | None:
        """As the source calls it."""
        return self._source.image_name(self._places[index])

    def read(self, index: int) -> RawRecord:
        """Raises ClientError as the source does."""
        return self._source.read(self._places[index])

    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""
        return self._source.read_image(self._places[index])


def split_off(source: Source, share: float, seed: int) -> tuple[Part, Part]:
    """Split a source by its images: (the rest, `share` in 0..1 of the images).

    Which images are split off depends on their bytes and the seed alone, and identical images
    stay together; the rest has what the source left out. All images are read. Raises OSError where
    one cannot be read.
    """
    keys: dict[bytes, list[int]] = {}
    for index in range(len(source)):
        key = hashlib.sha1(source.read_image(index), usedforsecurity=False).digest()
        keys.setdefault(hashlib.blake2b(b"%d " % seed + key).digest(), []).append(index)
    wanted = max(1, round(share * len(source))) if share else 0
    taken: list[int] = []
    for key in sorted(keys):
        if len(taken) + len(keys[key]) <= wanted:
            taken += keys[key]
    inside = set(taken)
    rest = [index for index in range(len(source)) if index not in inside]
    return Part(source, rest, reports=True), Part(source, sorted(taken))
