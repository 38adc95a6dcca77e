"""Jobs with very many tiny records, one to three boxes each, in each input form."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import data
import numpy as np

from sagemaker_object_detection.data.labels import pack_label
from sagemaker_object_detection.data.recordio import RecordIOWriter, pack

_WIDTH, _HEIGHT = 8, 6
_PIXELS = np.arange(_WIDTH * _HEIGHT * 3, dtype=np.uint8).reshape(_HEIGHT, _WIDTH, 3)
_CLASSES = 2


def _image(number: int) -> bytes:
    """A tiny picture, each number's its own."""
    pixels = _PIXELS.copy()
    pixels.flat[:4] = np.frombuffer(number.to_bytes(4, "little"), np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def _boxes(number: int) -> list[tuple[int, list[int]]]:
    """Class ids and boxes, xywh in pixels."""
    return [(i % _CLASSES, [i, 1, 4, 4]) for i in range(number % 3 + 1)]


def _name(number: int) -> str:
    return f"{number:012}.png"


def _note(number: int) -> dict[str, object]:
    objects = [
        {"class_id": class_id, "left": x, "top": y, "width": w, "height": h}
        for class_id, (x, y, w, h) in _boxes(number)
    ]
    size = [{"width": _WIDTH, "height": _HEIGHT, "depth": 3}]
    return {"file": _name(number), "image_size": size, "annotations": objects}


def write_recordio(folder: Path, count: int) -> None:
    """A .rec file."""
    (folder / "train").mkdir(parents=True)
    with RecordIOWriter(folder / "train" / "data.rec") as writer:
        for number in range(count):
            boxes = np.array([box for _, box in _boxes(number)], np.float64)
            boxes[:, 2:] += boxes[:, :2]
            boxes /= (_WIDTH, _HEIGHT, _WIDTH, _HEIGHT)
            label = pack_label(boxes, [class_id for class_id, _ in _boxes(number)])
            writer.write(pack(label, number, _image(number)))


def _write_images(folder: Path, count: int) -> Path:
    for name in ("train", "train_annotation"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        (folder / "train" / _name(number)).write_bytes(_image(number))
    return folder / "train_annotation"


def write_image(folder: Path, count: int) -> None:
    """Images and one annotation for each."""
    notes = _write_images(folder, count)
    for number in range(count):
        path = notes / _name(number).replace(".png", ".json")
        path.write_text(json.dumps(_note(number)), encoding="utf-8")


def write_coco(folder: Path, count: int) -> None:
    """Images and a COCO file."""
    with (_write_images(folder, count) / "instances.json").open("w", encoding="utf-8") as file:
        file.write('{"images": [')
        for number in range(count):
            size = {"width": _WIDTH, "height": _HEIGHT}
            entry = {"id": number, "file_name": _name(number)} | size
            file.write(",\n" * (number > 0) + json.dumps(entry))
        file.write('],\n"annotations": [')
        box_id = 0
        for number in range(count):
            for class_id, box in _boxes(number):
                entry = {"id": box_id, "image_id": number, "category_id": class_id + 1, "bbox": box}
                file.write(",\n" * (box_id > 0) + json.dumps(entry))
                box_id += 1
        names = [{"id": i + 1, "name": f"class {i}"} for i in range(_CLASSES)]
        file.write(f'],\n"categories": {json.dumps(names)}}}\n')


def write_manifest(folder: Path, count: int) -> None:
    """Images and an augmented manifest."""
    with (_write_images(folder, count) / "train.manifest").open("w", encoding="utf-8") as file:
        for number in range(count):
            line = {"source-ref": f"s3://bucket/data/{_name(number)}", "boxes": _note(number)}
            file.write(json.dumps(line) + "\n")


def write_voc(folder: Path, count: int) -> None:
    """Images with their XML next to them."""
    (folder / "train").mkdir(parents=True)
    for number in range(count):
        path = folder / "train" / _name(number)
        path.write_bytes(_image(number))
        objects = "".join(
            f"<object><name>class {class_id}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
            f"<xmax>{x + w + 1}</xmax><ymax>{y + h + 1}</ymax></bndbox></object>"
            for class_id, (x, y, w, h) in _boxes(number)
        )
        size = f"<size><width>{_WIDTH}</width><height>{_HEIGHT}</height></size>"
        path.with_suffix(".xml").write_text(f"<annotation>{size}{objects}</annotation>")


def write_yolo(folder: Path, count: int) -> None:
    """Images and labels in folders of their own."""
    for name in ("images", "labels"):
        (folder / "train" / name).mkdir(parents=True)
    (folder / "train" / "classes.txt").write_text("class 0\nclass 1\n")
    for number in range(count):
        image = folder / "train" / "images" / _name(number)
        image.write_bytes(_image(number))
        rows = "".join(
            f"{class_id} {(x + 2) / _WIDTH} {3 / _HEIGHT} {4 / _WIDTH} {4 / _HEIGHT}\n"
            for class_id, (x, _, _, _) in _boxes(number)
        )
        (folder / "train" / "labels" / image.with_suffix(".txt").name).write_text(rows)


FORMS: Mapping[str, Callable[[Path, int], None]] = {
    "recordio": write_recordio,
    "image": write_image,
    "coco": write_coco,
    "manifest": write_manifest,
    "voc": write_voc,
    "yolo": write_yolo,
}


@contextmanager
def tree(form: str, count: int) -> Iterator[Path]:
    """A job's tree whose train channel has so many records, removed afterwards."""
    data.BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data.BUILD, prefix=f"gate-{form}-") as name:
        base = Path(name)
        FORMS[form](base / "input" / "data", count)
        write_recordio(base / "validation", 3)
        (base / "validation" / "train").rename(base / "input" / "data" / "validation")
        (base / "input" / "config").mkdir()
        settings = {"num_classes": _CLASSES, "num_training_samples": count}
        file = base / "input" / "config" / "hyperparameters.json"
        file.write_text(json.dumps(settings), encoding="utf-8")
        yield base
