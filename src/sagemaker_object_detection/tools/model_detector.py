"""A model as an endpoint would run it, in this process."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from sagemaker_object_detection.inference.predictor import Predictor
from sagemaker_object_detection.model.archive import opened_model
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.threads import physical_cores, set_threads
from sagemaker_object_detection.serving.batching import Batcher
from sagemaker_object_detection.serving.engines import GPU_BATCH, load_engine, make_plan
from sagemaker_object_detection.serving.formats import objects
from sagemaker_object_detection.serving.settings import OPENVINO, Settings
from sagemaker_object_detection.tools.pixel_budget import PixelBudget
from sagemaker_object_detection.tools.predictions import Answer, Prediction


class ModelDetector:
    """Predictions of a loaded model; see predictions.Detector.

    pixels: what may be decoded at a time.
    """

    def __init__(self, predictor: Predictor, pixels: PixelBudget, parallel: int) -> None:
        self._predictor = predictor
        self._pixels = pixels
        self.parallel = parallel

    def detect(self, data: bytes, name: str) -> Sequence[Prediction]:
        """As Detector."""
        with self._pixels.for_picture(data):
            planes, size = self._predictor.prepare(data, name)
        found = self._predictor.finish(self._predictor.engine.detect(planes[None])[0], size)
        return msgspec.convert(objects(found, self._predictor.class_names), Answer).predictions

    def interrupt(self) -> None:
        """As Detector; nothing here waits for anybody else."""


@contextmanager
def loaded_detector(
    path: Path, class_names: Sequence[str], pixels: PixelBudget
) -> Iterator[ModelDetector]:
    """A detector for the model in `path`, a folder or a model.tar.gz; it lasts for the block.

    Engine, precision and the rest are those of an endpoint with the same environment.

    Args:
        class_names: which the model is to know.
        pixels: what may be decoded at a time.

    Raises:
        ClientError: the model or the environment cannot be used, or a class is not known.
    """
    settings = Settings.from_environment(os.environ)
    with opened_model(path) as folder:
        if "mxnet" not in sys.modules:  # which reads them when it is loaded
            set_threads(os.environ)
        os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
        plan = make_plan(folder, settings, os.environ)
        _check_classes(class_names, plan.config.class_names)
        cores = physical_cores()
        if plan.engine == OPENVINO:
            settings = replace(settings, max_batch=settings.max_batch or cores)
        # Half of the pictures are decoded or drawn while the other half is being computed.
        parallel = 2 * (settings.max_batch or GPU_BATCH)
        batcher = Batcher(
            lambda: load_engine(plan, settings, cores), parallel, patience=threading.TIMEOUT_MAX
        )
        batcher.start()
        try:
            batcher.wait_loaded()
            yield ModelDetector(Predictor(batcher, plan.config.class_names), pixels, parallel)
        finally:
            batcher.close()


def _check_classes(wanted: Sequence[str], known: Sequence[str]) -> None:
    unknown = [repr(name) for name in wanted if name not in known]
    if unknown:
        raise ClientError(
            f"The model has no class {', '.join(unknown)}. Its classes are: {', '.join(known)}."
        )
