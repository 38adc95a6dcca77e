"""Small labelled pictures, as the files of both input forms and as a source in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.data import labels, recordio
from sagemaker_object_detection.data.dataset import Dataset, RawRecord

WIDTH, HEIGHT = 64, 48
BOX = (0.25, 0.25, 0.75, 0.5)


def plain(colour: Sequence[int], width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A PNG of one RGB colour."""
    return encode(np.full((height, width, 3), colour, np.uint8))


def encode(rgb: npt.NDArray[np.uint8], extension: str = ".png") -> bytes:
    ok, data = cv2.imencode(extension, rgb[..., ::-1])
    assert ok
    return data.tobytes()


def write_files(folder: Path, images: str, texts: Mapping[str, str | bytes] | None = None) -> Path:
    """Images, each of which holds its own path as bytes, and texts; returns the folder."""
    contents = {path: path.encode() for path in images.split()} | dict(texts or {})
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        (folder / path).write_bytes(data)
    return folder


NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
PNG = encode(NOISE)
JPEG = encode(NOISE, ".jpg")


@dataclass(frozen=True)
class Sample:
    """One labelled picture; `boxes` are in 0..1 of the width and height that are declared."""

    image: bytes = PNG
    boxes: Sequence[Sequence[float]] = (BOX,)
    class_ids: Sequence[Any] = (0,)
    suffix: str = ".png"
    declared_size: tuple[int, int] = (WIDTH, HEIGHT)

    def annotation(self) -> dict[str, Any]:
        width, height = self.declared_size
        return {
            "image_size": [{"width": width, "height": height, "depth": 3}],
            "annotations": [
                {
                    "class_id": class_id,
                    "left": x0 * width,
                    "top": y0 * height,
                    "width": (x1 - x0) * width,
                    "height": (y1 - y0) * height,
                }
                for class_id, (x0, y0, x1, y1) in zip(self.class_ids, self.boxes, strict=True)
            ],
        }


def write_records(path: Path, samples: Sequence[Sample]) -> Path:
    """A .rec file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with recordio.RecordIOWriter(path) as writer:
        for number, sample in enumerate(samples):
            label = labels.pack_label(np.reshape(sample.boxes, (-1, 4)), sample.class_ids)
            writer.write(recordio.pack(label, number, sample.image))
    return path


def write_images(images: Path, notes: Path, samples: Sequence[Sample]) -> None:
    """Pictures 0000.png and so on, and one annotation each."""
    images.mkdir(parents=True, exist_ok=True)
    notes.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(samples):
        (images / f"{number:04}{sample.suffix}").write_bytes(sample.image)
        (notes / f"{number:04}.json").write_text(json.dumps(sample.annotation()))


def write_coco(images: Path, notes: Path, samples: Sequence[Sample]) -> None:
    """Pictures 0000.png and so on, and a COCO file; category ids are 10 x class_id + 7."""
    images.mkdir(parents=True, exist_ok=True)
    notes.parent.mkdir(parents=True, exist_ok=True)
    listed, boxes = [], []
    for number, sample in enumerate(samples):
        name = f"{number:04}{sample.suffix}"
        (images / name).write_bytes(sample.image)
        width, height = sample.declared_size
        listed.append({"id": number, "file_name": name, "width": width, "height": height})
        for one in sample.annotation()["annotations"]:
            bbox = [one[side] for side in ("left", "top", "width", "height")]
            category = 10 * one["class_id"] + 7
            boxes.append(
                {"id": len(boxes), "image_id": number, "category_id": category, "bbox": bbox}
            )
    ids = sorted({class_id for sample in samples for class_id in sample.class_ids})
    categories = [{"id": 10 * class_id + 7, "name": f"class {class_id}"} for class_id in ids]
    content = {"images": listed, "annotations": boxes, "categories": categories}
    notes.write_text(json.dumps(content))


def write_voc(folder: Path, samples: Sequence[Sample]) -> list[Path]:
    """Pictures 0000.png and so on with their XML next to them; classes are called `class 0` ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(samples):
        path = folder / f"{number:04}{sample.suffix}"
        path.write_bytes(sample.image)
        width, height = sample.declared_size
        corners = np.reshape(sample.boxes, (-1, 4)) * [width, height, width, height] + 1
        objects = "".join(
            f"<object><name>class {class_id}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}"
            f"</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
            for class_id, box in zip(sample.class_ids, corners.tolist(), strict=True)
        )
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        path.with_suffix(".xml").write_text(f"<annotation>{size}{objects}</annotation>")
    return sorted(folder.glob("*.xml"))


def write_yolo(folder: Path, samples: Sequence[Sample]) -> list[Path]:
    """images/0000.png and so on, labels/0000.txt and classes.txt with `class 0` ..."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(samples):
        (folder / "images" / f"{number:04}{sample.suffix}").write_bytes(sample.image)
        rows = "".join(
            f"{class_id} {(x0 + x1) / 2} {(y0 + y1) / 2} {x1 - x0} {y1 - y0}\n"
            for class_id, (x0, y0, x1, y1) in zip(sample.class_ids, sample.boxes, strict=True)
        )
        (folder / "labels" / f"{number:04}.txt").write_text(rows)
    last = max((class_id for sample in samples for class_id in sample.class_ids), default=-1)
    names = "".join(f"class {class_id}\n" for class_id in range(last + 1))
    (folder / "classes.txt").write_text(names)
    return [*sorted(folder.glob("labels/*.txt")), folder / "classes.txt"]


def write_manifest(
    images: Path, manifest: Path, samples: Sequence[Sample], attribute: str = "bounding-box"
) -> None:
    """Pictures 0000.png and so on, and an augmented manifest whose names are `class 0` ..."""
    images.mkdir(parents=True, exist_ok=True)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    with manifest.open("w") as file:
        for number, sample in enumerate(samples):
            name = f"{number:04}{sample.suffix}"
            (images / name).write_bytes(sample.image)
            class_map = {str(class_id): f"class {class_id}" for class_id in sample.class_ids}
            line = {
                "source-ref": f"s3://bucket/folder/{name}",
                attribute: sample.annotation(),
                f"{attribute}-metadata": {"class-map": class_map},
            }
            file.write(json.dumps(line) + "\n")


class MemorySource:
    """Records that lie in memory, called `record 0` and so on."""

    def __init__(self, records: Sequence[RawRecord], unannotated: Sequence[str] = ()) -> None:
        self.records = list(records)
        self.unannotated = unannotated

    def __len__(self) -> int:
        return len(self.records)

    def name(self, index: int) -> str:
        return f"record {index}"

    def read(self, index: int) -> RawRecord:
        return self.records[index]

    def read_image(self, index: int) -> bytes:
        return self.records[index].image


def raw(
    image: bytes = PNG,
    boxes: npt.ArrayLike = (BOX,),
    class_ids: Sequence[int] | None = None,
    difficult: Sequence[bool] | None = None,
    declared_size: tuple[int, int] | None = None,
) -> RawRecord:
    """A record whose boxes are of class 0 and not difficult unless told otherwise."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    count = len(corners)
    return RawRecord(
        image,
        corners,
        np.array([0] * count if class_ids is None else class_ids, np.int64),
        np.array([False] * count if difficult is None else difficult, bool),
        declared_size,
    )


def dataset(records: Sequence[RawRecord]) -> Dataset:
    """A data set of all these records, without a gate."""
    return Dataset(
        source=MemorySource(records),
        indices=np.arange(len(records)),
        offsets=np.cumsum([0, *(len(record.boxes) for record in records)]),
        boxes=np.concatenate([np.zeros((0, 4)), *(r.boxes for r in records)]).astype(np.float32),
        class_ids=np.concatenate([np.zeros(0), *(r.class_ids for r in records)]).astype(np.int32),
        difficult=np.concatenate([np.zeros(0), *(r.difficult for r in records)]).astype(bool),
    )
