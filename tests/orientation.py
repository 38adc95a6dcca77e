"""Images with an EXIF orientation tag, and the pixels that a viewer displays for them."""

from __future__ import annotations

import struct
import zlib
from typing import Literal

import numpy as np
import numpy.typing as npt

ByteOrder = Literal["<", ">"]
BYTE_ORDERS: tuple[ByteOrder, ...] = ("<", ">")
_PNG_HEADER_END = 33


def exif(tag: int, order: ByteOrder = "<", before: bytes = b"") -> bytes:
    """EXIF data with this orientation, behind one other entry of 12 bytes if that is given."""
    start = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, tag, 0)
    count = 1 + bool(before)
    return start + struct.pack(order + "IH", 8, count) + before + entry + bytes(4)


def app1(content: bytes) -> bytes:
    """A segment of a JPEG."""
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def with_tag(encoded: bytes, tag: int, order: ByteOrder = "<") -> bytes:
    """A JPEG or PNG with an orientation tag."""
    if encoded.startswith(b"\xff\xd8"):
        return encoded[:2] + app1(b"Exif\0\0" + exif(tag, order)) + encoded[2:]
    return encoded[:_PNG_HEADER_END] + chunk(b"eXIf", exif(tag, order)) + encoded[_PNG_HEADER_END:]


def displayed(stored: npt.NDArray[np.uint8], tag: int) -> npt.NDArray[np.uint8]:
    """The pixels (h, w, ...) that a viewer displays, by the definition in EXIF 2.3."""
    turned = stored.swapaxes(0, 1) if tag >= 5 else stored
    if tag in (3, 4, 7, 8):
        turned = turned[::-1]
    if tag in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def stored(shown: npt.NDArray[np.uint8], tag: int) -> npt.NDArray[np.uint8]:
    """The pixels (h, w, ...) that `displayed` turns into these."""
    return displayed(shown, {6: 8, 8: 6}.get(tag, tag))
