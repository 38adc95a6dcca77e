"""Training jobs for tests: a temporary SAGEMAKER_BASE_DIR and a real ./train process.

Pictures are drawn scenes; the same ones can be written as RecordIO and as images with annotations.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.boxes import from_px
from sagemaker_object_detection.data.labels import pack_label
from sagemaker_object_detection.data.recordio import RecordIOWriter, pack
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.tools import demo_data

TRAIN = Path(__file__).parents[1] / "train"
TIMEOUT = 120

SMALL: Mapping[str, object] = {
    "base_network": "mobilenet1.0",
    "image_shape": 300,
    "num_classes": len(demo_data.CLASS_NAMES),
    "num_training_samples": 4,
    "mini_batch_size": 2,
    "epochs": 1,
    "use_pretrained_model": 0,
    "quantize": 0,
}
"""The fastest training there is."""


@dataclass(frozen=True)
class Picture:
    """An encoded picture of size (width, height) with boxes_px (n, 4) and class_ids (n,)."""

    data: bytes
    size: tuple[int, int]
    boxes_px: npt.NDArray[Any]
    class_ids: npt.NDArray[Any]

    def with_boxes(self, *boxes_px: Sequence[float], class_id: int = 0) -> Picture:
        """The same picture with other boxes."""
        boxes = np.array(boxes_px, np.float64).reshape(-1, 4)
        return replace(self, boxes_px=boxes, class_ids=np.full(len(boxes), class_id))


def picture(number: int) -> Picture:
    """A drawn scene, always the same for a number."""
    scene = demo_data.scene(7, number)
    height, width = scene.image.shape[:2]
    boxes = np.round(scene.boxes_px.astype(np.float64))
    return Picture(scene.jpeg(), (width, height), boxes, scene.class_ids)


def pictures(first: int, count: int) -> list[Picture]:
    return [picture(number) for number in range(first, first + count)]


def write_recordio(folder: Path, records: Sequence[Picture]) -> Path:
    """Write a channel's pictures into one .rec file; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "data.rec"
    with RecordIOWriter(path) as writer:
        for number, record in enumerate(records):
            label = pack_label(from_px(record.boxes_px, *record.size), record.class_ids)
            writer.write(pack(label, number, record.data))
    return path


def annotation(record: Picture) -> dict[str, Any]:
    """The annotation of a picture as the service documents it, without its file."""
    width, height = record.size
    objects = [
        {
            "class_id": int(class_id),
            "left": left,
            "top": top,
            "width": right - left,
            "height": bottom - top,
        }
        for class_id, (left, top, right, bottom) in zip(
            record.class_ids, record.boxes_px.tolist(), strict=True
        )
    ]
    size = [{"width": width, "height": height, "depth": 3}]
    return {"image_size": size, "annotations": objects}


def write_images(images: Path, notes: Path, records: Sequence[Picture]) -> None:
    """Write a channel's pictures as 000.jpg, 001.jpg, ... and their annotations."""
    images.mkdir(parents=True, exist_ok=True)
    notes.mkdir(parents=True, exist_ok=True)
    for number, record in enumerate(records):
        note = {
            "file": f"{number:03}.jpg",
            **annotation(record),
            "categories": [
                {"class_id": i, "name": name} for i, name in enumerate(demo_data.CLASS_NAMES)
            ],
        }
        (images / f"{number:03}.jpg").write_bytes(record.data)
        (notes / f"{number:03}.json").write_text(json.dumps(note))


class TrainingJob:
    """A job below `base`: write its files, then run it or start it."""

    def __init__(self, base: Path) -> None:
        self.paths = Paths(base)
        self.log_file = base / "log.txt"

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def failure(self) -> str | None:
        file = self.paths.failure_file
        return file.read_text() if file.exists() else None

    def configure(
        self, channels: Mapping[str, str | Mapping[str, object]], **hyperparameters: object
    ) -> None:
        """Write the configuration: channel -> ContentType, or what differs from the usual; and
        SMALL with these changes.
        """
        values = {**SMALL, **hyperparameters}
        described = {
            name: {
                "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
                **({"ContentType": given} if isinstance(given, str) else given),
            }
            for name, given in channels.items()
        }
        host = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
        self.paths.config_dir.mkdir(parents=True, exist_ok=True)
        for file, content in (
            (self.paths.hyperparameters_file, {k: str(v) for k, v in values.items()}),
            (self.paths.input_data_config_file, described),
            (self.paths.resource_config_file, host),
        ):
            file.write_text(json.dumps(content))

    def change(self, **hyperparameters: object) -> None:
        """Change hyperparameters that are written already."""
        file = self.paths.hyperparameters_file
        values = json.loads(file.read_text())
        file.write_text(json.dumps(values | {k: str(v) for k, v in hyperparameters.items()}))

    def recordio(
        self, train: Sequence[Picture], validation: Sequence[Picture], **hyperparameters: object
    ) -> None:
        """A job with RecordIO channels."""
        write_recordio(self.paths.channel_dir("train"), train)
        write_recordio(self.paths.channel_dir("validation"), validation)
        channels = dict.fromkeys(("train", "validation"), "application/x-recordio")
        self.configure(channels, **{"num_training_samples": len(train), **hyperparameters})

    def images(
        self, train: Sequence[Picture], validation: Sequence[Picture], **hyperparameters: object
    ) -> None:
        """A job with images and annotations, declared as users of the service declare them."""
        for name, records in (("train", train), ("validation", validation)):
            folder = self.paths.channel_dir
            write_images(folder(name), folder(f"{name}_annotation"), records)
        channels = {
            "train": "application/x-recordio",
            "validation": "application/x-recordio",
            "train_annotation": "application/json",
            "validation_annotation": "application/json",
        }
        self.configure(channels, **{"num_training_samples": len(train), **hyperparameters})

    def start(
        self, command: Sequence[str] = (), environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start ./train, or `command` with ./train behind it."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SAGEMAKER_", "OBJECT_DETECTION_", "SM_"))
        }
        own = {"SAGEMAKER_BASE_DIR": str(self.paths.base), "PYTHONDONTWRITEBYTECODE": "1"}
        with self.log_file.open("wb") as log:
            return subprocess.Popen(
                [*command, sys.executable, str(TRAIN)],
                cwd=self.paths.base,
                env={**inherited, **own, **(environ or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @contextmanager
    def started(self, log: str) -> Iterator[subprocess.Popen[bytes]]:
        """The process of ./train, once this text stands in its log; killed after the block."""
        process = self.start()
        try:
            wait_until(process, lambda: log in self.log)
            yield process
        finally:
            process.kill()
            process.wait()

    def run(
        self,
        command: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        seconds: float = TIMEOUT,
    ) -> int:
        """Run ./train to its end as `start` does; returns the exit code."""
        process = self.start(command, environ)
        try:
            return process.wait(seconds)
        finally:
            process.kill()
            process.wait()


def wait_until(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Poll; a process that has ended fails the test, one that hangs runs into its timeout."""
    pause = threading.Event()
    while not condition():
        assert process.poll() is None, "the process has ended"
        pause.wait(0.02)
