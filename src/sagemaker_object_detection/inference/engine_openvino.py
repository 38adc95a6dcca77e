"""OpenVINO as an engine: the ONNX twin of an artefact on a CPU, without MXNet.

Safe for threads: whoever comes while all cores are busy waits.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import openvino

from sagemaker_object_detection.inference.decode import decode
from sagemaker_object_detection.inference.predictor import Rows
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.detection import DetectionRule
from sagemaker_object_detection.platform.errors import last_line
from sagemaker_object_detection.platform.processor import BFLOAT16_FLAGS, INT8_FLAGS, cpu_flags

log = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16", "int8"]

_ELEMENT_TYPES = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
_HEADS = ("scores", "offsets")
_OUTPUTS = {*_HEADS, "anchors"}


class OpenVINOEngine:
    """Runs the twin of a deploy graph; rows as inference.decode makes them.

    source: an ONNX file, see model.onnx_heads, or its bytes.
    precision: what is computed in. int8 means that the file is a quantised one, where what is not
        quantised is computed in float32.
    threads: processor cores to use; OpenVINO's choice if None.
    streams: pictures that are computed at the same time, each on its share of the threads. One
        gives the shortest time for a picture, one for each core the most pictures a second.

    Raises ArtifactError when the file is missing, damaged or none of ours.
    """

    def __init__(
        self,
        source: Path | bytes,
        precision: Precision,
        threads: int | None = None,
        streams: int = 1,
    ) -> None:
        self.precision = precision
        core = openvino.Core()
        name = str(source) if isinstance(source, Path) else "the converted graph"
        model = _read(core, source, name)
        self._rule = _rule(model, name)
        self._anchors = _take_anchors(model, name)
        self.image_shape = _side(model, name)
        options: dict[str, Any] = {
            # Not left to OpenVINO, which takes bfloat16 wherever a CPU has it.
            "INFERENCE_PRECISION_HINT": _ELEMENT_TYPES[precision],
            "NUM_STREAMS": streams,
            # Workers of a server are processes of their own and would all choose the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model.reshape([1, 3, self.image_shape, self.image_shape])
            compiled = compile_for_cpu(core, model, options)
        except RuntimeError as error:
            raise ArtifactError(
                f"OpenVINO cannot run {name} ({last_line(error)}); {artifact.CURE}"
            ) from error
        shapes = {head: tuple(compiled.output(head).shape) for head in _HEADS}
        count = len(self._anchors)
        if shapes["scores"][:2] != (1, count) or shapes["offsets"] != (1, count, 4):
            raise ArtifactError(f"{name} gives {shapes} for {count} anchors; {artifact.CURE}")
        self.num_classes = int(shapes["scores"][2]) - 1
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.create_infer_request())
        self._streams = streams

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Up to as many pictures as are computed at the same time."""
        return (self._streams,)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        precision: str = "auto",
        threads: int | None = None,
        streams: int = 1,
    ) -> OpenVINOEngine:
        """Load the twin of an artefact.

        Args:
            precision: float32, bfloat16, int8, or auto: int8 where the artefact has that twin, by
                model.json a good one, and the CPU the instructions for it, else bfloat16 if the
                CPU has it, else float32.

        Raises:
            ArtifactError: naming the file that is missing or damaged.
        """
        config = artifact.read_config(folder)
        scored = config.twins.get("int8")
        kept = isinstance(scored, Mapping) and bool(scored.get("kept"))
        has_int8 = kept and (folder / artifact.INT8_FILE).is_file()
        chosen = choose_precision(precision, has_int8, cpu_flags())
        name = artifact.INT8_FILE if chosen == "int8" else artifact.ONNX_FILE
        artifact.require_files(folder, [name])
        engine = cls(folder / name, chosen, threads, streams)
        if engine.image_shape != config.image_shape:
            raise ArtifactError(
                f"{folder / name} takes images of {engine.image_shape} px, "
                f"{artifact.MODEL_FILE} says {config.image_shape}; {artifact.CURE}"
            )
        config.require_names(engine.num_classes, folder / name)
        log.info(
            "Engine OpenVINO %s on %s, computing in %s with %s threads.",
            openvino.get_version().partition("-")[0],
            name,
            chosen,
            threads or "as many as it likes",
        )
        return engine

    def detect(self, planes: npt.NDArray[Any]) -> Rows:
        """Pictures (B, 3, S, S), RGB 0-255, uint8 or float32 -> rows (B, N, 6) float32.

        Each picture is computed by itself: on a CPU a batch is no faster.
        """
        expected = (3, self.image_shape, self.image_shape)
        if planes.ndim != 4 or planes.shape[1:] != expected or not len(planes):
            raise ValueError(f"expected pictures (B, {expected}), got {planes.shape}")
        rows = np.empty((len(planes), len(self._anchors), 6), np.float32)
        for first in range(0, len(planes), self._streams):
            self._detect_some(planes[first : first + self._streams], rows[first:])
        return rows

    def warm_up(self) -> None:
        """Run once, on a black picture."""
        self.detect(np.zeros((1, 3, self.image_shape, self.image_shape), np.uint8))

    def _detect_some(self, planes: npt.NDArray[Any], into: Rows) -> None:
        """At most as many pictures as there are streams, at the same time."""
        started: list[Any] = []
        try:
            for picture in planes:
                try:
                    # Waiting with requests in hand could wait for another that does the same.
                    request = self._idle.get(block=not started)
                except queue.Empty:
                    break
                started.append(request)
                request.start_async({0: np.ascontiguousarray(picture[None], dtype=np.float32)})
            for i, request in enumerate(started):
                request.wait()
                scores, offsets = (request.get_tensor(head).data for head in _HEADS)
                into[i] = decode(scores, offsets, self._anchors, self._rule)[0]
        finally:
            for request in started:
                request.wait()
                self._idle.put(request)
        if len(started) < len(planes):
            self._detect_some(planes[len(started) :], into[len(started) :])


def compile_for_cpu(core: Any, model: Any, options: Mapping[str, Any]) -> Any:
    """Compile a model, in a thread of its own that ends.

    Where the CPU has AMX, OpenVINO gives the thread that compiles first a stack for signal
    handlers, and takes its memory back when the core goes, from whichever thread: the next signal
    that the first thread gets would end the process (SIGSEGV).
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(core.compile_model, model, "CPU", options).result()


def choose_precision(asked: str, has_int8: bool, flags: frozenset[str]) -> Precision:
    """What to compute in for what was asked, "auto" included.

    Args:
        has_int8: whether there is a quantised twin, which was found good enough when it was made.
        flags: instruction sets of the CPU, see platform.processor.

    Raises:
        ValueError: an unknown word.
    """
    if asked == "auto":
        if has_int8 and flags & INT8_FLAGS:
            return "int8"
        return "bfloat16" if flags & BFLOAT16_FLAGS else "float32"
    for precision in ("float32", "bfloat16", "int8"):
        if asked == precision:
            return precision
    raise ValueError(f"precision must be auto, {', '.join(_ELEMENT_TYPES)}, got {asked!r}")


def _read(core: openvino.Core, source: Path | bytes, path: str) -> openvino.Model:
    try:
        model = core.read_model(source)
        names = {name for output in model.outputs for name in output.get_names()}
    except RuntimeError as error:
        raise ArtifactError(
            f"{path} is not an ONNX model or is damaged ({last_line(error)}); {artifact.CURE}"
        ) from error
    if len(model.inputs) != 1 or not names >= _OUTPUTS:
        raise ArtifactError(
            f"{path} has outputs {sorted(names)}, expected {sorted(_OUTPUTS)}; {artifact.CURE}"
        )
    return model


def _rule(model: openvino.Model, path: str) -> DetectionRule:
    """What the file's metadata say, which OpenVINO keeps under `framework`."""
    stored = model.get_rt_info("framework").value if model.has_rt_info("framework") else {}
    if "nms_threshold" not in stored:
        raise ArtifactError(f"{path} does not say how detections are made; {artifact.CURE}")
    return DetectionRule.from_texts(stored, path)


def _side(model: openvino.Model, path: str) -> int:
    """Side of the square pictures in pixels."""
    shape = model.input(0).partial_shape
    if shape.rank.is_dynamic or len(shape) != 4 or shape[2].is_dynamic or shape[2] != shape[3]:
        raise ArtifactError(
            f"{path} takes pictures of shape {shape}, expected (batch, 3, S, S); {artifact.CURE}"
        )
    return int(shape[2].get_length())


def _take_anchors(model: openvino.Model, path: str) -> npt.NDArray[np.float32]:
    """Anchors (N, 4), a constant of the file, which then is no output any more."""
    output = model.output("anchors")
    constant = output.get_node().input_value(0).get_node()
    if constant.get_type_name() != "Constant":
        raise ArtifactError(f"{path} computes its anchors, expected constants; {artifact.CURE}")
    anchors: npt.NDArray[np.float32] = constant.data.astype(np.float32).reshape(-1, 4)
    model.remove_result(output.get_node())
    return anchors
