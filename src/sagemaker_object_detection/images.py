"""Decoding and resizing of pictures: one way for the gate, the loader and the endpoint.

A picture is a uint8 array of shape (height, width, 3) in RGB. Orientation tags (EXIF) are ignored,
since boxes refer to the pixels as they are stored. It comes as JPEG, PNG, WebP or BMP. What else
OpenCV reads is refused: it turns a TIFF by its tag whatever it is told, and would take gigabytes
for formats whose headers are not looked at here.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

MAX_PIXELS = 2**27
"""More pixels than this (400 MB decoded) are refused before any memory is taken for them."""

_READ_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_CHECK_FLAGS = cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION
_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_PNG_START = b"\x89PNG\r\n\x1a\n"
_BMP_START = b"BM"
_OLD_BMP = 12  # bytes of the header that OS/2 wrote


class ImageError(ValueError):
    """Bytes that are not a picture we can use; the message names the picture and what is wrong."""


def decode(data: bytes, name: str = "the image") -> Image:
    """Decode an encoded picture to uint8 RGB (height, width, 3), whatever it was stored as.

    Grey, palette, CMYK and 16-bit pictures become 8-bit RGB, an alpha channel is left out, of an
    animation the first picture counts. `name` is what an error calls the picture.

    Raises ImageError when the bytes are empty, no picture of these formats, cut short, or declare
    over MAX_PIXELS.
    """
    _refuse_early(data, name)
    return _decoded(data, _READ_FLAGS, name)


def check(data: bytes, name: str = "the image") -> tuple[int, int]:
    """Width and height of a picture that `decode` can decode, in a fraction of its time.

    Of a JPEG all data is read, but only an eighth of the pixels a side is computed: what it fails
    on, the whole picture fails on, and the other way round (tests/test_images.py).

    Raises ImageError as `decode` does.
    """
    size = _refuse_early(data, name)
    if data.startswith(_JPEG_START):
        _decoded(data, _CHECK_FLAGS, name)
        return size
    height, width = _decoded(data, _READ_FLAGS, name).shape[:2]
    return width, height


def _refuse_early(data: bytes, name: str) -> tuple[int, int]:
    """The size by the header.

    Raises ImageError for what is known to be wrong before anything is decoded.
    """
    if not data:
        raise ImageError(f"{name} is empty (0 bytes)")
    if is_truncated_jpeg(data):
        raise ImageError(f"{name} is a JPEG that was cut short: its end marker is missing")
    size = header_size(data)
    if size is None:
        raise ImageError(f"{name} {_what_is_wrong(data)}")
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"{name} has too many pixels: {size[0]} x {size[1]}, at most {MAX_PIXELS} are read; "
            "make it smaller"
        )
    if _is_broken_png(data):
        raise ImageError(f"{name} {_what_is_wrong(data)}")
    return size


def _decoded(data: bytes, flags: int, name: str) -> Image:
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"{name} cannot be decoded: {error.err or error}") from error
    if image is None:
        raise ImageError(f"{name} {_what_is_wrong(data)}")
    return image.astype(np.uint8, copy=False)


def resize_square(image: Image, side: int) -> Image:
    """Force a picture (h, w, c) to (side, side, c), bilinear; the aspect ratio is not kept."""
    if image.shape[:2] == (side, side):
        return image
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR).astype(
        np.uint8, copy=False
    )


def is_truncated_jpeg(data: bytes) -> bool:
    """Whether the bytes are a JPEG without the end marker; False for whatever is no JPEG.

    The marker is looked for behind the start of the first scan, as a thumbnail in the header has
    one of its own; what follows the marker does not matter (cameras append previews).
    """
    if not data.startswith(_JPEG_START):
        return False
    for marker, start, _ in _jpeg_segments(data):
        if marker == _JPEG_SCAN:
            return data.find(_JPEG_END, start) < 0
    return True


def _is_broken_png(data: bytes) -> bool:
    """Whether a chunk of a PNG reaches over the end of the bytes; False for whatever is no PNG.

    OpenCV takes memory for whatever length a chunk declares: seconds for a few damaged bytes.
    """
    if not data.startswith(_PNG_START):
        return False
    at = len(_PNG_START)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if kind == b"IEND":
            break
    return at > len(data)


def header_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the header of a JPEG, PNG, WebP or BMP; None where it does not tell.

    The beginning of a file is enough if it reaches to the header of the frame.
    """
    width = height = 0
    if data.startswith(_JPEG_START):
        for marker, start, length in _jpeg_segments(data):
            if marker in _JPEG_FRAMES and length >= 5:
                height, width = struct.unpack_from(">HH", data, start + 1)
                break
    elif data.startswith(_PNG_START) and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
    elif _is_webp(data) and len(data) >= 30:
        width, height = _webp_size(data)
    elif data.startswith(_BMP_START) and len(data) >= 26:
        (length,) = struct.unpack_from("<I", data, 14)
        width, height = struct.unpack_from("<HH" if length == _OLD_BMP else "<ii", data, 18)
        height = abs(height)  # negative: rows from the top
    return (width, height) if width > 0 and height > 0 else None


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height by the first chunk of a WebP; (0, 0) where it is of no known kind."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return width + 1, height + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _what_is_wrong(data: bytes) -> str:
    for kind, is_kind in (
        ("JPEG", data.startswith(_JPEG_START)),
        ("PNG", data.startswith(_PNG_START)),
        ("WebP", _is_webp(data)),
        ("BMP", data.startswith(_BMP_START)),
    ):
        if is_kind:
            return f"begins as a {kind} but cannot be decoded: it is damaged or was cut short"
    for kind, begins in (("GIF", b"GIF8"), ("TIFF", b"II*\0"), ("TIFF", b"MM\0*")):
        if data.startswith(begins):
            return f"is a {kind}, which is not read here; send a JPEG or PNG"
    return f"is not an image: it begins with {data[:8]!r}; send a JPEG or PNG"


def _jpeg_segments(data: bytes) -> list[tuple[int, int, int]]:
    """(marker, offset, length) of the segments of a JPEG up to and with its first scan header."""
    segments = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte before the marker
            at += 1
            continue
        if marker in _JPEG_WITHOUT_LENGTH:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if length < 2 or at + 2 + length > len(data):
            break
        segments.append((marker, at + 4, length - 2))
        if marker == _JPEG_SCAN:
            break
        at += 2 + length
    return segments
