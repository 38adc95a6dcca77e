"""Networks of random values that see something in random pictures, without any training."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.model.deploy import DeployGraph, deploy_graph
from sagemaker_object_detection.model.network import Network, build_network, initialize
from sagemaker_object_detection.model.specs import get_spec

SIDE = 300
CLASSES = 3


def pictures(count: int, side: int = SIDE, seed: int = 0) -> NDArray[np.uint8]:
    """Blocks of random colours, (count, 3, side, side)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 3, 10, 10))
    index = np.arange(side) * 10 // side
    return coarse[:, :, index][:, :, :, index].astype(np.uint8)


def build(base_network: str) -> Network:
    """Every BatchNorm does something, and the heads have a likely spread."""
    network = build_network(get_spec(base_network, SIDE), CLASSES)
    initialize(network, [mx.cpu()], 0)
    random = np.random.default_rng(0)
    for name, parameter in sorted(network.parameters.items()):
        if name.endswith(("_gamma", "_var")):
            parameter.set_data(mx.nd.array(random.uniform(0.7, 1.3, parameter.shape)))
        elif name.endswith(("_beta", "_mean")) and name != "pixel_mean":
            parameter.set_data(mx.nd.array(random.normal(0, 0.2, parameter.shape)))
    data = mx.nd.array(pictures(2).astype(np.float32))
    spread = [float(head.asnumpy().std()) for head in network.block(data)]
    for name, parameter in network.parameters.items():
        if "predictor" in name:
            which = int(name.split("predictor")[1].split("_")[0]) % 2
            parameter.set_data(parameter.data() * ((2.0, 0.5)[which] / spread[which]))
    return network


def graph(base_network: str) -> DeployGraph:
    """The deploy graph of such a network, with the defaults of training."""
    return deploy_graph(build(base_network), 0.45, 400)
