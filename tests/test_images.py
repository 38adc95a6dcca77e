from __future__ import annotations

import struct
import time
import zlib

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from sagemaker_object_detection import images
from tests.orientation import (
    BYTE_ORDERS,
    ByteOrder,
    app1,
    chunk,
    displayed,
    exif,
    with_tag,
)


def _encode(extension: str, image: npt.NDArray[np.generic], *options: int) -> bytes:
    ok, data = cv2.imencode(extension, image, options)
    assert ok
    return data.tobytes()


@pytest.fixture(scope="module")
def picture() -> npt.NDArray[np.uint8]:
    """RGB (40, 60, 3): red left, blue right, with some noise."""
    rng = np.random.default_rng(0)
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, :30, 0] = 200
    rgb[:, 30:, 2] = 200
    return rgb + rng.integers(0, 30, rgb.shape, dtype=np.uint8)


def _bgr(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(rgb[..., ::-1])


def test_decode_is_rgb(picture: npt.NDArray[np.uint8]) -> None:
    got = images.decode(_encode(".png", _bgr(picture)))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, picture)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("grey", "one channel becomes three"),
        ("alpha", "the fourth channel is left out"),
        ("16 bit", "the upper byte counts"),
        ("palette", "indices are looked up"),
        ("jpeg", "lossy, but near on average"),
        ("grey jpeg", "one channel becomes three"),
        ("webp", "not a format of the service, but the bytes decide"),
    ],
)
def test_decode_any_kind(picture: npt.NDArray[np.uint8], kind: str, reason: str) -> None:
    grey = picture[..., 0]
    bgr = _bgr(picture)
    three_grey = np.repeat(grey[..., None], 3, axis=2)
    data, expected, tolerance = {
        "grey": (_encode(".png", grey), three_grey, 0),
        "alpha": (_encode(".png", np.dstack([bgr, grey])), picture, 0),
        "16 bit": (_encode(".png", bgr.astype(np.uint16) * 257), picture, 0),
        "palette": (_palette_png(), np.array([[[255, 0, 0], [0, 0, 255]]]), 0),
        "jpeg": (_encode(".jpg", bgr, cv2.IMWRITE_JPEG_QUALITY, 100), picture, 12),
        "grey jpeg": (_encode(".jpg", grey, cv2.IMWRITE_JPEG_QUALITY, 100), three_grey, 6),
        "webp": (_encode(".webp", bgr, cv2.IMWRITE_WEBP_QUALITY, 101), picture, 0),
    }[kind]
    got = images.decode(data)
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected.astype(int)).mean() <= tolerance, reason


EXIF = b"Exif\0\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"
BROKEN_ENTRY = struct.pack("<HHII", 0x010F, 2, 100, 9999)  # Make, far behind the end
OTHER_ENTRY = struct.pack("<HHII", 0x0100, 4, 1, 60)
ODD_TAGS = [
    pytest.param((app1(EXIF + exif(0)),), 1, id="0 is no orientation"),
    pytest.param((app1(EXIF + exif(9)),), 1, id="9 is no orientation"),
    pytest.param((app1(EXIF + exif(6)), app1(EXIF + exif(3))), 6, id="the first of two counts"),
    pytest.param((app1(XMP), app1(EXIF + exif(6))), 1, id="XMP before EXIF hides it"),
    pytest.param((app1(EXIF + exif(6)), app1(XMP)), 6, id="XMP after EXIF"),
    pytest.param((b"\xff\xfe\0\4hi", app1(EXIF + exif(6))), 6, id="behind a comment"),
    pytest.param((b"\xff\xff\xff", app1(EXIF + exif(6))), 6, id="behind fill bytes"),
    pytest.param((app1(EXIF + exif(6, before=OTHER_ENTRY)),), 6, id="behind another entry"),
    pytest.param((app1(EXIF + exif(6, before=BROKEN_ENTRY)),), 1, id="behind a broken entry"),
    pytest.param((app1(EXIF + exif(6)[:18]),), 1, id="cut inside the entry"),
    pytest.param((app1(b""),), 1, id="an empty segment"),
    pytest.param((app1(EXIF + b"XX" + exif(6)[2:]),), 1, id="no byte order"),
    pytest.param(
        (app1(EXIF + b"II*\0" + struct.pack("<IHI", 8, 0, 14) + exif(6)[8:]),),
        1,
        id="the tag of the thumbnail only",
    ),
]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("order", BYTE_ORDERS)
@pytest.mark.parametrize("tag", range(1, 9))
def test_orientation_tags_are_applied(
    picture: npt.NDArray[np.uint8], suffix: str, order: ByteOrder, tag: int
) -> None:
    plain = _encode(suffix, _bgr(picture))
    tagged = with_tag(plain, tag, order)
    shown = displayed(images.decode(plain), tag)
    np.testing.assert_array_equal(images.decode(tagged), shown)
    assert images.orientation(tagged) == tag
    assert images.ignored_orientation(tagged) == 1
    assert images.check(tagged) == images.displayed_size(tagged) == shown.shape[1::-1]
    assert images.header_size(tagged) == (60, 40)


@pytest.mark.parametrize(("segments", "tag"), ODD_TAGS)
def test_odd_tags_of_a_jpeg(
    picture: npt.NDArray[np.uint8], segments: tuple[bytes, ...], tag: int
) -> None:
    plain = _encode(".jpg", _bgr(picture))
    tagged = plain[:2] + b"".join(segments) + plain[2:]
    shown = displayed(images.decode(plain), tag)
    np.testing.assert_array_equal(images.decode(tagged), shown)
    assert images.orientation(tagged) == tag
    assert images.check(tagged) == images.displayed_size(tagged) == shown.shape[1::-1]


def test_a_tag_behind_the_size_of_a_jpeg(picture: npt.NDArray[np.uint8]) -> None:
    plain = _encode(".jpg", _bgr(picture))
    at = plain.index(b"\xff\xda")
    tagged = plain[:at] + app1(EXIF + exif(6)) + plain[at:]
    assert images.check(tagged) == images.decode(tagged).shape[1::-1] == (40, 60)


def _damaged(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("before", "after", "tag"),
    [
        pytest.param(b"", chunk(b"eXIf", exif(6)), 6, id="behind the pixels"),
        pytest.param(chunk(b"eXIf", exif(6)), chunk(b"eXIf", exif(3)), 6, id="two"),
        pytest.param(_damaged(chunk(b"eXIf", exif(6))), b"", 1, id="a wrong checksum"),
        pytest.param(chunk(b"eXIf", EXIF + exif(6)), b"", 1, id="as in a JPEG"),
        pytest.param(chunk(b"eXIf", b""), b"", 1, id="empty"),
    ],
)
def test_odd_tags_of_a_png(
    picture: npt.NDArray[np.uint8], before: bytes, after: bytes, tag: int
) -> None:
    plain = _encode(".png", _bgr(picture))
    end = plain.index(b"IEND") - 4
    tagged = plain[:33] + before + plain[33:end] + after + plain[end:]
    np.testing.assert_array_equal(images.decode(tagged), displayed(picture, tag))
    assert images.orientation(tagged) == tag
    assert images.displayed_size(tagged) == images.check(tagged)


def test_a_tag_longer_than_the_file(picture: npt.NDArray[np.uint8]) -> None:
    png = _encode(".png", _bgr(picture))
    assert images.orientation(png[:33] + b"\x7f\xff\xff\xffeXIf" + png[33:]) == 1


@pytest.mark.parametrize("start", [b"", EXIF])
def test_the_tag_of_a_webp_is_not_applied(picture: npt.NDArray[np.uint8], start: bytes) -> None:
    plain = _encode(".webp", _bgr(picture), cv2.IMWRITE_WEBP_QUALITY, 101)
    tag = start + exif(6)
    header = b"VP8X" + struct.pack("<IIBHBH", 10, 8, 59, 0, 39, 0)  # EXIF, 60 x 40
    body = b"WEBP" + header + plain[12:] + b"EXIF" + struct.pack("<I", len(tag)) + tag
    tagged = b"RIFF" + struct.pack("<I", len(body)) + body
    np.testing.assert_array_equal(images.decode(tagged), picture)
    assert (images.orientation(tagged), images.ignored_orientation(tagged)) == (1, 6)
    assert images.displayed_size(tagged) == images.check(tagged) == (60, 40)
    assert images.ignored_orientation(plain) == 1


def test_the_tag_of_a_jpeg_behind_xmp_is_not_applied(picture: npt.NDArray[np.uint8]) -> None:
    plain = _encode(".jpg", _bgr(picture))
    tagged = plain[:2] + app1(XMP) + app1(EXIF + exif(8)) + plain[2:]
    assert (images.orientation(tagged), images.ignored_orientation(tagged)) == (1, 8)
    assert images.ignored_orientation(plain[:2] + app1(XMP) + plain[2:]) == 1
    assert images.ignored_orientation(plain) == 1


def _animated(png: bytes, width: int, height: int, *extra: bytes) -> bytes:
    """The PNG as the first of two images of an animation, the frame declared of this size."""
    frame = struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 10, 0, 0)
    control = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", frame)
    return png[:33] + control + b"".join(extra) + png[33:]


def test_an_animation_gives_its_first_image(picture: npt.NDArray[np.uint8]) -> None:
    """OpenCV 4.11 ignores the tag of an animated PNG."""
    data = _animated(_encode(".png", _bgr(picture)), 60, 40, chunk(b"eXIf", exif(6)))
    np.testing.assert_array_equal(images.decode(data), displayed(picture, 6))
    assert images.orientation(data) == 6
    assert images.check(data) == images.displayed_size(data) == (40, 60)


def test_a_frame_larger_than_the_image_does_no_harm(picture: npt.NDArray[np.uint8]) -> None:
    """OpenCV 4.11 writes outside of its memory: the process would end by a signal."""
    data = _animated(_encode(".png", _bgr(picture)), 100, 100)
    np.testing.assert_array_equal(images.decode(data), picture)


def _png(width: int, height: int, colour_type: int, rows: bytes, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    extra = b"".join(chunk(c[:4], c[4:]) for c in chunks)
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body + chunk(b"IEND", b"")


def _palette_png() -> bytes:
    return _png(2, 1, 3, b"\0\0\1", b"PLTE\xff\0\0\0\0\xff")


def _put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _jpeg_declaring(width: int, height: int, data: bytes) -> bytes:
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


@pytest.mark.parametrize(
    ("kind", "message", "reason"),
    [
        ("empty", r"photo.jpg is empty \(0 bytes\)", "nothing to decode"),
        ("text", r"photo.jpg is not an image: it begins with b'hello wo'", "no magic bytes"),
        ("cut jpeg", "photo.jpg is a JPEG that was cut short", "half the picture would be grey"),
        ("jpeg header", "cut short", "nothing behind the start marker"),
        ("cut png", "begins as a PNG but cannot be decoded", "libpng stops at the end"),
        ("huge png", "too many pixels: 60000 x 60000", "a bomb of a few bytes"),
        ("huge jpeg", "too many pixels: 65000 x 64000", "a bomb of a few bytes"),
        ("huge webp", "too many pixels: 16384 x 16384", "a bomb of a few bytes"),
        ("huge bmp", "too many pixels: 20000 x 30000", "a bomb of a few bytes"),
    ],
)
def test_decode_refuses(
    picture: npt.NDArray[np.uint8], kind: str, message: str, reason: str
) -> None:
    jpeg = _encode(".jpg", _bgr(picture))
    png = _encode(".png", _bgr(picture))
    data = {
        "empty": b"",
        "text": b"hello world",
        "cut jpeg": jpeg[: len(jpeg) * 9 // 10],
        "jpeg header": jpeg[:2],
        "cut png": png[: len(png) // 2],
        "huge png": _png(60000, 60000, 2, b""),
        "huge jpeg": _jpeg_declaring(65000, 64000, jpeg),
        "huge webp": _put(_encode(".webp", _bgr(picture)), 21, b"\xff" * 4),
        "huge bmp": _put(_encode(".bmp", _bgr(picture)), 18, struct.pack("<ii", 20000, -30000)),
    }[kind]
    with pytest.raises(images.ImageError, match=message):
        images.decode(data, "photo.jpg")


def test_truncation_is_not_hidden_by_a_thumbnail(picture: npt.NDArray[np.uint8]) -> None:
    jpeg = _encode(".jpg", _bgr(picture))
    thumbnail = b"Exif\0\0" + jpeg  # with an end marker of its own
    head = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = head + jpeg[2:]
    assert not images.is_truncated_jpeg(whole)
    assert images.is_truncated_jpeg(whole[:-20])


def test_bytes_behind_the_end_do_not_matter(picture: npt.NDArray[np.uint8]) -> None:
    jpeg = _encode(".jpg", _bgr(picture))
    assert not images.is_truncated_jpeg(jpeg + b"\0" * 100)
    np.testing.assert_array_equal(images.decode(jpeg + b"\0" * 100), images.decode(jpeg))
    assert not images.is_truncated_jpeg(b"\x89PNG")


def test_progressive_jpeg(picture: npt.NDArray[np.uint8]) -> None:
    jpeg = _encode(".jpg", _bgr(picture), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert images.decode(jpeg).shape == picture.shape
    with pytest.raises(images.ImageError, match="cut short"):
        images.decode(jpeg[:-30])


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _many_scans(picture: npt.NDArray[np.uint8], count: int, hidden: bytes = b"") -> bytes:
    """A progressive JPEG with so many more scans that refine nothing, each behind a comment."""
    data = _encode(".jpg", picture, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    header = bytes([1, data[data.index(b"\xff\xda") + 5], 0, 1, 5, 0x00])
    return data[:-2] + (_segment(0xFE, hidden) + _segment(0xDA, header)) * count + data[-2:]


@pytest.mark.parametrize("hidden", [b"", b"\xff\xd9"], ids=["plain", "an end in a comment"])
def test_a_jpeg_of_very_many_scans_is_refused_at_once(
    picture: npt.NDArray[np.uint8], hidden: bytes
) -> None:
    images.check(_many_scans(picture, 50, hidden))
    data = _many_scans(picture, 20_000, hidden)
    begun = time.perf_counter()
    for read in (images.check, images.decode):
        with pytest.raises(images.ImageError, match=r"a JPEG of 200\d\d scans, at most 100 are"):
            read(data, "a.jpg")
    assert time.perf_counter() - begun < 1


def test_what_cameras_append_to_a_jpeg_is_no_scan_of_it(picture: npt.NDArray[np.uint8]) -> None:
    """A video, for example, whose bytes may be any."""
    data = _encode(".jpg", picture) + b"\xff\xda\0" * 200
    assert images.check(data) == (60, 40)


@pytest.mark.parametrize(
    ("side", "sampling", "fits"),
    [(8000, (1, 1, 1), True), (8200, (1, 1, 1), False), (11500, (2, 1, 1), True)],
    ids=["4:4:4", "4:4:4, too large", "4:2:0"],
)
def test_the_coefficients_of_a_progressive_jpeg_have_a_limit(
    side: int, sampling: tuple[int, ...], fits: bool
) -> None:
    parts = b"".join(bytes([i + 1, 17 * factor, 0]) for i, factor in enumerate(sampling))
    frame = struct.pack(">BHHB", 8, side, side, len(sampling)) + parts
    data = b"\xff\xd8" + _segment(0xC2, frame) + _segment(0xDA, bytes(6)) + b"\xff\xd9"
    with pytest.raises(images.ImageError) as error:
        images.check(data)
    assert ("whose decoder takes more than 402 MB" in str(error.value)) != fits


def test_resize_square(picture: npt.NDArray[np.uint8]) -> None:
    got = images.resize_square(picture, 20)
    assert got.shape == (20, 20, 3)
    assert got.dtype == np.uint8
    assert got[10, 2, 0] > 150 > got[10, 2, 2]
    assert got[10, 18, 2] > 150 > got[10, 18, 0]
    square = np.zeros((8, 8, 3), np.uint8)
    assert images.resize_square(square, 8) is square


def test_a_png_whose_chunk_declares_too_much_is_refused_at_once() -> None:
    """OpenCV takes memory for 4 GB first, and seconds over it."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    data = bytearray(cv2.imencode(".png", pixels)[1].tobytes())
    at = data.index(b"IDAT") - 4
    data[at : at + 4] = b"\xff\xff\xff\xf0"
    begun = time.process_time()
    with pytest.raises(images.ImageError, match="begins as a PNG but cannot be decoded"):
        images.decode(bytes(data))
    assert time.process_time() - begun < 0.5


def test_what_follows_the_end_of_a_png_does_not_matter() -> None:
    data = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    assert images.decode(data + b"appended").shape == (4, 4, 3)


def _mutated(data: bytes, random: np.random.Generator) -> bytes:
    """The bytes with a few changed, gone or put in between; half of the places in the header."""
    changed = bytearray(data)
    for _ in range(random.choice([1, 1, 2, 5, 30])):
        reach = len(changed) if random.random() < 0.5 else min(len(changed), 700)
        at = int(random.integers(reach))
        if random.random() < 0.6:
            changed[at] = random.integers(256)
        elif random.random() < 0.5:
            del changed[at : at + int(random.integers(1, 40))]
        else:
            changed[at:at] = random.bytes(int(random.integers(1, 20)))
    return bytes(changed)


def test_what_is_checked_and_what_is_decoded_are_the_same() -> None:
    """Of damaged JPEGs of every kind: the check computes fewer pixels but reads all data."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (70, 90, 3), dtype=np.uint8)
    originals = [
        _encode(".jpg", pixels),
        with_tag(_encode(".jpg", pixels), 6),
        _encode(".jpg", pixels[..., 0]),
        _encode(".jpg", pixels, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        _encode(".jpg", pixels, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        _encode(
            ".jpg", pixels, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        ),
    ]
    outcomes = set()
    for number in range(1500):
        data = _mutated(originals[number % len(originals)], random)
        answers = []
        for look in (images.check, lambda data: images.decode(data).shape[1::-1]):
            try:
                answers.append(look(data))
            except images.ImageError:
                answers.append(None)
        assert answers[0] == answers[1], number
        outcomes.add(answers[0] is None)
    assert outcomes == {True, False}


@pytest.mark.parametrize(
    ("extension", "channels", "options"),
    [
        pytest.param(".jpg", 3, (), id="JPEG"),
        pytest.param(".png", 3, (), id="PNG"),
        pytest.param(".webp", 3, (cv2.IMWRITE_WEBP_QUALITY, 101), id="WebP without loss"),
        pytest.param(".webp", 3, (cv2.IMWRITE_WEBP_QUALITY, 80), id="WebP"),
        pytest.param(".webp", 4, (cv2.IMWRITE_WEBP_QUALITY, 80), id="WebP with alpha"),
        pytest.param(".bmp", 3, (), id="BMP"),
    ],
)
def test_the_size_that_is_checked(extension: str, channels: int, options: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 31, channels), np.uint8)
    data = _encode(extension, pixels, *options)
    assert images.check(data) == (31, 7)
    assert images.header_size(data) == (31, 7)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"RIFF\0\0\0\0WEBPALPH" + bytes(30), id="an unknown chunk of WebP"),
        pytest.param(b"BM" + bytes(40), id="a BMP without pixels"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="a cut PNG"),
        pytest.param(b"RIFF\0\0\0\0WEBPVP8L/", id="a cut WebP"),
        pytest.param(b"BM\0\0", id="a cut BMP"),
        pytest.param(b"GIF89a" + bytes(40), id="another format"),
    ],
)
def test_headers_that_tell_no_size(data: bytes) -> None:
    assert images.header_size(data) is None


@pytest.mark.parametrize(
    ("extension", "told"),
    [
        (".tiff", "the image is a TIFF, which is not read here; use JPEG or PNG"),
        (".jp2", "the image is not an image: it begins with "),
        (".ppm", "the image is not an image: it begins with b'P6"),
    ],
)
def test_what_else_opencv_reads_is_refused(extension: str, told: str) -> None:
    """Nothing bounds the memory for them."""
    data = _encode(extension, np.zeros((64, 64, 3), np.uint8))
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    for read in (images.decode, images.check):
        with pytest.raises(images.ImageError) as refused:
            read(data)
        assert str(refused.value).startswith(told)


@pytest.mark.parametrize("name", ["photo.jp2", "photo.jpg", "photo.png"])
@pytest.mark.parametrize("kind", ["JP2 file", "codestream"])
def test_jpeg_2000_never_reaches_opencv(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2025-53644 is in the JPEG 2000 decoder of OpenCV 4.11."""
    data = _encode(".jp2", np.zeros((64, 64, 3), np.uint8))
    if kind == "codestream":
        data = data[data.index(b"\xff\x4f\xff\x51") :]
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("OpenCV saw the bytes"))
    for read in (images.decode, images.check):
        with pytest.raises(images.ImageError, match=f"{name} is not an image"):
            read(data, name)


def test_a_bmp_as_os2_wrote_it() -> None:
    header = struct.pack("<IHHHH", 12, 31, 7, 1, 24)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 26) + header + bytes(96 * 7)
    assert images.header_size(data) == (31, 7)
    assert images.decode(data).shape == (7, 31, 3)
