"""MXNet's RecordIO files of detection data, read and written without MXNet.

On disk a record is one frame or several: ``uint32 magic, uint32 cflag << 29 | length, data,
padding to 4 bytes``. A payload that holds the magic number at a multiple of 4 is split there, the
magic left out: its frames have cflag 1 (first), 2 (middle) and 3 (last), all other records are one
frame with cflag 0. The payload is ``uint32 flag, float32 label, uint64 id, uint64 id2``, then
`flag` float32 labels, then an encoded image (dmlc-core ``src/recordio.cc``, MXNet
``src/io/image_recordio.h``).
"""

import logging
import os
import re
import struct
from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self, TextIO

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.platform.errors import ClientError, naming

log = logging.getLogger(__name__)

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
_FRAME = struct.Struct("<II")
_IMAGE_HEADER = struct.Struct("<IfQQ")
_LENGTH_BITS = 29
LENGTH_MASK = (1 << _LENGTH_BITS) - 1
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)

PACK_AGAIN = (
    "Pack it as detection data: im2rec.py --pack-label, with list lines of "
    "'index 2 5 class_id xmin ymin xmax ymax ... path' (corners in 0..1)."
)
_UNWRAP = 'Leave the channel\'s RecordWrapperType out for .rec files, or set it to "None".'


class RecordIOError(ClientError):
    """A RecordIO file, or one record of it, is not what training can read.

    The text names file, record, byte offset, the value found and the fix.
    """

    def __init__(self, where: str, what: str, fix: str) -> None:
        super().__init__(f"{where}: {what}. {fix}")


class Framed(NamedTuple):
    """Where frames come from, for messages.

    Attributes:
        noun: "file" or "stream".
        again: the fix for damaged framing.
        foreign: the fix where even the first frame is none.
        largest: bytes that a record may declare.
    """

    noun: str
    again: str
    foreign: str
    largest: int


FILE = Framed(
    "file",
    "Copy or write the file again: it is damaged or was cut off.",
    "Is it a RecordIO file (.rec, made by im2rec)?",
    2**63,
)
STREAM = Framed(
    "stream",
    "The data in S3 is damaged or was cut off, or the transfer was: write it again, then start the "
    "job again.",
    "The channel must come as RecordIO: .rec files made by im2rec and nothing else under the "
    "prefix, where an .idx or .lst file would be sent as well, or an augmented manifest with "
    'RecordWrapperType "RecordIO".',
    2**28,
)


class Record(NamedTuple):
    """One payload; `offset` is where its first frame begins."""

    number: int
    offset: int
    payload: bytes


class Frames:
    """Takes the framing off a file or a stream.

    `feed` takes the bytes in chunks of any size; `step` and `next` go from header to header.

    Args:
        path: what errors call it.
        framed: what it is.
        number, offset: of the first record.
    """

    def __init__(self, path: Path, framed: Framed = FILE, number: int = 0, offset: int = 0) -> None:
        self._path = path
        self._framed = framed
        self.number = number
        """Of the present record."""
        self.start = self.position = self._end = offset
        """Where the present record begins, where its next frame does, and how much was fed."""
        self._size = 0  # payload of the present record, as far as it was declared
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._frame: tuple[int, bool] | None = None  # its data is still to come

    def step(self, header: bytes | bytearray) -> tuple[int, bool]:
        """Go behind the next frame; returns its length and whether the record ends with it.

        Raises RecordIOError for a wrong magic number, a broken sequence of frames and a record that
        declares too much.
        """
        magic, word = _FRAME.unpack(header)
        if magic != MAGIC:
            what = f"a record must begin with 0x{MAGIC:08x}, here is 0x{magic:08x}"
            fix = self._framed.again if self.position else self._framed.foreign
            raise RecordIOError(where(self._path, self.number, self.position), what, fix)
        kind, length = word >> _LENGTH_BITS, word & LENGTH_MASK
        inside = self.position != self.start
        if kind not in ((_MIDDLE, _LAST) if inside else (_WHOLE, _FIRST)):
            place = "inside a split record" if inside else "at the beginning of a record"
            what = f"a frame of kind {kind} {place}"
            name = where(self._path, self.number, self.position)
            raise RecordIOError(name, what, self._framed.again)
        self._size += length + len(MAGIC_BYTES) * inside
        if self._size > self._framed.largest:
            what = f"{self._size} bytes are declared, a record has at most {self._framed.largest}"
            fix = f"{self._framed.again} Or a RecordIO file was wrapped once more. {_UNWRAP}"
            raise RecordIOError(where(self._path, self.number, self.start), what, fix)
        self.position += _FRAME.size + _padded(length)
        return length, kind in (_WHOLE, _LAST)

    def next(self) -> None:
        """The next frame begins a record."""
        self.number += 1
        self.start = self.position
        self._size = 0

    def feed(self, data: bytes) -> list[Record]:
        """The records that are whole with this chunk. Raises RecordIOError as `step` does."""
        self._end += len(data)
        buffer = self._buffer
        buffer += data
        found: list[Record] = []
        begin = 0
        while True:
            if self._frame is None:
                if len(buffer) - begin < _FRAME.size:
                    break
                self._frame = self.step(buffer[begin : begin + _FRAME.size])
                begin += _FRAME.size
            length, last = self._frame
            if begin + _padded(length) > len(buffer):
                break
            with memoryview(buffer) as view:
                self._parts.append(bytes(view[begin : begin + length]))
            begin += _padded(length)
            self._frame = None
            if last:
                found.append(Record(self.number, self.start, MAGIC_BYTES.join(self._parts)))
                self._parts.clear()
                self.next()
        del buffer[:begin]
        return found

    def finish(self, end: int | None = None) -> None:
        """Raises RecordIOError unless a record ends at this byte, or with what was fed."""
        end = self._end if end is None else end
        if end == self.start:
            return
        needed = self.position if end < self.position else self.position + _FRAME.size
        noun = self._framed.noun
        what = f"the {noun} ends inside this record, at byte {end} of at least {needed}"
        raise RecordIOError(where(self._path, self.number, self.start), what, self._framed.again)


@dataclass(frozen=True, slots=True, eq=False)
class RecordIndex:
    """Where the records of one file are.

    ``offsets`` (n,) int64: first byte of the record's first frame; ``lengths`` (n,) int64: bytes on
    disk, with the headers and padding of all its frames.
    """

    path: Path
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    files: Sequence[str] | None = None
    """The image file of each record, as `names_from_list` gives it."""

    def __len__(self) -> int:
        return len(self.offsets)

    def name(self, record: int) -> str:
        """What to call a record in a message."""
        if self.files and self.files[record]:
            return f"{self.path}, record {record} ({self.files[record]})"
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

    Raises RecordIOError for an empty file, for what `Frames` refuses and for a file that ends
    inside a record; OSError as the system gives it.
    """
    offsets, lengths = array("q"), array("q")
    with naming(path), path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        if size == 0:
            raise RecordIOError(str(path), "the file is empty (0 bytes)", FILE.again)
        frames = Frames(path)
        while frames.position + _FRAME.size <= size:
            _, last = frames.step(os.pread(descriptor, _FRAME.size, frames.position))
            if frames.position > size:
                break
            if last:
                offsets.append(frames.start)
                lengths.append(frames.position - frames.start)
                frames.next()
        frames.finish(size)
    return RecordIndex(path, np.array(offsets), np.array(lengths))


def read(descriptor: int, index: RecordIndex, record: int) -> bytes:
    """Payload of one record, from a file descriptor of the scanned file; any thread may call it.

    Raises RecordIOError when the file has changed since it was scanned.
    """
    offset, length = int(index.offsets[record]), int(index.lengths[record])
    frames = Frames(index.path, FILE, record, offset)
    try:
        found = frames.feed(os.pread(descriptor, length, offset))
        frames.finish(offset + length)
    except RecordIOError as error:
        what = "the file has changed since it was scanned"
        fix = "Do not change the file while it is being read."
        raise RecordIOError(index.name(record), what, fix) from error
    return found[0].payload


def _padded(length: int) -> int:
    """Bytes that data of this length takes in a frame."""
    return (length + 3) & ~3


def unpack(payload: bytes, name: str) -> PackedImage:
    """Take a payload apart; `name` (RecordIndex.name) is what errors call it.

    Raises RecordIOError for a payload too short for what it declares, for the scalar label of
    classification data, for a record without an image and for a RecordIO file as a record.
    """
    if payload.startswith(MAGIC_BYTES):  # no label has so many numbers
        raise RecordIOError(name, "the record is a whole RecordIO file, wrapped once more", _UNWRAP)
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


def names_from_list(rec_path: Path, count: int) -> list[str] | None:
    """The image files of a .rec file's records, by im2rec's list next to it.

    Lines of ``<stem>.lst`` are ``index tab label... tab path``. With an .idx file a record has the
    path of its key, otherwise of its place in the list. None without a list, and, with a warning,
    for one that does not fit `count` records.
    """
    path = rec_path.with_suffix(".lst")
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return None
    try:
        rows = [line.rstrip("\r").split("\t") for line in lines if line.strip()]
        names = {int(float(row[0])): row[1:][-1] for row in rows}
        index = rec_path.with_suffix(".idx")
        if index.exists():
            keys = [line.split("\t") for line in index.read_text(encoding="ascii").splitlines()]
            order = [int(key) for key, _ in sorted(keys, key=lambda pair: int(pair[1]))]
        else:
            order = list(names)
        if len(order) == count:
            return [names[key] for key in order]
        reason = f"there are {len(order)} entries for {count} records"
    except (ValueError, LookupError, OverflowError) as error:
        reason = f"a line is not im2rec's, or a record is not listed ({error!r})"
    log.warning("%s does not name the records of %s: %s.", path, rec_path.name, reason)
    return None


class RecordIOWriter:
    """Write a .rec file and the .idx file (lines of ``key tab offset``) that goes with it.

    A context manager; keys count from 0. Existing files are replaced.

    Args:
        listed: whether to write im2rec's list, ``<stem>.lst``, too; then every record has a name.
    """

    def __init__(self, path: Path, listed: bool = False) -> None:
        with ExitStack() as opened:
            self._data = opened.enter_context(path.open("wb"))
            self._index = opened.enter_context(path.with_suffix(".idx").open("w", newline="\n"))
            self._list: TextIO | None = None
            if listed:
                file = path.with_suffix(".lst").open("w", encoding="utf-8", newline="\n")
                self._list = opened.enter_context(file)
            self._files = opened.pop_all()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def write(self, payload: bytes, name: str = "") -> None:
        """Append one record; `name` is its image file in the list.

        Raises ValueError when the payload is 2^29 bytes or more.
        """
        if len(payload) > LENGTH_MASK:
            raise ValueError(f"a record must be under {LENGTH_MASK + 1} bytes, got {len(payload)}")
        self._index.write(f"{self._count}\t{self._data.tell()}\n")
        parts = _split_at_magic(payload)
        for number, part in enumerate(parts):
            if len(parts) == 1:
                kind = _WHOLE
            elif number == 0:
                kind = _FIRST
            else:
                kind = _LAST if number == len(parts) - 1 else _MIDDLE
            self._data.write(_FRAME.pack(MAGIC, kind << _LENGTH_BITS | len(part)) + part)
            self._data.write(bytes(_padded(len(part)) - len(part)))
        if self._list is not None:
            label = (np.format_float_positional(n, trim="-") for n in unpack(payload, name).label)
            columns = [str(self._count), *label, re.sub(r"[\t\r\n]", " ", name)]
            self._list.write("\t".join(columns) + "\n")
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
