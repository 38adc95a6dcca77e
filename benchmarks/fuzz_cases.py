"""Jobs whose train channel is damaged, each made by its seed alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import damage

from tests.data import samples
from tests.data.samples import Sample

NUM_CLASSES = 3
RECORDS = 6

_SUFFIXES = (".png", ".jpg", ".webp", ".bmp", ".jpeg")
_CLASS_MAP = {str(class_id): f"class {class_id}" for class_id in range(NUM_CLASSES)}


def good_samples() -> list[Sample]:
    """What is damaged: a few small pictures of different formats, with boxes of all classes."""
    found = []
    for number in range(RECORDS):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
        suffix = _SUFFIXES[number % len(_SUFFIXES)]
        boxes = [(0.1 * i, 0.2, 0.1 * i + 0.5, 0.7 + 0.1 * i) for i in range(NUM_CLASSES)]
        image = samples.encode(pixels, suffix)
        found.append(Sample(image, boxes, range(NUM_CLASSES), suffix))
    return found


class Case:
    """One damaged job.

    Attributes:
        seed: decides all of it.
        kind: what is damaged, a name of KINDS.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.kind = sorted(KINDS)[seed % len(KINDS)]
        self.random = Random(seed)

    def write(self, base: Path) -> None:
        """The job's tree."""
        for folder in ("config", "data"):
            (base / "input" / folder).mkdir(parents=True)
        self._channels: dict[str, dict[str, object]] = {"train": {}, "validation": {}}
        good = good_samples()
        samples.write_records(base / "input/data/validation/data.rec", good[:2])
        self._data = base / "input" / "data"
        self.stream: bytes | None = None
        KINDS[self.kind](self, good)
        hyperparameters = {
            "num_classes": NUM_CLASSES,
            "num_training_samples": RECORDS,
            "use_pretrained_model": 0,
            "max_dropped_images": 0.6,  # so that some of the damage is reported, not refused
            "max_dropped_boxes": 0.6,
        }
        config = base / "input" / "config"
        (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
        (config / "inputdataconfig.json").write_text(json.dumps(self._channels))

    @contextlib.contextmanager
    def fed(self) -> Iterator[None]:
        """The stream of a channel in Pipe mode, if this is one, in a FIFO or in a file."""
        if self.stream is None:
            yield
            return
        path = self._data / "train_0"
        if self.random.random() < 0.5:
            path.write_bytes(self.stream)
            yield
            return
        os.mkfifo(path)
        sizes = [self.random.choice((1, 7, 1000, 2**16)) for _ in range(50)]
        feeder = threading.Thread(target=_feed, args=(path, self.stream, sizes), daemon=True)
        feeder.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a writer that nobody read waits for a reader
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            feeder.join()
            path.unlink()

    def damage(self, path: Path, change: Callable[[Random, bytes], bytes]) -> None:
        path.write_bytes(self.changed(path.read_bytes(), change))

    def changed(self, data: bytes, change: Callable[[Random, bytes], bytes]) -> bytes:
        """The data after one change or some."""
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            data = change(self.random, data)
        return data

    def some(self, paths: Sequence[Path]) -> list[Path]:
        """One of these files or some."""
        return self.random.sample(list(paths), self.random.choice((1, 1, 2, 3)))

    def annotations(self, good: Sequence[Sample]) -> None:
        notes = self._images(good, samples.write_images)
        for path in self.some(sorted(notes.iterdir())):
            self.damage(path, damage.text)

    def pictures(self, good: Sequence[Sample]) -> None:
        self._images(good, samples.write_images)
        for path in self.some(sorted((self._data / "train").iterdir())):
            self.damage(path, damage.picture)

    def coco(self, good: Sequence[Sample]) -> None:
        self.damage(self._images(good, samples.write_coco, "coco.json"), damage.text)

    def manifest(self, good: Sequence[Sample]) -> None:
        self.damage(self._images(good, samples.write_manifest, "x.manifest"), damage.text)
        names = self.random.choice((["source-ref", "bounding-box"], ["source-ref"], []))
        self._channels["train"]["AttributeNames"] = names

    def voc(self, good: Sequence[Sample]) -> None:
        for path in self.some(samples.write_voc(self._data / "train", good)):
            self.damage(path, damage.text)

    def yolo(self, good: Sequence[Sample]) -> None:
        for path in self.some(samples.write_yolo(self._data / "train", good)):
            self.damage(path, damage.text)

    def recordio(self, good: Sequence[Sample]) -> None:
        path = samples.write_records(self._data / "train" / "data.rec", good)
        self.damage(path, damage.records)

    def recordio_stream(self, good: Sequence[Sample]) -> None:
        self._channels["train"]["TrainingInputMode"] = "Pipe"
        path = samples.write_records(self._data / "written.rec", good)
        self.stream = self.changed(path.read_bytes(), damage.records)
        shutil.rmtree(self._data / "train", ignore_errors=True)
        for file in (path, path.with_suffix(".idx")):
            file.unlink()

    def manifest_stream(self, good: Sequence[Sample]) -> None:
        """Alternating images and texts: one of them damaged, the order of them, or the frames."""
        self._channels["train"]["TrainingInputMode"] = "Pipe"
        metadata = self.random.random() < 0.5
        payloads: list[bytes] = []
        for sample in good:
            payloads += [sample.image, json.dumps(sample.annotation()).encode()]
            if metadata:
                payloads.append(json.dumps({"class-map": _CLASS_MAP}).encode())
        what = self.random.choice(("text", "text", "image", "order", "frames"))
        place = self.random.randrange(len(payloads))
        if what == "order":
            moved = payloads.pop(place)
            for _ in range(self.random.randrange(3)):
                payloads.insert(self.random.randrange(len(payloads)), moved)
        elif what != "frames":
            change = damage.text if payloads[place][:1] == b"{" else damage.picture
            payloads[place] = self.changed(payloads[place], change)
        self.stream = b"".join(map(damage.frame, payloads))
        if what == "frames":
            self.stream = self.changed(self.stream, damage.records)

    def _images(
        self,
        good: Sequence[Sample],
        write: Callable[[Path, Path, Sequence[Sample]], None],
        name: str = "",
    ) -> Path:
        """Images with annotations; returns the annotations' file or folder."""
        beside = name and self.random.random() < 0.3
        folder = self._data / ("train" if beside else "train_annotation")
        if not beside:
            self._channels["train_annotation"] = {}
        write(self._data / "train", folder / name, good)
        return folder / name


KINDS: Mapping[str, Callable[[Case, Sequence[Sample]], None]] = {
    "annotations": Case.annotations,
    "pictures": Case.pictures,
    "COCO file": Case.coco,
    "manifest": Case.manifest,
    ".rec file": Case.recordio,
    "VOC": Case.voc,
    "YOLO": Case.yolo,
    "stream of records": Case.recordio_stream,
    "stream of a manifest": Case.manifest_stream,
}


def _feed(path: Path, data: bytes, sizes: Sequence[int]) -> None:
    with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as file:
        for size in sizes:
            file.write(data[:size])
            data = data[size:]
        file.write(data)
