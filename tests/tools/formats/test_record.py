"""The values between readers and writers: what they refuse, and which size counts."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.record import (
    LabelledImage,
    check_size,
    is_safe_name,
    size_of_bytes,
    size_of_file,
    suffix_of,
)
from tests.tools.split import image

PIXELS = np.random.default_rng(0).integers(0, 255, (8, 12, 3)).astype(np.uint8)

NAMES = [
    pytest.param("a.jpg", True, id="flat"),
    pytest.param("a/b/c.jpg", True, id="sub-folders"),
    pytest.param("..a.jpg", True, id="dots in a name"),
    pytest.param("Übung/猫.jpg", True, id="any alphabet"),
    pytest.param("/etc/passwd", False, id="absolute"),
    pytest.param("a/../../b.jpg", False, id="upwards"),
    pytest.param("", False, id="empty"),
    pytest.param("a\0.jpg", False, id="a byte no path can have"),
    pytest.param("caf\udce9.jpg", False, id="file name that is not UTF-8"),
]


@pytest.mark.parametrize(("name", "safe"), NAMES)
def test_safe_names(name: str, safe: bool) -> None:
    assert is_safe_name(name) == safe
    if not safe:
        with pytest.raises(ValueError, match="not a path inside"):
            image(name)


def test_disagreeing_parts_are_refused() -> None:
    boxes = np.zeros((2, 4))
    with pytest.raises(ValueError, match=r"a\.jpg: 2 boxes, 1 classes and 2 difficult"):
        LabelledImage("a.jpg", None, (10, 10), boxes, ("cat",), (False, False), bytes)
    with pytest.raises(ValueError, match="at least 1 x 1"):
        LabelledImage("a.jpg", None, (10, 0), np.zeros((0, 4)), (), (), bytes)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_size_and_suffix_of_a_picture(suffix: str, tmp_path: Path) -> None:
    data = cv2.imencode(suffix, PIXELS)[1].tobytes()
    (tmp_path / "a").write_bytes(data)
    assert size_of_bytes(data, "a") == size_of_file(tmp_path / "a") == (12, 8)
    assert suffix_of(data) == suffix


@pytest.mark.parametrize("data", [b"", cv2.imencode(".tiff", PIXELS)[1].tobytes()])
def test_suffix_of_what_training_has_none_for(data: bytes) -> None:
    """A channel of .tiff files would have no images."""
    assert suffix_of(data) == ".jpg"


def test_size_behind_a_header_longer_than_what_is_read_first(tmp_path: Path) -> None:
    """Three comments of 64 KiB, as colour profiles and previews are, before the size."""
    data = cv2.imencode(".jpg", PIXELS)[1].tobytes()
    comment = b"\xff\xfe\xff\xff" + bytes(0xFFFF - 2)
    (tmp_path / "a.jpg").write_bytes(data[:2] + 3 * comment + data[2:])
    assert size_of_file(tmp_path / "a.jpg") == (12, 8)


JPEG = cv2.imencode(".jpg", PIXELS)[1].tobytes()
SIZES = [
    pytest.param(None, JPEG, (12, 8), id="none declared"),
    pytest.param((12, 8), JPEG, (12, 8), id="declared as stored"),
    pytest.param((24, 16), JPEG, (24, 16), id="resized after it was labelled"),
    pytest.param((24, 16), b"no picture", (24, 16), id="undecodable"),
    pytest.param(None, JPEG[:-20], (12, 8), id="cut short, but the header tells"),
]


@pytest.mark.parametrize(("declared", "data", "expected"), SIZES)
def test_the_size_that_boxes_refer_to(
    declared: tuple[int, int] | None, data: bytes, expected: tuple[int, int]
) -> None:
    assert check_size(declared, lambda: size_of_bytes(data, "it"), "a.json") == expected


def test_sizes_that_are_refused() -> None:
    with pytest.raises(ClientError, match=r"a\.json: it is not an image.*no size is declared\. M"):
        check_size(None, lambda: size_of_bytes(b"no picture", "it"), "a.json")
    with pytest.raises(ClientError, match=r"says 8 x 12, the stored picture is 12 x 8: it was tur"):
        check_size((8, 12), lambda: size_of_bytes(JPEG, "it"), "a.json")
