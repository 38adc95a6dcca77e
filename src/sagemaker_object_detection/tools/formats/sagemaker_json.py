"""Images, ``<channel>/``, and one JSON each, ``<channel>_annotation/``: read and written."""

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sagemaker_object_detection.data.image_pairs import ImageSource, pair_files
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.files import IMAGE_SUFFIXES
from sagemaker_object_detection.tools.formats.data_set import DataSet
from sagemaker_object_detection.tools.formats.from_source import (
    SourceSplit,
    class_file,
    named_by_path,
    no_split,
)
from sagemaker_object_detection.tools.formats.pixels import ltwh
from sagemaker_object_detection.tools.formats.record import LabelledImage

_ANNOTATION = "_annotation"


def read(source: Path, split: str) -> SourceSplit:
    """The images in ``<split>/`` and their annotations in ``<split>_annotation/``.

    Raises ClientError when one of the folders is missing, and as `pair_files`.
    """
    images, notes = source / split, source / f"{split}{_ANNOTATION}"
    if not (images.is_dir() and notes.is_dir()):
        missing = " and no ".join(str(path) for path in (images, notes) if not path.is_dir())
        found = (path.name.removesuffix(_ANNOTATION) for path in source.glob(f"*{_ANNOTATION}"))
        splits = sorted(name for name in found if (source / name).is_dir())
        raise no_split(source, split, f"there is no {missing}", splits)
    pairs = ImageSource(pair_files(images, notes))
    return SourceSplit(pairs, named_by_path(pairs, images), class_file(source, split))


def write(folder: Path, channel: str, data: DataSet, images: Iterable[LabelledImage]) -> None:
    """Copy the images and write their annotations, sub-folders kept on both sides.

    The form has no place for the `difficult` flag. Raises ClientError for an image whose suffix
    training does not look for, and when two images, with different suffixes, would share an
    annotation.
    """
    image_folder, annotation_folder = folder / channel, folder / f"{channel}_annotation"
    for target in (image_folder, annotation_folder):
        target.mkdir(parents=True)
    for image in images:
        assert image.name is not None
        name = PurePosixPath(image.name)
        if name.suffix.lower() not in IMAGE_SUFFIXES:
            raise ClientError(
                f"{image.place}: beside JSON files training finds images by their suffix "
                f"({', '.join(sorted(IMAGE_SUFFIXES))}), and this one would be called {name}. "
                "Store it in one of these forms, or leave it out."
            )
        copy = image_folder / name
        annotation = annotation_folder / name.with_suffix(".json")
        for target in (copy, annotation):
            target.parent.mkdir(parents=True, exist_ok=True)
        if annotation.exists():
            raise ClientError(
                f"{image.place}: another image of channel '{channel}' has this name up to the "
                f"suffix, and both would be annotated by {annotation.name}. Rename one of them."
            )
        copy.write_bytes(image.read_image())
        annotation.write_text(_to_json(image, data), encoding="utf-8", newline="\n")


def _to_json(image: LabelledImage, data: DataSet) -> str:
    document = {
        "file": image.name,
        "image_size": [{"width": image.size[0], "height": image.size[1], "depth": 3}],
        "annotations": [
            {"class_id": class_id, "left": left, "top": top, "width": width, "height": height}
            for class_id, (left, top, width, height) in zip(
                data.class_ids(image), ltwh(image.boxes_px), strict=True
            )
        ],
        "categories": [
            {"class_id": class_id, "name": name} for class_id, name in enumerate(data.class_names)
        ],
    }
    return json.dumps(document, ensure_ascii=False) + "\n"
