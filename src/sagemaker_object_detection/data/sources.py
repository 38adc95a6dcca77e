"""Sources: where the records of a channel come from. Nothing is copied or repacked."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sagemaker_object_detection.data import recordio
from sagemaker_object_detection.data.annotations import parse as parse_annotation
from sagemaker_object_detection.data.dataset import RawRecord
from sagemaker_object_detection.data.labels import parse_label
from sagemaker_object_detection.data.refusal import refusal
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.files import Form


class RecordIOSource:
    """The records of one or more .rec files, found by one scan and read by their offsets.

    Raises ClientError (RecordIOError) for broken framing, naming file, record and byte.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._indexes = [recordio.scan(path) for path in paths]
        self._descriptors = [os.open(path, os.O_RDONLY) for path in paths]
        self._starts = np.cumsum([0, *(len(index) for index in self._indexes)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", ()):
            os.close(descriptor)

    def _locate(self, index: int) -> tuple[int, int]:
        file = int(np.searchsorted(self._starts, index, side="right")) - 1
        return file, index - int(self._starts[file])

    def _unpack(self, index: int) -> recordio.PackedImage:
        file, record = self._locate(index)
        payload = recordio.read(self._descriptors[file], self._indexes[file], record)
        return recordio.unpack(payload, self.name(index))

    def name(self, index: int) -> str:
        """`train.rec, record 12 (byte 34567)`."""
        file, record = self._locate(index)
        return self._indexes[file].name(record)

    def read(self, index: int) -> RawRecord:
        """Image and label, corners in 0..1."""
        packed = self._unpack(index)
        label = parse_label(packed.label, self.name(index))
        boxes = label.boxes.astype(np.float64)
        return RawRecord(packed.image, boxes, label.class_ids, label.difficult)

    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""
        return self._unpack(index).image


@dataclass(frozen=True)
class Pair:
    """One image and its annotation; `image_name` is its path inside the channel."""

    image_name: str
    image: Path
    annotation: Path


@dataclass
class ImageSource:
    """Single images with one annotation JSON each (see `pair_files`)."""

    pairs: Sequence[Pair]
    class_names: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """The image's file."""
        return str(self.pairs[index].image)

    def read(self, index: int) -> RawRecord:
        """Image and annotation, corners in pixels of the declared size."""
        pair = self.pairs[index]
        annotation = parse_annotation(pair.annotation.read_bytes(), str(pair.annotation))
        with self._lock:
            for class_id, name in annotation.categories.items():
                self.class_names[class_id].add(name)
        return RawRecord(
            self.read_image(index),
            annotation.boxes_px.astype(np.float64),
            annotation.class_ids,
            np.zeros(len(annotation.class_ids), dtype=bool),
            annotation.size,
        )

    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""
        return self.pairs[index].image.read_bytes()


def open_source(
    channels: Mapping[str, Channel], name: str, form: Form
) -> tuple[RecordIOSource | ImageSource, tuple[str, ...]]:
    """The source of one channel, and the images it leaves out since nothing annotates them.

    Raises ClientError as RecordIOSource and `pair_files` do.
    """
    channel = channels[name]
    if form == "recordio":
        return RecordIOSource(files.of_form(channel.path, "recordio")), ()
    pairs, lonely = pair_files(channel.path, channels[f"{name}_annotation"].path)
    return ImageSource(pairs), lonely


def pair_files(images: Path, notes: Path) -> tuple[list[Pair], tuple[str, ...]]:
    """Find the annotation of every image by its name without suffix.

    `a/b.jpg` is annotated by `a/b.json`; or by a `b.json` of another folder, as long as no other
    image is called b.

    Returns:
        the pairs, ordered by image name; and the images that have no annotation.

    Raises:
        ClientError: two images would share an annotation, or an annotation has no image.
    """
    by_path: dict[str, list[Path]] = defaultdict(list)
    by_base: dict[str, list[Path]] = defaultdict(list)
    for path in files.of_form(images, "image"):
        by_path[_stem(path, images)].append(path)
        by_base[path.stem].append(path)
    pairs: list[Pair] = []
    faults: list[str] = []
    paired: set[Path] = set()
    annotations = [path for path in files.walk(notes) if path.suffix.lower() == ".json"]
    for note in sorted(annotations, key=lambda path: (_stem(path, notes) not in by_path, path)):
        found = by_path.get(_stem(note, notes)) or by_base.get(note.stem, [])
        if len(found) == 1 and found[0] not in paired:
            paired.add(found[0])
            pairs.append(Pair(found[0].relative_to(images).as_posix(), found[0], note))
        elif not found:
            faults.append(
                f"{note}: there is no image {note.stem} (.jpg, .jpeg or .png) in {images}. Add the "
                "image or remove the annotation."
            )
        elif len(found) == 1:
            faults.append(
                f"{note}: the image {found[0]} has another annotation file already. Keep one."
            )
        else:
            names = ", ".join(str(path.relative_to(images)) for path in sorted(found)[:4])
            faults.append(
                f"{note}: several images have that name: {names}. Give them different names, or "
                "put the annotations into the same sub-folders as the images."
            )
    if faults:
        raise refusal(f"Annotations and images of {images.name} do not match", faults)
    lonely = [p for group in by_path.values() for p in group if p not in paired]
    pairs.sort(key=lambda pair: pair.image_name)
    return pairs, tuple(sorted(str(path) for path in lonely))


def _stem(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()
