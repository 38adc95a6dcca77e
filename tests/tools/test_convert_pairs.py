"""Every format into every writer: the same images, boxes, classes and marks come out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.boxes import to_px
from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.gate import passed, survey
from sagemaker_object_detection.data.sources.splits import SPLITS as FORMATS
from sagemaker_object_detection.data.sources.splits import open_split
from sagemaker_object_detection.data.tally import Limits
from sagemaker_object_detection.tools.channel_writers import WRITERS
from sagemaker_object_detection.tools.conversion import convert
from sagemaker_object_detection.tools.findings import Settings
from tests.tools.format_trees import NAMES, SPLITS, Sample, write_tree

CHANNELS = {"train": "train", "val": "validation"}
HAS_DIFFICULT = {"voc", "recordio"}
SORTED = {"yolo", "voc", "sagemaker-json"}
"""Formats without a list of their images, which are read in the order of their names."""


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def kept(one: Sample) -> list[tuple[int, list[float], bool]]:
    """Class id, corners in pixels and mark of the boxes that pass: those with an area."""
    corners = np.clip(np.reshape(one.boxes, (-1, 4)), 0, np.tile(one.size, 2))
    return [
        (NAMES.index(name), box, difficult)
        for (name, _, difficult), box in zip(one.objects, corners.tolist(), strict=True)
        if box[2] > box[0] and box[3] > box[1]
    ]


def check(source: Source, samples: Sequence[Sample], *, named: bool, difficult: bool) -> None:
    data = passed(source, survey("train", source, len(NAMES), 1))
    assert len(data) == len(samples)
    order = range(len(samples))
    if named:
        names = [source.image_name(i) for i in order]
        assert sorted(map(str, names)) == sorted(one.name for one in samples)
        order = [names.index(one.name) for one in samples]
    for index, one in zip(order, samples, strict=True):
        assert data.image(index) == one.data
        labels = data.labels(index)
        expected = kept(one)
        assert labels.class_ids.tolist() == [class_id for class_id, _, _ in expected]
        boxes = np.reshape([box for _, box, _ in expected], (-1, 4))
        np.testing.assert_allclose(to_px(labels.boxes.astype(float), *one.size), boxes, atol=0.01)
        marks = [difficult and mark for _, _, mark in expected]
        assert labels.difficult.tolist() == marks


@pytest.mark.parametrize("writer", sorted(WRITERS))
@pytest.mark.parametrize("reader", sorted(FORMATS))
def test_every_pair(reader: str, writer: str, tmp_path: Path) -> None:
    folder = write_tree(reader, tmp_path / "source")
    outputs = [tmp_path / "first", tmp_path / "second"]
    for output in outputs:
        findings, _ = convert(
            folder,
            output,
            list(CHANNELS.items()),
            reader=reader,
            writer=writer,
            settings=Settings(limits=Limits(0, 0.2)),  # for the box without area
        )
        assert findings.class_names == NAMES
    assert content(outputs[0]) == content(outputs[1])
    for split, channel in CHANNELS.items():
        samples = SPLITS[split]
        check(
            open_split(writer, outputs[0], channel),
            sorted(samples, key=lambda one: one.name) if reader in SORTED else samples,
            named=reader != "recordio",
            difficult={reader, writer} <= HAS_DIFFICULT,
        )
