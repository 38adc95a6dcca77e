"""The first pass over a data set: what it counts, and the faults it gathers."""

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.data_set import DataSet, Images
from tests.tools.split import MemorySplit, image


def test_classes_are_numbered_over_all_channels() -> None:
    train = Images([MemorySplit([image("a", "dog")])])
    validation = Images([MemorySplit([image("a", "cat")])])
    data = DataSet.build({"train": train, "validation": validation}, None)
    assert data.class_names == ("cat", "dog")
    assert data.class_ids(image("a", "dog", "cat", "dog")) == [1, 0, 1]


def test_counts() -> None:
    boxes = [[0.0, 0, 4, 4], [4, 0, 4, 4], [0, 4, 4, 0]]
    split = MemorySplit([image("a", "x", "x", "y", boxes=boxes, difficult=True), image("b")])
    data = DataSet.build({"train": Images([split]), "validation": Images([])}, None)
    survey = data.surveys["train"]
    assert (survey.images, survey.flat, survey.difficult) == (2, 2, 3)
    assert data.boxes_per_class("train") == {"x": 2, "y": 1}
    assert data.boxes_per_class("validation") == {}


@pytest.mark.parametrize("difficult", [True, False])
def test_has_difficult_looks_at_all_channels(difficult: bool) -> None:
    last = MemorySplit([image("b", "dog", difficult=difficult)])
    first = MemorySplit([image("a", "dog")])
    data = DataSet.build({"train": Images([first]), "validation": Images([last])}, None)
    assert data.has_difficult == difficult


def test_images_without_names_are_numbered_through_the_channel() -> None:
    splits = [
        MemorySplit([image(None), image(None, data=b"\x89PNG")]),
        MemorySplit([image("a.jpg"), image(None)]),
    ]
    names = [found.name for found in Images(splits)]
    assert names == ["000000.jpg", "000001.png", "a.jpg", "000003.jpg"]


def test_all_faults_of_the_images_together() -> None:
    broken = [ClientError(f"fault {n}") for n in range(22)]
    channels = {"train": Images([MemorySplit([*broken, image("a", "cat")])])}
    with pytest.raises(
        ClientError, match=r"cannot be converted \(22 in all\):\nfault 0\n"
    ) as caught:
        DataSet.build(channels, ["dog"])
    assert str(caught.value).endswith("fault 9\n... and 12 more.")


def test_names_that_repeat() -> None:
    images = [image(name) for name in "abcbab"]
    channels = {"train": Images([MemorySplit(images[:3]), MemorySplit(images[3:])])}
    with pytest.raises(ClientError, match="Take each image once") as caught:
        DataSet.build(channels, None)
    assert str(caught.value).splitlines()[1:] == [
        "Channel 'train': the image 'a' occurs 2 times.",
        "Channel 'train': the image 'b' occurs 3 times.",
    ]


def test_one_step_for_every_image() -> None:
    steps: list[None] = []
    channels = {name: Images([MemorySplit([image(None), image(None)])]) for name in "ab"}
    DataSet.build(channels, None, lambda: steps.append(None))
    assert len(steps) == 4
