"""Every format into every other: the same images, boxes, classes and marks come out."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sagemaker_object_detection.tools.formats import READERS, WRITERS
from sagemaker_object_detection.tools.formats.data_set import DataSet, Images

from sagemaker_object_detection.tools.conversion import convert
from tests.tools.format_trees import NAMES, SPLITS, Corners, Sample, write_tree

CHANNELS = {"train": "train", "val": "validation"}
HAS_DIFFICULT = {"voc", "recordio"}
SORTED = {"yolo", "sagemaker-json"}
"""Formats without a list of their images, which are read in the order of their names."""


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def read(form: str, folder: Path, channels: Sequence[str]) -> DataSet:
    return DataSet.build(
        {channel: Images([READERS[form](folder, channel)]) for channel in channels}, None
    )


def check(
    data: DataSet, splits: Mapping[str, Sequence[Sample]], *, names: bool, difficult: bool
) -> None:
    """The images of a converted data set are the samples, in any order if they have names."""
    for split, samples in splits.items():
        found = list(data.channels[CHANNELS[split]])
        if names:
            by_name = {image.name: image for image in found}
            assert sorted(by_name) == sorted(one.name for one in samples)
            found = [by_name[one.name] for one in samples]
        assert len(found) == len(samples)
        for image, one in zip(found, samples, strict=True):
            assert image.read_image() == one.data
            assert image.size == one.size
            assert [data.class_names[i] for i in data.class_ids(image)] == [
                name for name, _, _ in one.objects
            ]
            np.testing.assert_allclose(image.boxes_px, np.reshape(one.boxes, (-1, 4)), atol=0.5)
            flags = tuple(difficult and flag for _, _, flag in one.objects)
            assert image.difficult == flags


@pytest.mark.parametrize("target", sorted(WRITERS))
@pytest.mark.parametrize("origin", sorted(READERS))
def test_every_pair(origin: str, target: str, tmp_path: Path) -> None:
    source = write_tree(origin, tmp_path / "source")
    output = tmp_path / "output"
    data = convert(source, output, list(CHANNELS.items()), reader=origin, writer=target)
    assert data.class_names == NAMES
    again = read(target, output, list(CHANNELS.values()))
    assert again.class_names == NAMES
    check(
        again,
        SPLITS if origin not in SORTED else _sorted(SPLITS),
        names="recordio" not in (origin, target),
        difficult={origin, target} <= HAS_DIFFICULT,
    )


def _sorted(splits: Mapping[str, Sequence[Sample]]) -> Mapping[str, Sequence[Sample]]:
    return {split: sorted(samples, key=lambda one: one.name) for split, samples in splits.items()}


@pytest.mark.parametrize("origin", sorted(READERS))
@pytest.mark.parametrize("target", sorted(WRITERS))
def test_same_bytes_every_time(origin: str, target: str, tmp_path: Path) -> None:
    source = write_tree(origin, tmp_path / "source")
    for name in ("first", "second"):
        convert(source, tmp_path / name, list(CHANNELS.items()), reader=origin, writer=target)
    assert content(tmp_path / "first") == content(tmp_path / "second")


coordinates = st.floats(-50, 2000).map(lambda value: round(value, 3))
boxes = st.lists(
    st.tuples(
        st.tuples(coordinates, coordinates, coordinates, coordinates), st.sampled_from(NAMES)
    ),
    min_size=1,
    max_size=4,
)
chains = st.lists(st.sampled_from(sorted(WRITERS)), min_size=1, max_size=4)
SIZE = (1999, 1501)
PICTURE = cv2.imencode(".png", np.zeros((SIZE[1], SIZE[0], 3), np.uint8))[1].tobytes()


@settings(max_examples=60, deadline=None)
@given(origin=st.sampled_from(sorted(READERS)), chain=chains, objects=boxes)
def test_boxes_survive_a_chain_of_formats(
    origin: str, chain: list[str], objects: list[tuple[Corners, str]]
) -> None:
    """Inverted, overhanging and empty boxes included: the gate judges them, not the converter."""
    one = Sample("a.png", PICTURE, SIZE, [(name, box, False) for box, name in objects])
    with tempfile.TemporaryDirectory() as name:
        folder, form = write_tree(origin, Path(name) / "0", {"train": [one]}), origin
        for number, target in enumerate(chain, 1):
            output = Path(name) / str(number)
            convert(folder, output, [("train", "train")], reader=form, writer=target)
            folder, form = output, target
        check(read(form, folder, ["train"]), {"train": [one]}, names=False, difficult=False)
