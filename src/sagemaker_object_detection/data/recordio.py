"""MXNet's RecordIO files of detection data, read and written without MXNet.

On disk a record is one frame or several: ``uint32 magic, uint32 cflag << 29 | length, data,
padding to 4 bytes``. A payload that holds the magic number at a multiple of 4 is split there, the
magic left out: its frames have cflag 1 (first), 2 (middle) and 3 (last), all other records are one
frame with cflag 0. The payload is ``uint32 flag, float32 label, uint64 id, uint64 id2``, then
`flag` float32 labels, then an encoded image (dmlc-core ``src/recordio.cc``, MXNet
``src/io/image_recordio.h``).
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn, Self

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.data.column import Column
from sagemaker_object_detection.platform.errors import ClientError, naming

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
FRAME = struct.Struct("<II")
_IMAGE_HEADER = struct.Struct("<IfQQ")
LENGTH_BITS = 29
LENGTH_MASK = (1 << LENGTH_BITS) - 1
WHOLE, FIRST, MIDDLE, LAST = range(4)

_COPY_AGAIN = "Copy or write the file again: it is damaged or was cut off."
PACK_AGAIN = (
    "Pack it as detection data: im2rec.py --pack-label, with list lines of "
    "'index 2 5 class_id xmin ymin xmax ymax ... path' (corners in 0..1)."
)
UNWRAP = 'Leave the channel\'s RecordWrapperType out for .rec files, or set it to "None".'


class RecordIOError(ClientError):
    """A RecordIO file, or one record of it, is not what training can read.

    The text names file, record, byte offset, the value found and the cure.
    """

    def __init__(self, where: str, what: str, cure: str) -> None:
        super().__init__(f"{where}: {what}. {cure}")


@dataclass(frozen=True, slots=True, eq=False)
class RecordIndex:
    """Where the records of one file are.

    ``offsets`` (n,) int64: first byte of the record's first frame; ``lengths`` (n,) int64: bytes on
    disk, with the headers and padding of all its frames.
    """

    path: Path
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets)

    def name(self, record: int) -> str:
        """What to call a record in a message."""
        return where(self.path, record, int(self.offsets[record]))


class PackedImage(NamedTuple):
    """A record's payload: label vector (float32), the number im2rec gave it, encoded image."""

    label: npt.NDArray[np.float32]
    record_id: int
    image: bytes


def where(path: Path, record: int, offset: int) -> str:
    """What to call a record in a message; `offset` is its first byte."""
    return f"{path}, record {record} (byte {offset})"


def scan(path: Path) -> RecordIndex:
    """Find all records of a file by their frame headers; the data between them is not read.

    Raises RecordIOError for an empty file, a wrong magic number, a broken sequence of frames and a
    file that ends inside a record; OSError as the system gives it.
    """
    offsets, lengths = Column("q"), Column("q")
    with naming(path), path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        if size == 0:
            raise RecordIOError(str(path), "the file is empty (0 bytes)", _COPY_AGAIN)
        position = start = 0
        while position < size:
            if position + FRAME.size > size:
                _refuse_end(path, len(offsets), start, position + FRAME.size, size)
            magic, word = FRAME.unpack(os.pread(descriptor, FRAME.size, position))
            if magic != MAGIC:
                _refuse_magic(path, len(offsets), position, magic)
            flag = word >> LENGTH_BITS
            check_sequence(path, len(offsets), position, flag, inside=position != start)
            position += FRAME.size + padded(word & LENGTH_MASK)
            if position > size:
                _refuse_end(path, len(offsets), start, position, size)
            if flag in (WHOLE, LAST):
                offsets.append(start)
                lengths.append(position - start)
                start = position
        if start != size:
            _refuse_end(path, len(offsets), start, size + FRAME.size, size)
    return RecordIndex(path, offsets.array(), lengths.array())


def padded(length: int) -> int:
    """Bytes that data of this length takes in a frame."""
    return (length + 3) & ~3


def _refuse_end(path: Path, record: int, start: int, needed: int, size: int) -> NoReturn:
    what = f"the file ends inside this record, at byte {size} of at least {needed}"
    raise RecordIOError(where(path, record, start), what, _COPY_AGAIN)


def _refuse_magic(path: Path, record: int, offset: int, magic: int) -> NoReturn:
    what = f"a record must begin with 0x{MAGIC:08x}, here is 0x{magic:08x}"
    cure = _COPY_AGAIN if record else "Is it a RecordIO file (.rec, made by im2rec)?"
    raise RecordIOError(where(path, record, offset), what, cure)


def check_sequence(path: Path, record: int, offset: int, flag: int, inside: bool) -> None:
    """Raises RecordIOError for a frame that cannot stand here; `inside` a record or not."""
    if flag not in ((MIDDLE, LAST) if inside else (WHOLE, FIRST)):
        place = "inside a split record" if inside else "at the beginning of a record"
        what = f"a frame of kind {flag} {place}"
        raise RecordIOError(where(path, record, offset), what, _COPY_AGAIN)


def read(descriptor: int, index: RecordIndex, record: int) -> bytes:
    """Payload of one record, from a file descriptor of the scanned file; any thread may call it.

    Raises RecordIOError when the file has changed since it was scanned.
    """
    offset, length = int(index.offsets[record]), int(index.lengths[record])
    data = os.pread(descriptor, length, offset)
    changed = "Do not change the file while it is being read."
    if len(data) != length:
        what = f"{length} bytes were here when the file was scanned, now {len(data)}"
        raise RecordIOError(index.name(record), what, changed)
    parts: list[bytes] = []
    position = 0
    while position < length:
        magic, word = FRAME.unpack_from(data, position)
        position += FRAME.size
        size = word & LENGTH_MASK
        if magic != MAGIC or position + padded(size) > length:
            what = f"the frame at byte {offset + position - FRAME.size} is no longer what it was"
            raise RecordIOError(index.name(record), what, changed)
        parts.append(data[position : position + size])
        position += padded(size)
    return MAGIC_BYTES.join(parts)


def unpack(payload: bytes, name: str) -> PackedImage:
    """Take a payload apart; `name` (RecordIndex.name) is what errors call it.

    Raises RecordIOError for a payload too short for what it declares, for the scalar label of
    classification data, for a record without an image and for a RecordIO file as a record.
    """
    if payload.startswith(MAGIC_BYTES):  # no label has so many numbers
        raise RecordIOError(name, "the record is a whole RecordIO file, wrapped once more", UNWRAP)
    if len(payload) < _IMAGE_HEADER.size:
        what = f"{len(payload)} bytes are too few for the header of an image record (24)"
        raise RecordIOError(name, what, PACK_AGAIN)
    count, scalar, record_id, _ = _IMAGE_HEADER.unpack_from(payload)
    if count == 0:
        what = f"one number ({scalar:g}) as label: this is classification data, it has no boxes"
        raise RecordIOError(name, what, PACK_AGAIN)
    end = _IMAGE_HEADER.size + 4 * count
    if end > len(payload):
        what = f"{count} label numbers are declared, the {len(payload)} bytes cannot hold them"
        raise RecordIOError(name, what, PACK_AGAIN)
    if end == len(payload):
        raise RecordIOError(name, "a label, but no image bytes", PACK_AGAIN)
    label = np.frombuffer(payload, "<f4", count, _IMAGE_HEADER.size).astype(np.float32)
    return PackedImage(label, record_id, payload[end:])


def pack(label: npt.ArrayLike, record_id: int, image: bytes) -> bytes:
    """Payload of a record with a label vector (see `pack_label`) and an encoded image."""
    vector = np.asarray(label, "<f4").ravel()
    header = _IMAGE_HEADER.pack(vector.size, 0.0, record_id, 0)
    return header + vector.tobytes() + image


class RecordIOWriter:
    """Write a .rec file and, beside it, the .idx file (lines of ``key tab offset``) it goes with.

    A context manager; keys count from 0. Existing files are replaced.
    """

    def __init__(self, path: Path) -> None:
        self._data = path.open("wb")
        try:
            self._index = path.with_suffix(".idx").open("w", encoding="ascii", newline="\n")
        except OSError:
            self._data.close()
            raise
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._data.close()
        self._index.close()

    def write(self, payload: bytes) -> None:
        """Append one record; ValueError when the payload is 2^29 bytes or more."""
        if len(payload) > LENGTH_MASK:
            raise ValueError(f"a record must be under {LENGTH_MASK + 1} bytes, got {len(payload)}")
        self._index.write(f"{self._count}\t{self._data.tell()}\n")
        parts = _split_at_magic(payload)
        for number, part in enumerate(parts):
            if len(parts) == 1:
                flag = WHOLE
            elif number == 0:
                flag = FIRST
            else:
                flag = LAST if number == len(parts) - 1 else MIDDLE
            self._data.write(FRAME.pack(MAGIC, flag << LENGTH_BITS | len(part)) + part)
            self._data.write(bytes(padded(len(part)) - len(part)))
        self._count += 1


def _split_at_magic(payload: bytes) -> list[bytes]:
    """The parts between magic numbers that stand at multiples of 4."""
    parts: list[bytes] = []
    start = 0
    found = payload.find(MAGIC_BYTES)
    while found >= 0:
        if found % 4 == 0:
            parts.append(payload[start:found])
            start = found + 4
            found = payload.find(MAGIC_BYTES, start)
        else:
            found = payload.find(MAGIC_BYTES, found + 1)
    parts.append(payload[start:])
    return parts
