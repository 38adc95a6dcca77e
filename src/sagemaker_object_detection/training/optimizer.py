"""The optimiser that the hyperparameters ask for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mxnet import gluon

from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.training.schedule import base_learning_rate

log = logging.getLogger(__name__)

_DIMENSIONS_OF_WEIGHTS = 4


def make_trainer(
    parameters: Mapping[str, gluon.Parameter], hyperparameters: Hyperparameters
) -> gluon.Trainer:
    """A trainer of these parameters; the learning rate is set before every step.

    As in the service, momentum counts for sgd alone, weight decay for sgd and rmsprop, and
    adadelta has no learning rate. With recipe modern only convolutions decay: pulling BatchNorm's
    values and biases towards 0 does not make a network simpler (He et al. 2019,
    arXiv:1812.01187, section 3.1).
    """
    name = hyperparameters.optimizer
    options: dict[str, Any] = {"learning_rate": base_learning_rate(hyperparameters)}
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
    return gluon.Trainer(dict(parameters), name, options, kvstore=None)
