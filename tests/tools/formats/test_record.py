"""The value between readers and writers: what it refuses, and how classes are numbered."""

from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.record import (
    DataSet,
    LabelledImage,
    count_classes,
    count_degenerate,
    is_safe_name,
)


def image(name: str = "a.jpg", *class_names: str, difficult: bool = False) -> LabelledImage:
    count = len(class_names)
    boxes = np.tile([0.0, 0, 4, 4], (count, 1))
    return LabelledImage(Path(name), name, (10, 10), boxes, class_names, (difficult,) * count)


NAMES = [
    pytest.param("a.jpg", True, id="flat"),
    pytest.param("a/b/c.jpg", True, id="sub-folders"),
    pytest.param("..a.jpg", True, id="dots in a name"),
    pytest.param("/etc/passwd", False, id="absolute"),
    pytest.param("a/../../b.jpg", False, id="upwards"),
    pytest.param("", False, id="empty"),
]


@pytest.mark.parametrize(("name", "safe"), NAMES)
def test_safe_names(name: str, safe: bool) -> None:
    assert is_safe_name(name) == safe
    if not safe:
        with pytest.raises(ValueError, match="not a path inside"):
            image(name)


def test_disagreeing_parts_are_refused() -> None:
    boxes = np.zeros((2, 4))
    with pytest.raises(ValueError, match=r"a\.jpg: 2 boxes, 1 class names and 2 difficult"):
        LabelledImage(Path("a.jpg"), "a.jpg", (10, 10), boxes, ("cat",), (False, False))
    with pytest.raises(ValueError, match="at least 1 x 1"):
        LabelledImage(Path("a.jpg"), "a.jpg", (10, 0), np.zeros((0, 4)), (), ())


def test_classes_are_numbered_by_sorted_name_over_all_channels() -> None:
    data = DataSet.build({"train": [image("a", "dog")], "validation": [image("a", "cat")]}, None)
    assert data.class_names == ("cat", "dog")
    assert data.class_ids(image("a", "dog", "cat")) == [1, 0]


def test_classes_in_the_order_given() -> None:
    data = DataSet.build({"train": [image("a", "dog")]}, ["dog", "cow", "cat"])
    assert data.class_names == ("dog", "cow", "cat")


def test_all_faults_together() -> None:
    channels = {"train": [image("a", "dog", "dog"), image("b"), image("b")]}
    with pytest.raises(ClientError) as caught:
        DataSet.build(channels, ["cat", "cat"])
    first, second, third = caught.value.faults
    assert "Channel 'train': the image 'b' occurs 2 times" in first
    assert "The class 'cat' is listed 2 times" in second
    assert "The class 'dog' has 2 boxes but is not among the classes cat, cat" in third


@pytest.mark.parametrize("difficult", [True, False])
def test_has_difficult_looks_at_all_channels(difficult: bool) -> None:
    last = image("b", "dog", difficult=difficult)
    data = DataSet.build({"train": [image("a", "dog")], "validation": [image(), last]}, None)
    assert data.has_difficult == difficult


def test_counts() -> None:
    assert count_classes([image("a", "dog", "cat"), image("b", "dog")]) == {"dog": 2, "cat": 1}
    boxes = np.array([[0.0, 0, 4, 4], [4, 0, 4, 4], [0, 4, 4, 0]])
    bad = LabelledImage(Path("a"), "a", (9, 9), boxes, ("x",) * 3, (False,) * 3)
    assert count_degenerate([bad, image()]) == 2
