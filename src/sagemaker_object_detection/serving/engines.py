"""Which engine an endpoint runs its model on, and why."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.inference.conversion import convert
from sagemaker_object_detection.inference.predictor import Rows
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError, ModelConfig
from sagemaker_object_detection.model.inside import require_inside
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.serving.batching import BatchEngine
from sagemaker_object_detection.serving.settings import AUTO, MXNET, NO_MEAN, OPENVINO, Settings

log = logging.getLogger(__name__)

GPU_BATCH = 8
_GPU_DRIVER = Path("/dev/nvidiactl")


@dataclass(frozen=True)
class Plan:
    """What is served, and how; made before there are workers, which share it.

    Attributes:
        folder: of the artifact.
        config: what it says of itself.
        engine: openvino or mxnet.
        onnx: of a twin that is not in the folder, made in memory.
    """

    folder: Path
    config: ModelConfig
    engine: str
    onnx: bytes = b""


@contextmanager
def _mended_by_the_user() -> Iterator[None]:
    """What is wrong with an artifact becomes a ClientError."""
    try:
        yield
    except ArtifactError as error:
        raise ClientError(f"The model cannot be used: {error}.") from error


@_mended_by_the_user()
def make_plan(
    folder: Path, settings: Settings, environ: Mapping[str, str], image_shape: int | None = None
) -> Plan:
    """Choose the engine, and convert the model for it where it has no twin.

    auto is MXNet on a machine with a GPU, OpenVINO on any other; MXNet also runs what cannot be
    converted. The log says what was chosen and why.

    Args:
        image_shape: of the service's, whose files may not say it.

    Raises:
        ClientError: the artifact cannot be used, or not as the settings ask.
    """
    if not folder.is_dir():
        artifact.require_files(folder)
    require_inside(folder)
    engine, why = choose(settings)
    ours = (folder / artifact.MODEL_FILE).is_file()
    int8 = (folder / artifact.INT8_FILE).is_file()
    if settings.precision == "int8" and not int8:
        raise ClientError(
            f"The precision is int8, and {folder} has no {artifact.INT8_FILE}. Train with "
            "quantize=1, which tries to make it, or choose another precision."
        )
    if ours:  # what is wrong with it is told without MXNet
        config = artifact.read_config(folder)
        twin = (folder / artifact.ONNX_FILE).is_file()
        if engine == MXNET or not twin:
            artifact.require_files(folder)
        if engine == MXNET or twin:
            log.info("Engine %s: %s.", engine, why)
            return Plan(folder, config, engine)
    converted = convert(folder, environ, engine == OPENVINO, image_shape)
    if converted.reason:
        fault = f"the model cannot be converted to ONNX ({converted.reason})"
        if settings.engine == OPENVINO:
            raise ClientError(
                f"The engine is openvino, and {fault}. Leave the choice out: MXNet runs it."
            )
        engine, why = MXNET, fault
    elif engine == OPENVINO:
        why += f"; {artifact.ONNX_FILE} is missing, the model was converted in memory"
    log.info("Engine %s: %s.", engine, why)
    return Plan(folder, converted.config, engine, converted.onnx)


def choose(settings: Settings) -> tuple[str, str]:
    """The engine of models that it can run, and why.

    Raises ClientError when there is none that computes as the settings ask.
    """
    engine, why = settings.engine, "as asked for"
    if engine == AUTO:
        engine, why = (
            (MXNET, "this machine has a GPU")
            if _GPU_DRIVER.exists()
            else (OPENVINO, "this machine has no GPU")
        )
    if engine == OPENVINO and importlib.util.find_spec("openvino") is None:
        if settings.engine == OPENVINO:
            raise ClientError(
                "The engine is openvino, which is not installed here. Install it, or leave the "
                "choice of an engine out."
            )
        engine, why = MXNET, "OpenVINO is not installed here"
    if engine == MXNET and settings.precision not in (AUTO, "float32"):
        raise ClientError(
            f"OBJECT_DETECTION_PRECISION is {settings.precision}, and the engine MXNet ({why}) "
            "computes in float32. Set OBJECT_DETECTION_ENGINE=openvino, or leave the precision out."
        )
    return engine, why


@_mended_by_the_user()
def load_engine(plan: Plan, settings: Settings, threads: int) -> BatchEngine:
    """The engine of a plan, in the thread that is to use it.

    Raises ClientError when the artifact cannot be used.
    """
    engine = (
        _load_openvino(plan, settings, threads)
        if plan.engine == OPENVINO
        else _load_mxnet(plan, settings)
    )
    if settings.mean == NO_MEAN:
        return engine
    log.info("Subtracting %s from red, green and blue.", ", ".join(map(str, settings.mean)))
    return Shifted(engine, settings.mean)


def _load_openvino(plan: Plan, settings: Settings, threads: int) -> BatchEngine:
    from sagemaker_object_detection.inference.engine_openvino import (
        OpenVINOEngine,
        choose_precision,
    )
    from sagemaker_object_detection.platform.processor import cpu_flags

    streams = min(settings.max_batch or 1, threads)
    if not plan.onnx:
        return OpenVINOEngine.from_folder(plan.folder, settings.precision, threads, streams)
    precision = choose_precision(settings.precision, False, cpu_flags())
    log.info("OpenVINO computes in %s with %d threads.", precision, threads)
    return OpenVINOEngine(plan.onnx, precision, threads, streams)


def _load_mxnet(plan: Plan, settings: Settings) -> BatchEngine:
    from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine, default_context
    from sagemaker_object_detection.model.deployed import read_deployed

    ctx = default_context()
    most = settings.max_batch or (GPU_BATCH if ctx.device_type == "gpu" else 1)
    sizes = {most} | {2**power for power in range(most.bit_length())}
    graph, _ = read_deployed(plan.folder, plan.config.image_shape)
    log.info("MXNet on %s, batches of %s.", ctx, ", ".join(map(str, sorted(sizes))))
    return MXNetEngine(graph.symbol, graph.args, graph.auxs, graph.image_shape, ctx, sizes)


def precision_of(engine: BatchEngine) -> str:
    """What an engine computes in; MXNet's computes in float32."""
    return str(getattr(engine, "precision", "float32"))


def facts(plan: Plan, engine: BatchEngine) -> dict[str, str]:
    """What the page shows of a model, name -> value; unknown values are omitted."""
    config = plan.config
    name = {OPENVINO: "OpenVINO", MXNET: "MXNet"}[plan.engine]
    score = config.validation_map
    return {
        "Model": str(plan.folder),
        "Network": f"{config.base_network}, {config.image_shape} px",
        **({} if score is None else {"Validation mAP": f"{score:.4f}"}),
        "Engine": f"{name}, {precision_of(engine)}",
    }


class Shifted:
    """An engine whose network expects pixels without their mean.

    Whether the service subtracts one is not known.

    Args:
        mean: of red, green and blue, in 0..255.
    """

    def __init__(self, engine: BatchEngine, mean: tuple[float, float, float]) -> None:
        self._engine = engine
        self._mean = np.array(mean, np.float32).reshape(3, 1, 1)
        self.image_shape = engine.image_shape
        self.batch_sizes = engine.batch_sizes
        self.precision = precision_of(engine)

    def detect(self, planes: npt.NDArray[Any]) -> Rows:
        return self._engine.detect(planes.astype(np.float32) - self._mean)

    def warm_up(self) -> None:
        self._engine.warm_up()
