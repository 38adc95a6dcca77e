"""Twins of an artefact for CPU endpoints: made, and kept if they are good enough.

The float32 twin is the same network, in a form that runs without MXNet. The INT8 one computes
other numbers, so it stays only if it scores nearly as well on the whole validation channel, by the
engine that will serve it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from sagemaker_object_detection.inference.engine_openvino import OpenVINOEngine
from sagemaker_object_detection.inference.predictor import Engine
from sagemaker_object_detection.inference.quantise import quantise_file
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.deployed import read_deploy_graph
from sagemaker_object_detection.model.onnx_heads import convert_heads, write_onnx

log = logging.getLogger(__name__)

ALLOWED_FALL = 0.005
CALIBRATION_IMAGES = 200


@dataclass(frozen=True)
class Int8Score:
    """What became of an INT8 twin.

    mAP: on the validation channel.
    reference_mAP: that of the model in float32.
    allowed_fall: the twin stays if it falls by less.
    """

    mAP: float
    reference_mAP: float
    allowed_fall: float

    @property
    def fall(self) -> float:
        """By how much the twin is worse; negative if it is better."""
        return self.reference_mAP - self.mAP

    @property
    def is_kept(self) -> bool:
        """Whether the twin is good enough; one whose score is not a number is not."""
        return self.fall < self.allowed_fall

    def figures(self) -> dict[str, Any]:
        """For model.json; what is not a number is null."""
        numbers = {**asdict(self), "fall": self.fall}
        finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
        return {**finite, "kept": self.is_kept}

    def __str__(self) -> str:
        """For the log."""
        verdict = (
            "kept" if self.is_kept else f"deleted: it may fall by less than {self.allowed_fall}"
        )
        return (
            f"INT8 twin: validation mAP {self.mAP:.4f}, {self.reference_mAP:.4f} in float32; "
            f"{verdict}."
        )


def make_twins(
    folder: Path,
    images: Iterable[npt.NDArray[Any]],
    threads: int,
    int8: bool = True,
    limit: int = CALIBRATION_IMAGES,
) -> tuple[Path, ...]:
    """Write the twins of the artefact in `folder`; those of an earlier model are deleted first.

    Args:
        images: to calibrate on, batches (B, 3, S, S), RGB 0-255; nothing is read without `int8`.
        threads: processor cores to use.
        int8: whether to make that twin too. It has to pass judge_int8.
        limit: of images that are looked at.

    Returns:
        The files: ONNX_FILE, and UNSCORED_FILE, which judge_int8 renames.

    Raises:
        Exception: of whatever kind, from any of the libraries. What was written whole stays.
    """
    delete_twins(folder)
    path = folder / artifact.ONNX_FILE
    write_onnx(convert_heads(read_deploy_graph(folder)), path)
    if not int8:
        return (path,)
    narrow = folder / artifact.UNSCORED_FILE
    quantise_file(path, narrow, first_images(images, limit), threads)
    return path, narrow


def judge_int8(
    folder: Path,
    reference_map: float,
    score: Callable[[Engine], float | None],
    threads: int,
    allowed_fall: float = ALLOWED_FALL,
) -> Int8Score | None:
    """Rename the INT8 twin if it scores nearly as well as the model in float32, else delete it.

    So whatever ends the process, no endpoint finds one that was not scored.

    Args:
        reference_map: the model's own on the same images.
        score: gives an engine's mAP; None if it was stopped before its end.

    Returns:
        The figures, which model.json has too; None after a stop. Then, and after any error, the
        twin is deleted.
    """
    path = folder / artifact.UNSCORED_FILE
    result = None
    try:
        log.info("The INT8 twin is scored on the validation channel.")
        # A whole channel waits: as many pictures at a time as there are cores.
        found = score(OpenVINOEngine(path, "int8", threads, threads))
        if found is not None:
            result = Int8Score(found, reference_map, allowed_fall)
            config = artifact.read_config(folder)
            twins = {**config.twins, "int8": result.figures()}
            artifact.write_config(folder, replace(config, twins=twins))
            if result.is_kept:
                path.rename(folder / artifact.INT8_FILE)
    finally:
        path.unlink(missing_ok=True)
    return result


def delete_twins(folder: Path) -> None:
    """Delete the twins and what model.json says about them, as they belong to other weights."""
    for name in (artifact.ONNX_FILE, artifact.INT8_FILE, artifact.UNSCORED_FILE):
        (folder / name).unlink(missing_ok=True)
    config = artifact.read_config(folder)
    if config.twins:
        artifact.write_config(folder, replace(config, twins={}))


def first_images(batches: Iterable[npt.NDArray[Any]], limit: int) -> Iterator[npt.NDArray[Any]]:
    """The first `limit` images of batches, which are not read further than that."""
    left = limit
    if left <= 0:
        return
    for batch in batches:
        yield batch[:left]
        left -= len(batch)
        if left <= 0:
            return
