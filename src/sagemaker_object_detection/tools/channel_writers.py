"""Write the images that passed the checks as a channel: RecordIO, or images and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray

from sagemaker_object_detection.boxes import to_px
from sagemaker_object_detection.data.class_names import CLASSES_FILE
from sagemaker_object_detection.data.dataset import Labels, Source
from sagemaker_object_detection.data.gate import passed
from sagemaker_object_detection.data.labels import pack_label
from sagemaker_object_detection.data.recordio import RecordIOWriter, pack
from sagemaker_object_detection.data.tally import Tally
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.files import IMAGE_SUFFIXES
from sagemaker_object_detection.platform.progress import Progress

_SUFFIXES = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"BM", ".bmp"))
_DECIMALS = 3


@dataclass(frozen=True)
class Checked:
    """The records of a channel that passed, and the names of all classes."""

    source: Source
    tally: Tally
    class_names: tuple[str, ...]

    def images(self) -> Iterator[tuple[str, bytes, Labels, tuple[int, int]]]:
        """(name, encoded image, boxes in 0..1, displayed width and height) of each."""
        data, sizes = passed(self.source, self.tally), self.tally.sizes
        with Progress(f"Channel '{self.tally.channel}' is being written", len(data)) as progress:
            for index in range(len(data)):
                image = data.image(index)
                name = self.source.image_name(int(data.indices[index]))
                width, height = sizes[index].tolist()
                yield (
                    name or f"{index:06d}{_suffix(image)}",
                    image,
                    data.labels(index),
                    (width, height),
                )
                progress.advance(1)


def write_recordio(folder: Path, channel: str, checked: Checked) -> None:
    """``<channel>/<channel>.rec`` with ``.idx`` and ``.lst``, and classes.txt.

    The `difficult` flag is written for all objects or, if none has it, for none: readers want
    labels of one width. Raises ClientError for an image of 512 MiB or more.
    """
    target = folder / channel
    target.mkdir(parents=True)
    text = "".join(f"{name}\n" for name in checked.class_names)
    (target / CLASSES_FILE).write_text(text, encoding="utf-8", newline="\n")
    has_difficult = bool(checked.tally.difficult.any())
    with RecordIOWriter(target / f"{channel}.rec", listed=True) as writer:
        for number, (name, image, labels, _) in enumerate(checked.images()):
            difficult = labels.difficult if has_difficult else None
            label = pack_label(labels.boxes, labels.class_ids, difficult)
            try:
                writer.write(pack(label, number, image), name)
            except ValueError as error:
                raise ClientError(f"{name}: {error}. Make the image smaller.") from None


def write_json(folder: Path, channel: str, checked: Checked) -> None:
    """Images, ``<channel>/``, and one JSON each, ``<channel>_annotation/``; sub-folders are kept.

    Raises ClientError for an image whose suffix training does not look for, and when two images,
    with different suffixes, would share an annotation.
    """
    images, notes = folder / channel, folder / f"{channel}_annotation"
    for target in (images, notes):
        target.mkdir(parents=True)
    for name, image, labels, size in checked.images():
        path = PurePosixPath(name)
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            raise ClientError(
                f"{name}: beside JSON files training finds images by their suffix "
                f"({', '.join(sorted(IMAGE_SUFFIXES))}). Rename the image."
            )
        copy, note = images / path, notes / path.with_suffix(".json")
        for target in (copy, note):
            target.parent.mkdir(parents=True, exist_ok=True)
        if note.exists():
            raise ClientError(
                f"{name}: another image of channel '{channel}' has this name up to the suffix, and "
                f"both would be annotated by {note.name}. Rename one of them."
            )
        copy.write_bytes(image)
        content = _document(name, labels, size, checked.class_names)
        text = json.dumps(content, ensure_ascii=False) + "\n"
        note.write_text(text, encoding="utf-8", newline="\n")


def _document(
    name: str, labels: Labels, size: tuple[int, int], class_names: tuple[str, ...]
) -> dict[str, Any]:
    boxes = ltwh(to_px(labels.boxes.astype(float), *size))
    keys = ("left", "top", "width", "height")
    return {
        "file": name,
        "image_size": [{"width": size[0], "height": size[1], "depth": 3}],
        "annotations": [
            {"class_id": class_id, **dict(zip(keys, box, strict=True))}
            for class_id, box in zip(labels.class_ids.tolist(), boxes, strict=True)
        ],
        "categories": [{"class_id": i, "name": name} for i, name in enumerate(class_names)],
    }


def ltwh(boxes_px: NDArray[Any]) -> list[list[float]]:
    """Left, top, width and height of boxes (n, 4) xyxy, without the noise of rounding."""
    boxes = boxes_px.round(_DECIMALS)
    boxes[:, 2:] -= boxes[:, :2]
    return [[_number(value) for value in box] for box in boxes.tolist()]


def _number(value: float) -> float:
    """A whole number without its ``.0``."""
    value = round(value, _DECIMALS)
    return int(value) if value.is_integer() else value


def _suffix(image: bytes) -> str:
    return next((suffix for magic, suffix in _SUFFIXES if image.startswith(magic)), ".jpg")


WRITERS: Mapping[str, Callable[[Path, str, Checked], None]] = {
    "recordio": write_recordio,
    "sagemaker-json": write_json,
}
