"""RecordIO files, in File mode."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sagemaker_object_detection.data import recordio
from sagemaker_object_detection.data.dataset import RawRecord, Source
from sagemaker_object_detection.data.labels import from_payload


class RecordIOSource(Source):
    """The records of one or more .rec files, found by one scan and read by their offsets.

    Raises ClientError (RecordIOError) for broken framing, naming file, record and byte.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._indexes = [
            replace(index, files=recordio.names_from_list(index.path, len(index)))
            for index in map(recordio.scan, paths)
        ]
        self._descriptors = [os.open(path, os.O_RDONLY) for path in paths]
        self._starts = np.cumsum([0, *(len(index) for index in self._indexes)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", ()):
            os.close(descriptor)

    def _locate(self, index: int) -> tuple[int, int]:
        file = int(np.searchsorted(self._starts, index, side="right")) - 1
        return file, index - int(self._starts[file])

    def _payload(self, index: int) -> bytes:
        file, record = self._locate(index)
        return recordio.read(self._descriptors[file], self._indexes[file], record)

    def name(self, index: int) -> str:
        """`train.rec, record 12 (a.jpg)` where a list names its image, else `(byte 34567)`."""
        file, record = self._locate(index)
        return self._indexes[file].name(record)

    def image_name(self, index: int) -> str | None:
        """Where a list names it."""
        file, record = self._locate(index)
        names = self._indexes[file].files
        return names[record] if names else None

    def read(self, index: int) -> RawRecord:
        """Image and label, corners in 0..1."""
        return from_payload(self._payload(index), self.name(index))

    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""
        return recordio.unpack(self._payload(index), self.name(index)).image
