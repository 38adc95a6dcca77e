"""Write a channel as images, ``<channel>/``, and one JSON each, ``<channel>_annotation/``."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.record import DataSet, LabelledImage


def write(folder: Path, channel: str, data: DataSet, images: Iterable[LabelledImage]) -> None:
    """Copy the images and write their annotations, sub-folders kept on both sides.

    The form has no place for the `difficult` flag. Raises ClientError when two images, with
    different suffixes, would share an annotation.
    """
    image_folder, annotation_folder = folder / channel, folder / f"{channel}_annotation"
    for target in (image_folder, annotation_folder):
        target.mkdir(parents=True)
    for image in images:
        copy = image_folder / image.name
        annotation = annotation_folder / PurePosixPath(image.name).with_suffix(".json")
        for target in (copy, annotation):
            target.parent.mkdir(parents=True, exist_ok=True)
        if annotation.exists():
            raise ClientError(
                f"{image.path}: another image of channel '{channel}' has this name up to the "
                f"suffix, and both would be annotated by {annotation.name}. Rename one of them."
            )
        shutil.copyfile(image.path, copy)
        annotation.write_text(_to_json(image, data), encoding="utf-8", newline="\n")


def _to_json(image: LabelledImage, data: DataSet) -> str:
    document = {
        "file": image.name,
        "image_size": [{"width": image.size[0], "height": image.size[1], "depth": 3}],
        "annotations": [
            {
                "class_id": class_id,
                "left": _number(left),
                "top": _number(top),
                "width": _number(right - left),
                "height": _number(bottom - top),
            }
            for class_id, (left, top, right, bottom) in zip(
                data.class_ids(image), image.boxes_px.tolist(), strict=True
            )
        ],
        "categories": [
            {"class_id": class_id, "name": name} for class_id, name in enumerate(data.class_names)
        ],
    }
    return json.dumps(document, ensure_ascii=False) + "\n"


def _number(value: float) -> int | float:
    """Pixels without the noise of subtraction, and a whole number without its ``.0``."""
    value = round(value, 6)
    return int(value) if value.is_integer() else value
