"""A deploy graph of a few operators whose detections can be told by looking at the picture.

The picture is averaged over a grid of 4 x 4 cells. A red cell is class 0 ("red"), a blue one class
1 ("blue"), and its box is the cell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import mxnet as mx
import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.model import artifact

SIDE = 32
GRID = 4
CLASS_NAMES = ("red", "blue")

Arrays = dict[str, Any]


def graph(side: int = SIDE) -> tuple[mx.sym.Symbol, Arrays]:
    """The symbol and its arguments."""
    cell = side // GRID
    with mx.name.NameManager():
        pooled = mx.sym.Pooling(
            mx.sym.var("data"), kernel=(cell, cell), stride=(cell, cell), pool_type="avg"
        )
        classes = mx.sym.Convolution(pooled, kernel=(1, 1), num_filter=3, name="class")
        offsets = mx.sym.Convolution(
            pooled, kernel=(1, 1), num_filter=4, no_bias=True, name="offset"
        )
        detection = mx.sym.contrib.MultiBoxDetection(
            mx.sym.softmax(mx.sym.reshape(classes, shape=(0, 3, -1)), axis=1),
            mx.sym.Flatten(mx.sym.transpose(offsets, axes=(0, 2, 3, 1))),
            mx.sym.var("anchors"),
            name="detection",
            threshold=0.01,
            nms_threshold=0.45,
            nms_topk=400,
        )
    weight = np.zeros((3, 3, 1, 1), np.float32)
    weight[1, 0] = weight[2, 2] = 0.05
    edges = np.arange(GRID) / GRID
    anchors = [[x, y, x + 1 / GRID, y + 1 / GRID] for y in edges for x in edges]
    return detection, {
        "class_weight": mx.nd.array(weight),
        "class_bias": mx.nd.array([0, -6, -6]),
        "offset_weight": mx.nd.zeros((4, 3, 1, 1)),
        "anchors": mx.nd.array([anchors]),
    }


def write(folder: Path, side: int = SIDE) -> Path:
    """Write the whole artefact into `folder`, which is made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    symbol, args = graph(side)
    symbol.save(str(folder / artifact.SYMBOL_FILE))
    mx.nd.save(
        str(folder / artifact.PARAMS_FILE), {f"arg:{name}": array for name, array in args.items()}
    )
    artifact.write_config(folder, artifact.ModelConfig(CLASS_NAMES, side, "tiny"))
    return folder


def picture(
    cells: dict[tuple[int, int], str], width: int = 640, height: int = 480
) -> npt.NDArray[np.uint8]:
    """RGB (height, width, 3), black but for cells (column, row) -> "red", "blue" or "dim red"."""
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255), "dim red": (140, 0, 0)}
    image = np.zeros((height, width, 3), np.uint8)
    for (column, row), colour in cells.items():
        top, left = row * height // GRID, column * width // GRID
        image[top : top + height // GRID, left : left + width // GRID] = colours[colour]
    return image


def encoded(image: npt.NDArray[np.uint8], extension: str = ".png") -> bytes:
    """A picture as PNG or JPEG."""
    ok, data = cv2.imencode(extension, image[..., ::-1])
    assert ok
    return data.tobytes()
