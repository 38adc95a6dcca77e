"""MXNet as an engine: the deploy graph bound once for each batch size.

Not safe for threads: create and use an engine in one thread, see serving.batching.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.inference.predictor import Rows
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.stored import load_arrays, load_symbol
from sagemaker_object_detection.platform.errors import first_line

INPUT = "data"


class MXNetEngine:
    """Runs a deploy graph: `data` (B, 3, S, S) in, detection rows (B, N, 6) out.

    args, auxs: name -> NDArray, anchors among the args. They are bound and not copied when they
    lie on `ctx` already; call refresh after changing their values.
    batch_sizes: those that an executor is kept for; see detect.
    ctx: defaults to the first GPU if there is one.

    Raises ArtifactError when the graph and the arrays do not fit together.
    """

    def __init__(
        self,
        symbol: mx.sym.Symbol,
        args: Mapping[str, mx.nd.NDArray],
        auxs: Mapping[str, mx.nd.NDArray],
        image_shape: int,
        ctx: mx.Context | None = None,
        batch_sizes: Iterable[int] = (1,),
    ) -> None:
        self.image_shape = image_shape
        self.batch_sizes = tuple(sorted(set(batch_sizes)))
        if not self.batch_sizes or self.batch_sizes[0] < 1:
            raise ValueError(f"expected positive batch sizes, got {self.batch_sizes}")
        self._ctx = ctx or default_context()
        self._symbol = symbol
        self._args = _take(symbol.list_arguments(), args, self._ctx, "arguments")
        self._auxs = _take(symbol.list_auxiliary_states(), auxs, self._ctx, "auxiliary states")
        self._executors: dict[int, Any] = {}
        self._check_shapes()

    @classmethod
    def from_folder(
        cls, folder: Path, ctx: mx.Context | None = None, batch_sizes: Iterable[int] = (1,)
    ) -> MXNetEngine:
        """Load an artefact. Raises ArtifactError naming the file that is missing or damaged."""
        artifact.require_files(folder)
        config = artifact.read_config(folder)
        symbol = load_symbol(folder / artifact.SYMBOL_FILE)
        arrays = load_arrays(folder / artifact.PARAMS_FILE)
        return cls(symbol, arrays.args, arrays.auxs, config.image_shape, ctx, batch_sizes)

    def detect(self, planes: npt.NDArray[Any]) -> Rows:
        """Pictures (B, 3, S, S), RGB 0-255, uint8 or float32 -> rows (B, N, 6) float32.

        Any B: it is cut into the largest batch sizes that fit; what is less than the smallest
        one is padded.
        """
        expected = (3, self.image_shape, self.image_shape)
        if planes.ndim != 4 or planes.shape[1:] != expected or not len(planes):
            raise ValueError(f"expected pictures (B, {expected}), got {planes.shape}")
        pixels = np.ascontiguousarray(planes, dtype=np.float32)
        parts = []
        start = 0
        for size in cut(len(pixels), self.batch_sizes):
            parts.append(self._run(pixels[start : start + size], size))
            start += size
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def refresh(self) -> None:
        """Bind anew at the next call, so that changed values of the arrays count.

        A graph fused for oneDNN keeps rearranged copies of what it saw first: of every
        convolution without BatchNorm the weights, of the others the BatchNorm's values.
        """
        self._executors.clear()

    def warm_up(self) -> None:
        """Bind and run every batch size once, on black pictures."""
        for size in self.batch_sizes:
            self.detect(np.zeros((size, 3, self.image_shape, self.image_shape), np.uint8))

    def _run(self, pixels: npt.NDArray[np.float32], size: int) -> Rows:
        count = len(pixels)
        if count < size:
            pixels = np.concatenate([pixels, np.repeat(pixels[-1:], size - count, axis=0)])
        executor = self._executor(size)
        executor.arg_dict[INPUT][:] = pixels
        executor.forward(is_train=False)
        rows: Rows = executor.outputs[0].asnumpy()
        return rows[:count]

    def _executor(self, size: int) -> Any:
        if size not in self._executors:
            data = mx.nd.empty((size, 3, self.image_shape, self.image_shape), self._ctx)
            self._executors[size] = self._symbol.bind(
                self._ctx,
                args={**self._args, INPUT: data},
                grad_req="null",
                aux_states=self._auxs,
            )
        return self._executors[size]

    def _check_shapes(self) -> None:
        shapes = {name: array.shape for name, array in (self._args | self._auxs).items()}
        shapes[INPUT] = (1, 3, self.image_shape, self.image_shape)
        try:
            _, outputs, _ = self._symbol.infer_shape(
                **{name: shapes[name] for name in self._symbol.list_inputs()}
            )
        except mx.MXNetError as error:
            raise ArtifactError(
                f"the graph does not fit its parameters: {first_line(error)}; {artifact.CURE}"
            ) from error
        if len(outputs) != 1 or len(outputs[0]) != 3 or outputs[0][2] != 6:
            raise ArtifactError(
                f"the graph has outputs {self._symbol.list_outputs()} of shapes {outputs}, "
                f"expected one of (B, N, 6); {artifact.CURE}"
            )


def default_context() -> mx.Context:
    """The first GPU if MXNet sees one, the CPU otherwise."""
    return mx.gpu(0) if mx.context.num_gpus() else mx.cpu()


def cut(count: int, batch_sizes: tuple[int, ...]) -> list[int]:
    """Cut `count` pictures into batch sizes, the largest first; the last one may be too large.

    batch_sizes ascend. cut(6, (1, 4)) -> [4, 1, 1]; cut(3, (2,)) -> [2, 2].
    """
    sizes = []
    while count > 0:
        size = max((size for size in batch_sizes if size <= count), default=batch_sizes[0])
        sizes.append(size)
        count -= size
    return sizes


def _take(
    names: Iterable[str], given: Mapping[str, mx.nd.NDArray], ctx: mx.Context, what: str
) -> dict[str, mx.nd.NDArray]:
    wanted = [name for name in names if name != INPUT]
    missing = [name for name in wanted if name not in given]
    if missing:
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise ArtifactError(
            f"{len(missing)} {what} of the graph have no values: {shown}; {artifact.CURE}"
        )
    return {name: given[name].as_in_context(ctx) for name in wanted}
