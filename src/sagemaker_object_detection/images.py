"""Decoding and resizing of images: one way for the data checks, the loader and the endpoint.

An image is a uint8 array of shape (height, width, 3) in RGB, as it is displayed: the orientation
tags (EXIF) of JPEG and PNG are applied, and boxes refer to the result. It comes as JPEG, PNG, WebP
or BMP. Other formats of OpenCV are refused: it would take gigabytes for those whose headers are
not checked here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

QUARTER_TURNS = frozenset({5, 6, 7, 8})
"""Orientations that swap width and height."""
MAX_PIXELS = 2**27
"""More pixels than this (400 MB decoded) are refused before any memory is taken for them."""
MAX_COEFFICIENT_BYTES = 3 * MAX_PIXELS
"""A decoder holds the coefficients of a progressive JPEG in memory, two bytes each."""
MAX_SCANS = 100
"""Of a JPEG: encoders write ten or so, and each makes a decoder go through all coefficients."""

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
_JPEG_APP1 = 0xE1
_JPEG_PROGRESSIVE = 0xC2
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""What follows coded pixels, in which 0xFF stands before 0 or a restart marker alone."""
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_END = 33
_BMP_START = b"BM"
_OLD_BMP = 12  # bytes of the header that OS/2 wrote
_EXIF_START = b"Exif\0\0"
_MOST_APP1 = 2**16 - 3

_PROBE = np.array([[32, 96], [160, 224]], np.uint8)  # // 64 gives 0 to 3
_JPEG_PROBE = cv2.imencode(".jpg", _PROBE, (cv2.IMWRITE_JPEG_QUALITY, 100))[1].tobytes()
_PNG_PROBE = cv2.imencode(".png", _PROBE)[1].tobytes()
_TOP_OF_PROBE = {
    (0, 1): 1,
    (1, 0): 2,
    (3, 2): 3,
    (2, 3): 4,
    (0, 2): 5,
    (2, 0): 6,
    (3, 1): 7,
    (1, 3): 8,
}
"""The top row of the probe as displayed -> its orientation."""


class ImageError(ValueError):
    """Bytes that are not an image we can use; the message names the image and what is wrong."""


def decode(data: bytes, name: str = "the image") -> Image:
    """Decode an encoded image to uint8 RGB (height, width, 3), as it is displayed.

    Grayscale, palette, CMYK and 16-bit images become 8-bit RGB, an alpha channel is dropped, an
    animation gives its first image. `name` is what an error calls the image.

    Raises ImageError when the bytes are empty, no image of these formats, cut short, or declare
    over MAX_PIXELS.
    """
    _refuse_early(data, name)
    return _decoded(data, cv2.IMREAD_COLOR_RGB, name)


def check(data: bytes, name: str = "the image") -> tuple[int, int]:
    """Width and height of the image that `decode` gives, in a fraction of its time for a JPEG.

    All data of a JPEG is read, but only an eighth of the pixels a side is computed. It fails where
    decoding the whole image fails, and nowhere else (tests/test_images.py).

    Raises ImageError as `decode` does.
    """
    size = _refuse_early(data, name)
    if data.startswith(_JPEG_START):
        _decoded(data, cv2.IMREAD_REDUCED_COLOR_8, name)
        return _turned(size, orientation(data))
    height, width = _decoded(data, cv2.IMREAD_COLOR_RGB, name).shape[:2]
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
    if fault := _costly_jpeg(data):
        raise ImageError(f"{name} {fault}; save it as a baseline JPEG")
    if _is_broken_png(data):
        raise ImageError(f"{name} {_what_is_wrong(data)}")
    return size


def _decoded(data: bytes, flags: int, name: str) -> Image:
    try:
        image = cv2.imdecode(np.frombuffer(_still(data), dtype=np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"{name} cannot be decoded: {error.err or error}") from error
    if image is None:
        raise ImageError(f"{name} {_what_is_wrong(data)}")
    return image.astype(np.uint8, copy=False)


def resize_square(image: Image, side: int) -> Image:
    """Force an image (h, w, c) to (side, side, c), bilinear; the aspect ratio is not kept."""
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


def _costly_jpeg(data: bytes) -> str | None:
    """What makes a JPEG take far more time or memory than its pixels do, or None."""
    if not data.startswith(_JPEG_START):
        return None
    if data.count(bytes([0xFF, _JPEG_SCAN])) > MAX_SCANS and (scans := _scans(data)) > MAX_SCANS:
        return f"is a JPEG of {scans} scans, at most {MAX_SCANS} are read"
    for marker, start, length in _jpeg_segments(data):
        if marker == _JPEG_PROGRESSIVE and length >= 6:
            height, width, count = struct.unpack_from(">HHB", data, start + 1)
            sampling = [data[at] for at in range(start + 7, start + 6 + 3 * count, 3)]
            sides = [(factors >> 4, factors & 15) for factors in sampling]
            largest = max(across for across, _ in sides) * max(down for _, down in sides)
            blocks = sum(across * down for across, down in sides) / max(1, largest)
            if 2 * width * height * blocks > MAX_COEFFICIENT_BYTES:
                return (
                    f"is a progressive JPEG of {width} x {height} pixels, whose decoder takes more "
                    f"than {MAX_COEFFICIENT_BYTES // 10**6} MB"
                )
    return None


def _scans(data: bytes) -> int:
    """Scans of a JPEG up to its end marker; what cameras append has some more."""
    count, at = 0, 2
    while found := _JPEG_MARKER.search(data, at):
        marker, at = data[found.start() + 1], found.end()
        if marker == _JPEG_END[1]:
            break
        count += marker == _JPEG_SCAN
        if marker not in _JPEG_WITHOUT_LENGTH and at + 2 <= len(data):
            at += struct.unpack_from(">H", data, at)[0]
    return count


def _is_broken_png(data: bytes) -> bool:
    """Whether a chunk of a PNG reaches over the end of the bytes; False for whatever is no PNG.

    OpenCV takes memory for whatever length a chunk declares: seconds for a few damaged bytes.
    """
    return any(end > len(data) for _, _, end in _png_chunks(data))


def _still(data: bytes) -> bytes:
    """The bytes, without what declares a PNG to be animated.

    OpenCV 4.11 crashes on an animation whose frame is larger than the image, and does not apply its
    orientation tag.
    """
    if not data.startswith(_PNG_START) or b"acTL" not in data:
        return data
    kept = (data[start:end] for kind, start, end in _png_chunks(data) if kind != b"acTL")
    return _PNG_START + b"".join(kept)


def orientation(data: bytes) -> int:
    """The EXIF orientation, 1 to 8, that `decode` applies; 1 where there is no valid tag.

    Only headers are read, but all of the file is needed: a PNG may have its tag behind the pixels.

    OpenCV itself gives the answer, for an image of four pixels with the same tag. Its own rules
    decide on what is odd or broken: of a JPEG it takes the first APP1 segment whatever that is, and
    a broken entry before the tag hides the tag.
    """
    if data.startswith(_JPEG_START):
        first = next(iter(_app1_segments(data)), None)
        return 1 if first is None else _orientation_by(first)
    if data.startswith(_PNG_START) and b"eXIf" in data:
        tags = b"".join(
            data[start:end]
            for kind, start, end in _png_chunks(data)
            if kind == b"eXIf" and end <= len(data)
        )
        at = _PNG_HEADER_END
        return _shown_orientation(_PNG_PROBE[:at] + tags + _PNG_PROBE[at:])
    return 1


def ignored_orientation(data: bytes) -> int:
    """An EXIF orientation that viewers may apply and `decode` does not, as OpenCV ignores it.

    It is that of a WebP, and of a JPEG with another APP1 segment (such as XMP) before its EXIF. 1
    where there is none.
    """
    if _is_webp(data):
        content = _webp_exif(data)
        return 1 if content is None else _orientation_by(content)
    first, *others = _app1_segments(data) or [_EXIF_START]
    if first.startswith(_EXIF_START):
        return 1
    return next((_orientation_by(one) for one in others if one.startswith(_EXIF_START)), 1)


def _orientation_by(content: bytes) -> int:
    """The orientation that OpenCV applies for the content of an APP1 segment."""
    content = content[:_MOST_APP1]
    segment = struct.pack(">BBH", 0xFF, _JPEG_APP1, len(content) + 2) + content
    return _shown_orientation(_JPEG_PROBE[:2] + segment + _JPEG_PROBE[2:])


def _shown_orientation(probe: bytes) -> int:
    shown = cv2.imdecode(np.frombuffer(probe, np.uint8), cv2.IMREAD_GRAYSCALE)
    left, right = (shown[0] // 64).tolist()
    return _TOP_OF_PROBE[left, right]


def _turned(size: tuple[int, int], tag: int) -> tuple[int, int]:
    return size[::-1] if tag in QUARTER_TURNS else size


def displayed_size(data: bytes) -> tuple[int, int] | None:
    """Width and height after the orientation tag; None where the header does not tell.

    Needs all of the file, as `orientation` does.
    """
    size = header_size(data)
    return None if size is None else _turned(size, orientation(data))


def header_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as stored, by the header of a JPEG, PNG, WebP or BMP; None if not there.

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
            return f"is a {kind}, which is not read here; use JPEG or PNG"
    return f"is not an image: it begins with {data[:8]!r}; use JPEG or PNG"


def _webp_exif(data: bytes) -> bytes | None:
    """The EXIF chunk of a WebP in the form that a JPEG has it."""
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            return _EXIF_START + data[at + 8 : at + 8 + length].removeprefix(_EXIF_START)
        at += 8 + length + length % 2
    return None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the chunks of a PNG up to IEND; none for whatever is no PNG."""
    at = len(_PNG_START)
    while data.startswith(_PNG_START) and at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at, at + 12 + length
        if kind == b"IEND":
            break
        at += 12 + length


def _app1_segments(data: bytes) -> list[bytes]:
    """Contents of the APP1 segments (EXIF, XMP) of a JPEG; none for whatever is no JPEG."""
    if not data.startswith(_JPEG_START):
        return []
    segments = _jpeg_segments(data)
    return [data[at : at + length] for marker, at, length in segments if marker == _JPEG_APP1]


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
