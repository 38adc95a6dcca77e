"""The network of an earlier model with its values, to go on training (AWS: incremental-training).

Parameters carry over, the optimiser's state does not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mxnet as mx
import numpy as np

from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.earlier import EarlierModel, load_earlier
from sagemaker_object_detection.model.network import Network, build_network, make_block
from sagemaker_object_detection.model.service_graph import ServiceGraph
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.platform.errors import ClientError

log = logging.getLogger(__name__)

_ANCHORS = "anchors"
_SHOWN = 5

Shape = tuple[int, ...]


def earlier_network(
    folder: Path,
    base_network: str,
    num_classes: int,
    image_shape: int,
    precision: str,
    ctx: mx.Context,
) -> tuple[Network, EarlierModel]:
    """The network of the artefact in `folder`, its values on `ctx`, ready to be trained.

    Args:
        folder: see archive.find_model.
        base_network, num_classes: have to be the artefact's.
        image_shape: may differ from the artefact's where its layers and anchors allow it.
        precision: as for build_network.

    Raises:
        ClientError: the artefact is damaged, or its network is not the one asked for.
    """
    with _as_client_error():
        earlier = load_earlier(folder)
    _require_agreement(earlier, base_network, num_classes)
    if earlier.graph is None:
        network = build_network(get_spec(base_network, image_shape), num_classes, precision)
    else:
        with _as_client_error():
            network = service_network(earlier.graph, image_shape, precision)
    _require_fit(earlier, network)
    values = earlier.arrays.by_name
    for name, parameter in network.parameters.items():
        parameter.initialize(init=mx.init.Zero(), ctx=[ctx], force_reinit=True)
        parameter.set_data(values[name])
    log.info("done loading checkpoint")
    return network, earlier


@contextmanager
def _as_client_error() -> Iterator[None]:
    """An artefact in a channel is the user's to mend."""
    try:
        yield
    except ArtifactError as error:
        raise ClientError(f"The model in the channel 'model': {error}.") from error


def _require_agreement(earlier: EarlierModel, base_network: str, num_classes: int) -> None:
    """Raise ClientError, with both values of each, when base_network or num_classes differ."""
    if (earlier.base_network, earlier.num_classes) != (base_network, num_classes):
        raise ClientError(
            f"The model in the channel 'model' has base_network {earlier.base_network} and "
            f"num_classes {earlier.num_classes}; the hyperparameters say base_network "
            f"{base_network} and num_classes {num_classes}. A model goes on as the network it is: "
            "set the hyperparameters to its values, or train without the channel."
        )


def service_network(graph: ServiceGraph, image_shape: int, precision: str) -> Network:
    """A network of the service as a block with the interface of ours; parameters have no values.

    Its layers keep the rates at which the service lets them learn and decay.

    Raises:
        ArtifactError: it cannot take images of this image_shape.
    """
    block = make_block(graph.heads, image_shape, precision)
    parameters = block.collect_params()
    for name, multipliers in graph.multipliers().items():
        if name in parameters:  # layers may say it too
            for multiplier, value in multipliers.items():
                setattr(parameters[name], multiplier, value)
    return Network(
        graph.base_network,
        image_shape,
        graph.num_classes(image_shape),
        graph.heads,
        graph.lay_anchors(image_shape),
        block,
        graph.anchors,
    )


def _require_fit(earlier: EarlierModel, network: Network) -> None:
    """Raise ClientError when the artefact has not exactly the network's parameters."""
    values = earlier.arrays.by_name
    anchors = values.pop(_ANCHORS, None) if earlier.kind == "ours" else None
    given = {name: value.shape for name, value in values.items()}
    wanted = {name: parameter.shape for name, parameter in network.parameters.items()}
    faults = _misfits(given, wanted)
    if faults:
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ClientError(
            f"The model in the channel 'model' does not fit {network.base_network} with "
            f"num_classes {network.num_classes} at image_shape {network.image_shape}: "
            f"{'; '.join(faults[:_SHOWN])}{more}. {_cause(earlier, network)}"
        )
    if anchors is not None and earlier.image_shape == network.image_shape:
        expected = network.anchors
        if anchors.shape != expected.shape or not np.allclose(
            anchors.asnumpy(), expected, atol=1e-4
        ):
            raise ClientError(
                f"The model in the channel 'model' was trained with {anchors.shape[1]} anchors "
                f"that are not the {expected.shape[1]} of this version's {network.base_network}: "
                "go on with the version that it was trained with."
            )


def _misfits(given: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> list[str]:
    faults = [
        f"parameter {name} has shape {given[name]}, the network wants {shape}"
        if name in given
        else f"parameter {name} of shape {shape} is missing"
        for name, shape in wanted.items()
        if given.get(name) != shape
    ]
    extra = [name for name in given if name not in wanted]
    return faults + [
        f"the network has no parameter {name} of shape {given[name]}" for name in extra
    ]


def _cause(earlier: EarlierModel, network: Network) -> str:
    side = earlier.image_shape
    if earlier.kind == "ours" and side is not None and side != network.image_shape:
        before = len(get_spec(earlier.base_network, side).map_sides)
        now = len(get_spec(earlier.base_network, network.image_shape).map_sides)
        if before != now:
            return (
                f"It was trained at image_shape {side}, where {earlier.base_network} has {before} "
                f"feature maps; at {network.image_shape} it has {now}. Set image_shape to {side}, "
                "or train without the channel."
            )
    return "Give the files of one job as it left them."
