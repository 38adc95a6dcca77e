"""Artefacts as the service's own algorithm leaves them: values for its graph, and its files."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from mxnet.symbol import Symbol
from numpy.typing import NDArray

from tests.service_network import Service, graph


def shapes(symbol: Symbol, side: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every argument and auxiliary state that a params file holds."""
    inputs: dict[str, tuple[int, ...]] = {"data": (1, 3, side, side)}
    if "label" in symbol.list_arguments():
        inputs["label"] = (1, 1, 5)
    args, _, auxs = symbol.infer_shape(**inputs)
    found = dict(zip(symbol.list_arguments(), args, strict=True))
    found |= dict(zip(symbol.list_auxiliary_states(), auxs, strict=True))
    return {name: shape for name, shape in found.items() if name not in inputs}


def values(service: Service, symbol: Symbol) -> dict[str, NDArray[Any]]:
    """Values by the keys of a params file; heads that see something in a picture of noise."""
    random = np.random.default_rng(service.seed)
    auxiliary = set(symbol.list_auxiliary_states())
    arrays = {}
    for name, shape in sorted(shapes(symbol, service.image_shape).items()):
        key = f"{'aux' if name in auxiliary else 'arg'}:{name}"
        arrays[key] = _value(name, shape, random).astype(np.float32)
    _calibrate(symbol, arrays, service.image_shape)
    return arrays


def _value(name: str, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[Any]:
    if name == "bn_data_moving_mean":
        return np.full(shape, 120.0)
    if name == "bn_data_moving_var":
        return np.full(shape, 60.0**2)
    if name.endswith(("_gamma", "_moving_var")):
        return random.uniform(0.8, 1.2, shape)
    if name.endswith(("_beta", "_moving_mean")):
        return random.normal(0, 0.1, shape)
    if name.endswith("_bias"):
        return random.normal(0, 0.05, shape)
    if name.endswith("_scale"):
        return np.full(shape, 20.0)
    deviation = sqrt(2 / np.prod(shape[1:]))
    if name == "conv1_1_weight":  # VGG's pixels are not normalised
        deviation /= 100
    if "_unit" in name:  # sums of residual blocks would grow
        deviation /= 2
    return random.normal(0, deviation, shape)


def _calibrate(symbol: Symbol, arrays: dict[str, NDArray[Any]], side: int) -> None:
    """Give the outputs of every head a likely spread: 2 for scores, 0.5 for offsets."""
    names = [name for name in symbol.list_arguments() if name.endswith("_pred_conv_weight")]
    convs = [name.removesuffix("_weight") for name in names]
    internals = symbol.get_internals()
    heads = mx.sym.Group([internals[f"{conv}_output"] for conv in convs])
    for conv, output in zip(convs, run(heads, arrays, picture(side)), strict=True):
        wanted = 2.0 if "_cls_" in conv else 0.5
        arrays[f"arg:{conv}_weight"] *= wanted / output.std()


def picture(side: int, seed: int = 0) -> NDArray[np.float32]:
    """Blocks of random colours, (1, 3, side, side), whole numbers in 0..255."""
    coarse = np.random.default_rng(seed).integers(0, 256, (1, 3, 12, 12))
    index = np.arange(side) * 12 // side
    return coarse[:, :, index][:, :, :, index].astype(np.float32)


def run(
    symbol: Symbol, arrays: Mapping[str, NDArray[Any]], pictures: NDArray[Any]
) -> list[NDArray[Any]]:
    """Outputs of a graph of the service, as it is, for the values of a params file."""
    given = {key.partition(":")[2]: mx.nd.array(array) for key, array in arrays.items()}
    given["data"] = mx.nd.array(pictures)
    given["label"] = mx.nd.full((len(pictures), 1, 5), -1)
    executor = symbol.bind(
        mx.cpu(),
        {name: given[name] for name in symbol.list_arguments()},
        aux_states={name: given[name] for name in symbol.list_auxiliary_states()},
        grad_req="null",
    )
    return [output.asnumpy() for output in executor.forward(is_train=False)]


def hyperparams(service: Service) -> dict[str, str]:
    """The content of hyperparams.json: every value a string."""
    return {
        "label_width": "350",
        "early_stopping_min_epochs": "10",
        "epochs": "30",
        "overlap_threshold": "0.5",
        "lr_scheduler_factor": "0.1",
        "_num_kv_servers": "auto",
        "weight_decay": "0.0005",
        "mini_batch_size": "16",
        "use_pretrained_model": "1",
        "freeze_layer_pattern": "",
        "lr_scheduler_step": "10,20",
        "early_stopping": "False",
        "early_stopping_patience": "5",
        "momentum": "0.9",
        "num_training_samples": "1408",
        "optimizer": "sgd",
        "_tuning_objective_metric": "",
        "early_stopping_tolerance": "0.0",
        "learning_rate": "0.001",
        "kv_store": "device",
        "nms_threshold": "0.45",
        "num_classes": str(service.num_classes),
        "base_network": service.base_network,
        "nms_topk": "400",
        "_kvstore": "device",
        "image_shape": str(service.image_shape),
        **service.hyperparameters,
    }


def write(folder: Path, service: Service) -> Path:
    """Write the artefact's files into `folder`, which is made if needed; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    symbol = graph(service)
    stem = "deploy_model_algo_1" if service.deploy else "model_algo_1"
    arrays = {key: mx.nd.array(array) for key, array in values(service, symbol).items()}
    (folder / "hyperparams.json").write_text(json.dumps(hyperparams(service)))
    symbol.save(str(folder / f"{stem}-symbol.json"))
    mx.nd.save(str(folder / f"{stem}-0000.params"), arrays)
    return folder


def pack(folder: Path, archive: Path) -> Path:
    """The files of an artefact as model.tar.gz: flat, in the service's order."""
    order = ("hyperparams.json", "-symbol.json", ".params")
    files = sorted(
        (path for path in folder.iterdir() if path.is_file()),
        key=lambda path: [path.name.endswith(end) for end in order],
        reverse=True,
    )
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for path in files:
            tar.add(path, path.name)
    return archive
