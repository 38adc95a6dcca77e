"""A detector of a few weights, for tests of what training does with one."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet import gluon

from sagemaker_object_detection.model.network import Network

SIDE = 8
GRID = 2
CLASSES = 2


def make_network(devices: int = 1, batchnorm: bool = False) -> Network:
    """An anchor for each quarter of the picture, scored by its mean colour; weights of zero.

    Args:
        devices: CPU contexts that have it.
        batchnorm: whether the colours go through one first, named norm.
    """
    data = mx.sym.var("data", dtype=np.float32)
    cell = SIDE // GRID
    pooled = mx.sym.Pooling(data, kernel=(cell, cell), stride=(cell, cell), pool_type="avg") / 255
    if batchnorm:
        pooled = mx.sym.BatchNorm(pooled, name="norm")
    heads = []
    for name, width in (("scores", CLASSES + 1), ("offsets", 4)):
        conv = mx.sym.Convolution(pooled, kernel=(1, 1), num_filter=width, name=name)
        rows = mx.sym.transpose(conv, axes=(0, 2, 3, 1))
        heads.append(mx.sym.reshape(rows, shape=(0, -1, width)))
    symbol = mx.sym.Group(heads)
    block = gluon.SymbolBlock(symbol, data)
    shapes, _, auxiliary = symbol.infer_shape(data=(1, 3, SIDE, SIDE))
    names = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
    for name, shape in zip(names, [*shapes, *auxiliary], strict=True):
        if name != "data":
            block.collect_params()[name].shape = shape
    block.initialize(mx.init.Zero(), ctx=[mx.cpu(device) for device in range(devices)])
    edges = np.arange(GRID) / GRID
    anchors = [[x, y, x + 1 / GRID, y + 1 / GRID] for y in edges for x in edges]
    return Network("resnet-18", SIDE, CLASSES, symbol, np.array([anchors], np.float32), block)
