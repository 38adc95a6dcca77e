"""The same photographs in every form: after the gate there is the same table of boxes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest

from sagemaker_object_detection.data.gate import survey
from sagemaker_object_detection.data.judge import judge
from sagemaker_object_detection.data.sources import open_source
from sagemaker_object_detection.data.sources.pascal_voc import open_voc
from sagemaker_object_detection.data.stream import StreamLoader
from sagemaker_object_detection.data.tally import Tally
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.tools.conversion import convert
from tests.data.samples import raw
from tests.fifo import Feeder, record

BCCD = Path(
    os.environ.get("BCCD_DIR", Path(__file__).parents[3] / "shared" / "data" / "bccd" / "BCCD")
)
CLASSES = ("Platelets", "RBC", "WBC")
IMAGES, BOXES = 364, 4888
THREADS = 2

pytestmark = pytest.mark.skipif(
    not BCCD.is_dir(), reason="the BCCD photographs are not there: set BCCD_DIR to their folder"
)

Table = Mapping[int, npt.NDArray[np.float64]]
"""Of every picture, by the gate's hash of its bytes: rows of class id and corners in 0..1."""


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """All images as one channel in a form that can be written, made when it is asked for."""
    base = tmp_path_factory.mktemp("bccd")

    def folder(writer: str) -> Path:
        if not (base / writer).exists():
            splits = [(split, "train") for split in ("train", "val", "test")]
            findings, _ = convert(BCCD, base / writer, splits, writer=writer)
            assert findings.class_names == CLASSES
            assert findings.tallies["train"].dropped_counts == {"zero_area": 2}
        return base / writer

    return folder


@pytest.fixture(scope="module")
def expected() -> Table:
    """The table by the annotations of the data set alone, which count pixels from 1."""
    table = {}
    for path in (BCCD / "Annotations").glob("*.xml"):
        root = ElementTree.parse(path).getroot()
        width, height = (float(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        rows = []
        for node in root.iter("object"):
            corners = [
                float(node.findtext(f"bndbox/{name}", "")) - 1
                for name in ("xmin", "ymin", "xmax", "ymax")
            ]
            if corners[2] > corners[0] and corners[3] > corners[1]:
                box = np.clip(np.array(corners) / [width, height, width, height], 0, 1)
                rows.append([CLASSES.index(node.findtext("name", "")), *box])
        picture = (BCCD / "JPEGImages" / path.name).with_suffix(".jpg").read_bytes()
        table[_digest(picture)] = np.reshape(rows, (-1, 5))
    return table


def _digest(picture: bytes) -> int:
    return judge("picture", lambda: raw(picture, [], []), len(CLASSES)).digest


def _gated(train: Path, notes: Path | None = None) -> Tally:
    """A channel in File mode, up to the end of the gate."""
    channels = {"train": Channel("train", train)}
    if notes is not None:
        channels["train_annotation"] = Channel("train_annotation", notes)
    return survey("train", open_source(with_forms(channels), "train"), len(CLASSES), THREADS)


def _streamed(folder: Path, stream: bytes) -> Tally:
    """A FIFO with these bytes, up to its end."""
    loader = StreamLoader(
        folder / "train", "train", 300, THREADS, len(CLASSES), epochs=1, declared_boxes=30
    )
    try:
        with Feeder(folder / "train", [stream]):
            truth = [labels for batch in loader.evaluation_pass(8) for labels in batch.truth]
    finally:
        loader.close()
    tally = loader.first_pass
    assert tally is not None
    boxes = np.concatenate([labels.boxes for labels in truth if labels is not None])
    np.testing.assert_array_equal(boxes, tally.boxes)  # what scoring is given is what was counted
    return tally


def _recordio(converted: Callable[[str], Path], folder: Path) -> Tally:
    return _gated(converted("recordio") / "train")


def _json(converted: Callable[[str], Path], folder: Path) -> Tally:
    base = converted("sagemaker-json")
    return _gated(base / "train", base / "train_annotation")


def _coco(converted: Callable[[str], Path], folder: Path) -> Tally:
    base = converted("sagemaker-json")
    images, boxes = [], []
    for number, (image, line) in enumerate(_lines(base)):
        images.append({"id": number, "file_name": image.name, **line["cells"]["image_size"][0]})
        boxes += [
            {
                "image_id": number,
                "category_id": row["class_id"] + 1,
                "bbox": [row[side] for side in ("left", "top", "width", "height")],
            }
            for row in line["cells"]["annotations"]
        ]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "all.json").write_text(json.dumps(content))
    return _gated(base / "train", folder)


def _voc(converted: Callable[[str], Path], folder: Path) -> Tally:
    tally = survey("train", open_voc(BCCD, None), len(CLASSES), THREADS)
    assert tally.dropped_counts.pop("zero_area") == 2
    return tally


def _yolo(converted: Callable[[str], Path], folder: Path) -> Tally:
    for image, line in _lines(converted("sagemaker-json")):
        (size,) = line["cells"]["image_size"]
        rows = [
            f"{row['class_id']} {(row['left'] + row['width'] / 2) / size['width']:.6f} "
            f"{(row['top'] + row['height'] / 2) / size['height']:.6f} "
            f"{row['width'] / size['width']:.6f} {row['height'] / size['height']:.6f}\n"
            for row in line["cells"]["annotations"]
        ]
        (folder / f"{image.stem}.txt").write_text("".join(rows))
        (folder / image.name).symlink_to(image)
    return _gated(folder)


def _lines(base: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Images, and the lines of a manifest that lists them, from annotations that lie singly."""
    for path in sorted((base / "train_annotation").glob("*.json")):
        note = json.loads(path.read_bytes())
        yield (
            base / "train" / note["file"],
            {
                "source-ref": f"s3://bucket/bccd/{note['file']}",
                "cells": {key: note[key] for key in ("annotations", "image_size")},
                "cells-metadata": {"class-map": {str(i): name for i, name in enumerate(CLASSES)}},
            },
        )


def _manifest(converted: Callable[[str], Path], folder: Path) -> Tally:
    base = converted("sagemaker-json")
    lines = [json.dumps(line) for _, line in _lines(base)]
    (folder / "train.manifest").write_text("\n".join(lines))
    return _gated(base / "train", folder)


def _recordio_fifo(converted: Callable[[str], Path], folder: Path) -> Tally:
    return _streamed(folder, (converted("recordio") / "train" / "train.rec").read_bytes())


def _manifest_fifo(converted: Callable[[str], Path], folder: Path) -> Tally:
    stream = b"".join(
        record(part)
        for image, line in _lines(converted("sagemaker-json"))
        for part in (
            image.read_bytes(),
            json.dumps(line["cells"]).encode(),
            json.dumps(line["cells-metadata"]).encode(),
        )
    )
    return _streamed(folder, stream)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(_recordio, id="RecordIO"),
        pytest.param(_json, id="images and JSON"),
        pytest.param(_coco, id="images and a COCO file"),
        pytest.param(_voc, id="Pascal VOC"),
        pytest.param(_yolo, id="YOLO"),
        pytest.param(_manifest, id="images and a manifest"),
        pytest.param(_recordio_fifo, id="RecordIO through a FIFO"),
        pytest.param(_manifest_fifo, id="a manifest through a FIFO"),
    ],
)
def test_every_form_gives_the_same_boxes(
    read: Callable[[Callable[[str], Path], Path], Tally],
    converted: Callable[[str], Path],
    expected: Table,
    tmp_path: Path,
) -> None:
    tally = read(converted, tmp_path)
    tally.refuse()
    assert (tally.images, tally.boxes_kept) == (IMAGES, BOXES - 2)
    assert not tally.dropped_counts
    assert len(expected) == IMAGES
    assert set(tally.digests.tolist()) == set(expected)
    rows = np.hstack([tally.class_ids[:, None], tally.boxes])
    for digest, found in zip(
        tally.digests.tolist(), np.split(rows, tally.offsets[1:-1]), strict=True
    ):
        assert found.shape == expected[digest].shape
        np.testing.assert_allclose(found, expected[digest], rtol=0, atol=1e-4)
