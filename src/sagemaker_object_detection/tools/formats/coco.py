"""COCO: one JSON file for the images of a split, read and written."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from sagemaker_object_detection.data.coco import CocoSource
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.data_set import DataSet
from sagemaker_object_detection.tools.formats.from_source import (
    SourceSplit,
    named_by_path,
    no_split,
)
from sagemaker_object_detection.tools.formats.pixels import ltwh
from sagemaker_object_detection.tools.formats.record import LabelledImage

_FOLDER = "annotations"
_ROBOFLOW = "_annotations.coco.json"


def read(source: Path, split: str) -> SourceSplit:
    """The images that a split's COCO file lists.

    The file is ``annotations/<split>.json``, ``annotations/instances_<split>2017.json`` or the
    like, ``<split>.json``, ``<split>/_annotations.coco.json`` or the one in
    ``<split>_annotation/``. The images are in a folder called as the split, with or without the
    year, here or under ``images/``; or else somewhere under ``images/`` or `source`.

    Raises ClientError when no file is found or it is not clear which, for two categories with one
    name, and as CocoSource.
    """
    file = _file_of(source, split)
    folder = _folder_of(source, split, file)
    coco = CocoSource(folder, file)
    names = [name.strip() for name in coco.category_names]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ClientError(
            f"{file}: several categories are called {', '.join(map(repr, repeated))}. Give each "
            "category a name of its own, or make them one."
        )
    left_out = []
    if coco.crowd_boxes:
        left_out.append(f"{file}: left out {coco.crowd_boxes} boxes of crowds (iscrowd).")
    if coco.unlisted:
        left_out.append(
            f"{folder}: left out {coco.unlisted} images that {file.name} does not list."
        )
    image_name = named_by_path(coco, folder)
    return SourceSplit(coco, image_name, category_names=names, left_out=left_out)


def _file_of(source: Path, split: str) -> Path:
    for found in (
        [source / _FOLDER / f"{split}.json"],
        _named_after(source / _FOLDER, split),
        [source / f"{split}.json"],
        [source / split / _ROBOFLOW],
        sorted((source / f"{split}_annotation").glob("*.json")),
    ):
        files = [path for path in found if path.is_file()]
        instances = [path for path in files if path.name.startswith("instances_")]
        if len(instances or files) == 1:
            return (instances or files)[0]
        if files:
            names = ", ".join(path.name for path in files[:5])
            raise ClientError(
                f"{files[0].parent}: which of {names} is split '{split}'? Give the name as it "
                "stands behind the last '_', or keep one of the files there."
            )
    wanted = (
        f"there is no {_FOLDER}/*{split}*.json, {split}.json, {split}/{_ROBOFLOW} or "
        f"{split}_annotation/*.json"
    )
    raise no_split(source, split, wanted, sorted(set(_splits(source))))


def _named_after(folder: Path, split: str) -> list[Path]:
    """Files such as instances_train2017.json, for train and for train2017."""
    ending = re.compile(rf".*_{re.escape(split)}(\d{{4}})?")
    return sorted(path for path in folder.glob("*.json") if ending.fullmatch(path.stem))


def _splits(source: Path) -> Iterator[str]:
    """What is there, for a message."""
    for path in (source / _FOLDER).glob("*.json"):
        yield path.stem.rpartition("_")[2]
    yield from (path.stem for path in source.glob("*.json"))
    yield from (path.parent.name for path in source.glob(f"*/{_ROBOFLOW}"))
    for path in source.glob("*_annotation/*.json"):
        yield path.parent.name.removesuffix("_annotation")


def _folder_of(source: Path, split: str, file: Path) -> Path:
    if file.name == _ROBOFLOW:
        return file.parent
    names = dict.fromkeys((file.stem.rpartition("_")[2], split))
    candidates = [
        *(source / name for name in names),
        *(source / "images" / name for name in names),
        source / "images",
    ]
    return next((path for path in candidates if path.is_dir()), source)


def write(folder: Path, channel: str, data: DataSet, images: Iterable[LabelledImage]) -> None:
    """Copy the images to ``<channel>/`` and write ``<channel>_annotation/<channel>.json``.

    Ids of categories, images and annotations count from 1: pycocotools takes an annotation with
    id 0 for none, and many readers keep category 0 for the background. Training numbers the
    categories from 0 in the order of their ids, so that class ids are those of the other formats.
    The form has no place for the `difficult` flag.

    The document is written as the images come. Its `annotations` are gathered in a file beside it
    until the last image is known.
    """
    image_folder, annotation_folder = folder / channel, folder / f"{channel}_annotation"
    for target in (image_folder, annotation_folder):
        target.mkdir(parents=True)
    path = annotation_folder / f"{channel}.json"
    aside = annotation_folder / f"{channel}.annotations"
    with (
        path.open("w", encoding="utf-8", newline="\n") as document,
        aside.open("w+", encoding="utf-8", newline="\n") as annotations,
    ):
        categories = [
            {"id": number, "name": name} for number, name in enumerate(data.class_names, 1)
        ]
        document.write(f'{{"categories": {_to_json(categories)},\n"images": [')
        written = 0
        for number, image in enumerate(images, 1):
            assert image.name is not None
            copy = image_folder / image.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(image.read_image())
            _append(document, number == 1, _entry(image, number))
            for annotation in _annotations(image, data, number, written + 1):
                written += 1
                _append(annotations, written == 1, annotation)
        document.write('\n],\n"annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, document)
        document.write("\n]}\n")
    aside.unlink()


def _entry(image: LabelledImage, number: int) -> dict[str, object]:
    width, height = image.size
    return {"id": number, "file_name": image.name, "width": width, "height": height}


def _annotations(
    image: LabelledImage, data: DataSet, number: int, first: int
) -> list[dict[str, object]]:
    return [
        {
            "id": first + place,
            "image_id": number,
            "category_id": class_id + 1,
            "bbox": [left, top, width, height],
            "area": round(max(width, 0) * max(height, 0), 6),
            "iscrowd": 0,
        }
        for place, (class_id, (left, top, width, height)) in enumerate(
            zip(data.class_ids(image), ltwh(image.boxes_px), strict=True)
        )
    ]


def _append(file: TextIO, first: bool, value: object) -> None:
    file.write(("\n" if first else ",\n") + _to_json(value))


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
