"""Writing the model folder: the artefact, and twins of it for CPU endpoints.

INT8 takes long and much native code, so that it is made in a process of its own: whatever happens
to it, the model is there and the job goes on.
`python -m sagemaker_object_detection.training.saving FOLDER IMAGES.npy THREADS PARENT`.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mxnet as mx
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.inference.predictor import Engine
from sagemaker_object_detection.inference.twins import (
    CALIBRATION_IMAGES,
    first_images,
    judge_int8,
    make_twins,
)
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ModelConfig
from sagemaker_object_detection.model.deploy import DeployGraph
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.orphans import end_with_parent
from sagemaker_object_detection.platform.python_process import last_words, with_package
from sagemaker_object_detection.training.epochs import EpochResult

log = logging.getLogger(__name__)

MAP_DEFINITION = (
    "all-point interpolated AP, mean over the classes that occur, every image once, detections "
    "above 0.01 after per-class NMS"
)
_LIBRARIES = ("gluoncv", "numpy", "opencv-python-headless", "openvino")


def save_model(
    job: Job, graph: DeployGraph, names: tuple[str, ...], result: EpochResult | None
) -> Path:
    """Write the whole artefact into the model folder; returns the path of the parameters.

    Twins of other weights that are in the folder are deleted.

    Args:
        result: the epoch after which the weights were scored; None for weights that were not.
    """
    hyperparameters = job.hyperparameters
    folder = job.paths.model_dir
    for twin in (artifact.ONNX_FILE, artifact.INT8_FILE, artifact.UNSCORED_FILE):
        (folder / twin).unlink(missing_ok=True)
    path = graph.save(folder)
    artifact.write_text_whole(
        folder / artifact.HYPERPARAMETERS_FILE, json.dumps(hyperparameters.as_strings())
    )
    config = ModelConfig(
        class_names=names,
        image_shape=hyperparameters.image_shape,
        base_network=hyperparameters.base_network,
        nms_threshold=hyperparameters.nms_threshold,
        validation={}
        if result is None
        else {"epoch": result.epoch, **score_summary(job, names, result.score)},
        versions=versions(),
    )
    artifact.write_config(folder, config)
    return path


def versions() -> dict[str, str]:
    """The libraries that a model and its figures depend on."""
    # The wheel of MXNet has another name for cards, so MXNet says itself which version it is.
    installed = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"mxnet": mx.__version__, **installed}


def save_test_score(job: Job, score: AveragePrecision) -> dict[str, Any]:
    """Add the score on the test channel to the artefact's description, and return it."""
    config = artifact.read_config(job.paths.model_dir)
    summary = score_summary(job, config.class_names, score)
    artifact.write_config(job.paths.model_dir, replace(config, test=summary))
    return summary


def score_summary(job: Job, names: tuple[str, ...], score: AveragePrecision) -> dict[str, Any]:
    """A score as model.json holds it."""
    per_class = {
        name: None if math.isnan(value) else value
        for name, value in zip(names, score.per_class, strict=True)
    }
    return {
        "mAP": score.mean,
        "AP": per_class,
        "overlap_threshold": job.hyperparameters.overlap_threshold,
        "definition": MAP_DEFINITION,
    }


_MODULE = "sagemaker_object_detection.training.saving"


def add_twins(
    folder: Path,
    images: Iterable[NDArray[Any]],
    threads: int,
    int8: bool,
    reference_map: float,
    score: Callable[[Engine], float],
) -> None:
    """Write the twins of the model in `folder`; a failure is only a warning.

    Args:
        images: of the validation channel, uint8 batches (B, 3, S, S); read only for INT8.
        reference_map: the model's own mAP on that channel; what an INT8 twin has to come near.
        score: gives the mAP of an engine on that channel.
    """
    begun = time.perf_counter()
    with_int8 = int8 and _try("INT8", lambda: _run_process(folder, images, threads))
    if not with_int8:
        _try("float32", lambda: make_twins(folder, (), threads, int8=False))
    if with_int8:
        _try("INT8", lambda: log.info("%s", judge_int8(folder, reference_map, score, threads)))
    log.info("Twins for CPU endpoints took %.1f s.", time.perf_counter() - begun)


def _try(twin: str, make: Callable[[], object]) -> bool:
    """Whether it went well; any error is a warning, since the model itself is whole."""
    try:
        make()
    except Exception as error:
        log.warning(
            "There is no %s twin for CPU endpoints (%s: %s). The model itself is whole.",
            twin,
            type(error).__name__,
            error,
        )
        log.debug("The twin's error", exc_info=True)
        return False
    return True


def _run_process(
    folder: Path,
    images: Iterable[NDArray[Any]],
    threads: int,
) -> None:
    """Make both twins in a process.

    Raises RuntimeError with the last words of the process, OSError, JobError.
    """
    with TemporaryDirectory(prefix="twins-") as scratch:
        file, words = Path(scratch) / "images.npy", Path(scratch) / "words"
        np.save(file, np.concatenate(list(first_images(images, CALIBRATION_IMAGES))))
        given = [str(folder), str(file), str(threads), str(os.getpid())]
        command = [sys.executable, "-m", _MODULE, *given]
        with words.open("wb") as output:
            process = subprocess.run(
                command,
                env=with_package(os.environ),
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if process.returncode:
            last = last_words(words.read_text(errors="replace"))
            raise RuntimeError(f"exit code {process.returncode}, {last}")


def _batches(images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (images[start : start + 8] for start in range(0, len(images), 8))


def main() -> None:
    """The process: make the twins of a folder."""
    folder, file, threads, parent = sys.argv[1:]
    end_with_parent(int(parent))
    make_twins(Path(folder), _batches(np.load(file, allow_pickle=False)), int(threads), int8=True)


if __name__ == "__main__":
    main()
