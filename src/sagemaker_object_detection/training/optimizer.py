"""The optimiser that the hyperparameters ask for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mxnet import gluon

from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.gradients import GradientTrainer, make_gradient_trainer
from sagemaker_object_detection.training.schedule import LearningRate, ServersRate

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
    adadelta has no learning rate. With recipe modern only convolutions decay: pulling BatchNorm's
    values and biases towards 0 does not make a network simpler (He et al. 2019,
    arXiv:1812.01187, section 3.1).
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
    trainer = make_gradient_trainer(
        parameters,
        name,
        options,
        world,
        ServersRate(learning_rate),
        hyperparameters.gradient_compression,
    )
    if trainer.on_servers:  # which know the parameters by their numbers alone
        trainer.trainer.optimizer.wd_mult = {
            index: parameter.wd_mult for index, parameter in enumerate(trainer.trainer._params)
        }
        trainer.trainer.optimizer.lr_mult = {
            index: parameter.lr_mult for index, parameter in enumerate(trainer.trainer._params)
        }
    return trainer
