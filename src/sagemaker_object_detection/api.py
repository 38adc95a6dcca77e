"""The Python API: `load` a model to detect with, `train` one; docs/python.md has examples."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection import images
from sagemaker_object_detection.boxes import to_px
from sagemaker_object_detection.inference.predictor import Engine, Predictor, to_planes
from sagemaker_object_detection.platform.errors import AlgorithmError, ClientError

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Detections:
    """What was found in one image, best first.

    Attributes:
        boxes_px: (n, 4) float32, left, top, right, bottom in pixels of the image.
        scores: (n,) float32 in 0..1.
        class_ids: (n,) int64.
        class_names: (n,) str, the name of each class id.
        image: (h, w, 3) uint8 RGB, as displayed.
    """

    boxes_px: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]
    class_names: npt.NDArray[np.str_]
    image: Image

    def __len__(self) -> int:
        return len(self.scores)

    def plot(self) -> Image:
        """A copy of the image, RGB, with boxes, names and scores drawn on it."""
        from sagemaker_object_detection.tools.detectors import Prediction
        from sagemaker_object_detection.tools.predict import draw_detections

        columns = (self.class_ids, self.class_names, self.scores, self.boxes_px)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return draw_detections(self.image, [Prediction(*row) for row in rows])


class Detector:
    """A loaded model. Call it with an image, from one thread at a time.

    Attributes:
        class_names: class id 0 first.
        threshold: detections need a score above it; one number, or one a class.
    """

    def __init__(
        self,
        engine: Engine,
        class_names: Sequence[str],
        threshold: float | None,
        thresholds: Sequence[float] = (),
    ) -> None:
        self._predictor = Predictor(engine, class_names, thresholds)
        self.class_names = self._predictor.class_names
        self.threshold = self._predictor.thresholds if threshold is None else threshold
        self._lock = threading.Lock()

    def __call__(self, image: str | os.PathLike[str] | bytes | npt.ArrayLike) -> Detections:
        """Detect objects in an image.

        Args:
            image: a path; the bytes of an image file; or RGB pixels, (h, w, 3) uint8 or a PIL
                image. OpenCV's arrays are BGR: give `array[..., ::-1]`.

        Raises ValueError for what is no image, OSError for a file that cannot be read.
        """
        pixels = _pixels(image)
        height, width = pixels.shape[:2]
        square = images.resize_square(pixels, self._predictor.engine.image_shape)
        with self._lock:
            rows = self._predictor.engine.detect(to_planes(square)[None])[0]
        found = self._predictor.finish(rows, (width, height)).above(self.threshold)
        return Detections(
            to_px(found.boxes.astype(np.float64), width, height).astype(np.float32),
            found.scores,
            found.class_ids,
            np.array([self.class_names[i] for i in found.class_ids], np.str_),
            pixels,
        )


def _pixels(image: str | os.PathLike[str] | bytes | npt.ArrayLike) -> Image:
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        return images.decode(path.read_bytes(), str(path))
    if isinstance(image, bytes):
        return images.decode(image)
    if getattr(image, "mode", "RGB") != "RGB":  # of a PIL image
        image = image.convert("RGB")  # type: ignore[union-attr]
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ValueError(
            f"the image is an array of {array.dtype} of shape {array.shape}; it must be uint8 of "
            "shape (height, width, 3), in RGB"
        )
    return np.ascontiguousarray(array)


def load(
    path: str | os.PathLike[str],
    engine: Literal["auto", "openvino", "mxnet"] = "auto",
    threshold: float | None = None,
) -> Detector:
    """Load a model of this project or of the service's algorithm.

    Args:
        path: its folder, or the model.tar.gz of a training job.
        engine: what runs it; auto as an endpoint chooses, whose environment variables, such as
            OBJECT_DETECTION_PRECISION, count.
        threshold: detections need a score above it. By default that of the best F1 of each class,
            as training found it.

    Raises JobError: there is no model, or it cannot be used.
    """
    from sagemaker_object_detection.serving.settings import Settings
    from sagemaker_object_detection.tools.models import open_model

    if engine not in ("auto", "openvino", "mxnet"):
        raise ClientError(f"engine is {engine!r}. Give auto, openvino or mxnet.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise ClientError(f"threshold is {threshold}. Give a number in 0..1.")
    folder = Path(path).expanduser()
    if not folder.exists():
        raise ClientError(f"There is no model at {folder}. Give its folder or its model.tar.gz.")
    settings = replace(Settings.from_environment(os.environ), max_batch=1)
    if engine != "auto":
        settings = replace(settings, engine=engine)
    with open_model(folder, settings) as model:
        loaded = model.load()
        loaded.warm_up()
    return Detector(loaded, model.config.class_names, threshold, model.config.thresholds)


def train(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    validation: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **hyperparameters: Any,  # noqa: ANN401 - of many types, which the table checks
) -> Path:
    """Train a detector as `object-detection train` does, in a process of its own.

    Args:
        data, validation: labeled images of any format that training reads, a folder or a file
            such as data.yaml.
        out: folder of the run, new or empty, unless it continues (resume) or replaces (overwrite)
            a run there.
        hyperparameters: as docs/hyperparameters.md has them; num_classes and num_training_samples
            are counted.

    Returns the folder of the model, for `load`. Raises JobError of the kind of the exit code.
    """
    from sagemaker_object_detection.tools import training_job

    place = None if validation is None else Path(validation)
    given = {n: list(v) if isinstance(v, tuple) else v for n, v in hyperparameters.items()}
    if resume:
        paths = training_job.reopen(Path(out), given, Path(data), place)
    else:
        paths = training_job.prepare(
            Path(data), Path(out), given, validation=place, overwrite=overwrite
        )
    code = training_job.run(paths)
    if code:
        raise training_job.failure_of(paths, code)
    if not (paths.model_dir / "model.json").is_file():
        raise AlgorithmError(
            f"Training was stopped before there was a model in {paths.model_dir}. Continue it with "
            "resume=True."
        )
    return paths.model_dir
