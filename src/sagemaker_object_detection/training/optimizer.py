"""The optimiser that the hyperparameters ask for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mxnet import gluon

from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.gradients import GradientTrainer, make_gradient_trainer
from sagemaker_object_detection.training.schedule import LearningRate

log = logging.getLogger(__name__)

_DIMENSIONS_OF_WEIGHTS = 4


def make_trainer(
    parameters: Mapping[str, gluon.Parameter],
    hyperparameters: Hyperparameters,
    world: World,
    learning_rate: LearningRate,
) -> GradientTrainer:
    """A trainer of these parameters; the learning rate is set before every step.

    As in the service, momentum counts for sgd alone, weight decay for sgd and rmsprop, and
    adadelta has no learning rate. With recipe service weights and gammas decay, and the biases of
    the heads learn twice as fast, as in MXNet's Module and SSD's graph. With recipe modern only
    convolutions decay: pulling BatchNorm's values and biases towards 0 does not make a network
    simpler (He et al. 2019, arXiv:1812.01187, section 3.1).
    """
    name = hyperparameters.optimizer
    options: dict[str, Any] = {"learning_rate": learning_rate.base}
    if name == "sgd":
        options |= {"momentum": hyperparameters.momentum, "wd": hyperparameters.weight_decay}
    elif name == "rmsprop":
        options |= {"wd": hyperparameters.weight_decay}
        log.info("rmsprop takes a tenth of learning_rate: %g.", options["learning_rate"])
    elif name == "adadelta":
        options = {}
    if hyperparameters.recipe == "modern":
        for parameter in parameters.values():
            if len(parameter.shape) < _DIMENSIONS_OF_WEIGHTS:
                parameter.wd_mult = 0.0
    else:
        for parameter_name, parameter in parameters.items():
            _as_the_service(parameter_name, parameter)
    return make_gradient_trainer(
        parameters, name, options, world, hyperparameters.gradient_compression
    )


def _as_the_service(name: str, parameter: gluon.Parameter) -> None:
    """The rates of MXNet's Module and of SSD's graph, where an artifact has not brought its own.

    Module decays what is called weight or gamma; the graph says 0.1 for the scale of VGG's
    normalization and a doubled learning rate for the biases of the heads.
    """
    if parameter.wd_mult == 1.0 and not name.endswith(("_weight", "_gamma")):
        parameter.wd_mult = 0.1 if name.endswith("scale") else 0.0
    if parameter.lr_mult == 1.0 and "predictor" in name and name.endswith("_bias"):
        parameter.lr_mult = 2.0
