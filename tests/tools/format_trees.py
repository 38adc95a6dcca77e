"""One small data set in the layout of every format, written here without the converter's code."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sagemaker_object_detection.data.labels import pack_label
from sagemaker_object_detection.data.recordio import RecordIOWriter, pack

NAMES = ("cat", "dog", "Übergröße 猫")

SIDES = ("left", "top", "width", "height")

Corners = tuple[float, float, float, float]


def picture(width: int, height: int, suffix: str = ".jpg", seed: int = 0) -> bytes:
    """An encoded picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


@dataclass(frozen=True)
class Sample:
    """An image and its objects: (class name, corners in pixels, difficult)."""

    name: str
    data: bytes
    size: tuple[int, int]
    objects: Sequence[tuple[str, Corners, bool]] = ()

    @property
    def class_ids(self) -> list[int]:
        return [NAMES.index(name) for name, _, _ in self.objects]

    @property
    def boxes(self) -> list[Corners]:
        return [box for _, box, _ in self.objects]


def sample(
    name: str, size: tuple[int, int], *objects: tuple[str, Corners, bool], seed: int = 0
) -> Sample:
    return Sample(name, picture(*size, Path(name).suffix, seed), size, objects)


SPLITS: Mapping[str, Sequence[Sample]] = {
    "train": (
        sample(
            "a.jpg",
            (101, 67),
            ("dog", (10, 20.3, 30.1, 40), False),
            ("cat", (0, 0, 101, 67), True),
            ("dog", (5, 6, 5, 60), False),
            seed=1,
        ),
        sample("b/a.png", (33, 50), (NAMES[2], (1.25, 2, 30, 49.5), False), seed=2),
        sample("b/Größe 猫 1.jpg", (64, 48), ("cat", (-3, 40, 70.5, 52), False), seed=3),
        sample("empty.png", (20, 10), seed=4),
    ),
    "val": (sample("c.jpg", (40, 30), ("dog", (1, 2, 30, 20), False), seed=5),),
}


def ltwh(box: Corners) -> list[float]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def voc(folder: Path, split: str, samples: Sequence[Sample]) -> None:
    stems = [str(Path(one.name).with_suffix("")) for one in samples]
    write(folder / "ImageSets/Main" / f"{split}.txt", "".join(f"{stem}\n" for stem in stems))
    for one, stem in zip(samples, stems, strict=True):
        write(folder / "JPEGImages" / one.name, one.data)
        objects = "".join(
            f"<object><name>{name}</name><difficult>{int(difficult)}</difficult><bndbox>"
            f"<xmin>{box[0] + 1}</xmin><ymin>{box[1] + 1}</ymin>"
            f"<xmax>{box[2] + 1}</xmax><ymax>{box[3] + 1}</ymax></bndbox></object>"
            for name, box, difficult in one.objects
        )
        width, height = one.size
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        write(folder / "Annotations" / f"{stem}.xml", f"<annotation>{size}{objects}</annotation>")


def coco_document(samples: Sequence[Sample], category_ids: Sequence[int]) -> dict[str, Any]:
    """Categories in any order, images and annotations with ids that mean nothing."""
    return {
        "annotations": [
            {
                "id": 10 * number + place,
                "image_id": 1000 - number,
                "category_id": category_ids[NAMES.index(name)],
                "bbox": ltwh(box),
                "iscrowd": 0,
            }
            for number, one in enumerate(samples)
            for place, (name, box, _) in enumerate(one.objects)
        ],
        "images": [
            {
                "id": 1000 - number,
                "file_name": one.name,
                "width": one.size[0],
                "height": one.size[1],
            }
            for number, one in enumerate(samples)
        ],
        "categories": [
            {"id": category_id, "name": name}
            for category_id, name in reversed(list(zip(category_ids, NAMES, strict=True)))
        ],
    }


def coco(folder: Path, split: str, samples: Sequence[Sample]) -> None:
    for one in samples:
        write(folder / f"{split}2017" / one.name, one.data)
    text = json.dumps(coco_document(samples, (3, 18, 90)))
    write(folder / "annotations" / f"instances_{split}2017.json", text)


def yolo(folder: Path, split: str, samples: Sequence[Sample]) -> None:
    write(folder / "data.yaml", f"train: images/train\nval: images/val\nnames: {list(NAMES)}\n")
    for one in samples:
        write(folder / "images" / split / one.name, one.data)
        lines = []
        for class_id, box in zip(one.class_ids, one.boxes, strict=True):
            left, top, width, height = np.array(ltwh(box)) / np.tile(one.size, 2)
            lines.append(f"{class_id} {left + width / 2} {top + height / 2} {width} {height}\n")
        if lines or not one.name.startswith("empty"):
            label = folder / "labels" / split / Path(one.name).with_suffix(".txt")
            write(label, "".join(lines))


def annotation(one: Sample) -> dict[str, Any]:
    width, height = one.size
    return {
        "image_size": [{"width": width, "height": height, "depth": 3}],
        "annotations": [
            {"class_id": class_id, **dict(zip(SIDES, ltwh(box), strict=True))}
            for class_id, box in zip(one.class_ids, one.boxes, strict=True)
        ],
    }


def manifest(folder: Path, split: str, samples: Sequence[Sample]) -> None:
    lines = []
    for one in samples:
        write(folder / split / one.name, one.data)
        names = {str(class_id): NAMES[class_id] for class_id in one.class_ids}
        content = {
            "source-ref": f"s3://bucket/{split}/{one.name}",
            "bounding-box": annotation(one),
            "bounding-box-metadata": {"class-map": names},
        }
        lines.append(json.dumps(content) + "\n")
    write(folder / f"{split}.manifest", "".join(lines))


def sagemaker_json(folder: Path, split: str, samples: Sequence[Sample]) -> None:
    categories = [{"class_id": number, "name": name} for number, name in enumerate(NAMES)]
    for one in samples:
        write(folder / split / one.name, one.data)
        note = folder / f"{split}_annotation" / Path(one.name).with_suffix(".json")
        write(note, json.dumps(annotation(one) | {"categories": categories}))


def recordio(folder: Path, split: str, samples: Sequence[Sample]) -> None:
    write(folder / "classes.txt", "".join(f"{name}\n" for name in NAMES))
    with RecordIOWriter(folder / f"{split}.rec") as writer:
        for number, one in enumerate(samples):
            boxes = np.reshape(one.boxes, (-1, 4)) / np.tile(one.size, 2)
            difficult = [flag for _, _, flag in one.objects]
            label = pack_label(boxes, one.class_ids, difficult)
            writer.write(pack(label, number, one.data))


TREES: Mapping[str, Callable[[Path, str, Sequence[Sample]], None]] = {
    "voc": voc,
    "coco": coco,
    "yolo": yolo,
    "manifest": manifest,
    "sagemaker-json": sagemaker_json,
    "recordio": recordio,
}


def write_tree(form: str, folder: Path, splits: Mapping[str, Sequence[Sample]] = SPLITS) -> Path:
    """A data set in one of the formats; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, samples in splits.items():
        TREES[form](folder, split, samples)
    return folder
