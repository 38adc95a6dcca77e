"""The optimiser: made, stepped over devices and processes, taken out and put back.

Every form gives the sum of gradients: the loss is divided by the positives of all processes
already. MXNet's kvstore sums; Horovod's trainer takes the mean, which is undone by the scale of the
step.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mxnet as mx
from mxnet import gluon
from numpy.typing import NDArray

from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.world import HOROVOD, KVSTORE, World

log = logging.getLogger(__name__)

_DIMENSIONS_OF_WEIGHTS = 4
_CPU_CYCLE_MILLISECONDS = "20"
EVERY = 4
EVERY_BEFORE = 100
_LONGEST = 0.9998


def make_trainer(
    parameters: Mapping[str, gluon.Parameter], given: Hyperparameters, world: World, rate: float
) -> GradientTrainer:
    """A trainer of these parameters, whose learning rate every step sets anew.

    As in the service, momentum counts for sgd alone, weight decay for sgd and rmsprop, and
    adadelta has no learning rate. With recipe service weights and gammas decay, and the biases of
    the heads learn twice as fast, as in MXNet's Module and SSD's graph. With recipe modern only
    convolutions decay: pulling BatchNorm's values and biases towards 0 does not make a network
    simpler (He et al. 2019, arXiv:1812.01187, section 3.1).
    """
    options: dict[str, Any] = {} if given.optimizer == "adadelta" else {"learning_rate": rate}
    if given.optimizer == "sgd":
        options |= {"momentum": given.momentum, "wd": given.weight_decay}
    elif given.optimizer == "rmsprop":
        options |= {"wd": given.weight_decay}
        log.info("rmsprop takes a tenth of learning_rate: %g.", rate)
    for name, parameter in parameters.items():
        if given.recipe == "service":
            _as_the_service(name, parameter)
        elif len(parameter.shape) < _DIMENSIONS_OF_WEIGHTS:
            parameter.wd_mult = 0.0
    compression = given.gradient_compression
    return make_gradient_trainer(parameters, given.optimizer, options, world, compression)


def _as_the_service(name: str, parameter: gluon.Parameter) -> None:
    """The rates of MXNet's Module and of SSD's graph, where an artifact has not brought its own.

    Module decays what is called weight or gamma; the graph says 0.1 for the scale of VGG's
    normalization and a doubled learning rate for the biases of the heads.
    """
    if parameter.wd_mult == 1.0 and not name.endswith(("_weight", "_gamma")):
        parameter.wd_mult = 0.1 if name.endswith("scale") else 0.0
    if parameter.lr_mult == 1.0 and "predictor" in name and name.endswith("_bias"):
        parameter.lr_mult = 2.0


@dataclass(frozen=True)
class GradientTrainer:
    """A Gluon trainer and what a step of it needs to know.

    Attributes:
        trainer: makes the updates; its optimiser has state for each device of this process.
        scale: argument of its step, so that gradients are summed over all processes.
        horovod: the module, where it is the form.
    """

    trainer: gluon.Trainer
    scale: float = 1.0
    horovod: Any = None

    def begin(self) -> None:
        """Connect to the others, in all processes at a time, once weights are where they begin.

        Without it the trainer would do so in its first step, which a process that is stopped
        before never makes.
        """
        if self.horovod is None:
            self.trainer._init_kvstore()
            self.trainer._init_params()

    def step(self, rate: float) -> None:
        """Sum the gradients that backward has left, and update at this learning rate."""
        self.trainer.set_learning_rate(rate)
        self.trainer.step(self.scale)

    def close(self) -> None:
        """After the last step, in all processes at a time: leave the others in peace."""
        if self.horovod is not None:
            self.horovod.shutdown()


def make_gradient_trainer(
    parameters: Mapping[str, gluon.Parameter],
    optimizer: str,
    options: Mapping[str, Any],
    world: World,
    compression: str = "none",
) -> GradientTrainer:
    """The trainer of a form, of parameters that are initialised on all devices of this process.

    `options` are the optimiser's; `compression` is Horovod's, float16 or none.
    """
    made = dict(parameters), optimizer, dict(options)
    on_gpu = any(ctx.device_type == "gpu" for p in parameters.values() for ctx in p.list_ctx())
    if world.form != HOROVOD:
        kvstore: Any = "device"  # of one device: none
        if world.form == KVSTORE:
            kvstore = mx.kv.create("dist_sync_device" if on_gpu else "dist_sync")
        return GradientTrainer(gluon.Trainer(*made, kvstore, update_on_kvstore=False))
    if not on_gpu:
        # Its thread looks for gradients every millisecond, which costs a core's sixth where the
        # processor also trains (docs/decisions.md).
        os.environ.setdefault("HOROVOD_CYCLE_TIME", _CPU_CYCLE_MILLISECONDS)
    import horovod.mxnet as hvd

    hvd.init()
    whole = compression == "none"
    chosen = hvd.Compression.none if whole else hvd.Compression.fp16
    trainer = hvd.DistributedTrainer(*made, compression=chosen)
    log.info("Horovod: gradients travel in %s.", "float32" if whole else compression)
    return GradientTrainer(trainer, scale=1 / hvd.size(), horovod=hvd)


def without_gradient(parameters: Mapping[str, gluon.Parameter], device: int) -> None:
    """Let a device that had no record take part in a step: its gradients are 0."""
    for parameter in parameters.values():
        if parameter.grad_req != "null":
            parameter.list_grad()[device][:] = 0
            parameter.list_data()[device]._fresh_grad = True


def optimizer_arrays(trainer: gluon.Trainer) -> dict[str, NDArray[Any]]:
    """What every parameter has in the optimiser, `NAME:0`, `NAME:1` and so on.

    Empty before the first step. Trainer.save_states would pickle it, and what is pickled can run
    anything when it is read.
    """
    return {
        f"{trainer._params[index].name}:{part}": array.asnumpy()
        for index, state in trainer._updaters[0].states.items()
        for part, array in enumerate(_parts(state))
    }


def update_counts(trainer: gluon.Trainer) -> dict[str, int]:
    """How many updates every parameter has had; adam corrects its averages by it."""
    counts = trainer.optimizer._index_update_count
    return {trainer._params[index].name: count for index, count in counts.items()}


def restore_optimizer(
    trainer: gluon.Trainer, arrays: Mapping[str, NDArray[Any]], counts: Mapping[str, int]
) -> None:
    """Put back what optimizer_arrays and update_counts gave.

    Where there were no arrays, as of sgd without momentum, they begin anew. Raises KeyError and
    ValueError: the arrays are of another optimiser or network.
    """
    optimizer = trainer.optimizer
    for index, parameter in enumerate(trainer._params):
        name = parameter.name
        if name not in counts:
            continue
        for updater, weight in zip(trainer._updaters, parameter.list_data(), strict=True):
            state = optimizer.create_state_multi_precision(index, weight)
            if f"{name}:0" in arrays:
                for part, array in enumerate(_parts(state)):
                    array[:] = arrays[f"{name}:{part}"]
            updater.states[index] = state
            updater.states_synced[index] = True
            optimizer._set_current_context(weight.context.device_id)
            optimizer._index_update_count[index] = counts[name]
    optimizer.num_update = max(counts.values(), default=0)


def _parts(state: Any) -> Iterator[mx.nd.NDArray]:
    """The arrays in a state: none, one, or nested tuples of them."""
    if isinstance(state, mx.nd.NDArray):
        yield state
    elif state is not None:
        for part in state:
            yield from _parts(part)


def decay_over(updates: int) -> float:
    """The decay of an average over about so many updates; never beyond 5,000."""
    return min(_LONGEST, 1 - 1 / max(1, updates))


class WeightAverage:
    """An exponential moving average of a network's weights over the updates.

    Polyak and Juditsky 1992 for the average itself; the rise of the decay is that of TensorFlow's
    ExponentialMovingAverage. BatchNorm's running statistics are averaged with the weights.

    Attributes:
        arrays: averaged values by name, in float32; updated in place.

    Args:
        parameters: by name, those whose values change.
        decay: what stays of the average at an update, once (1 + n) / (10 + n) has come so far.
    """

    def __init__(self, parameters: Mapping[str, mx.gluon.Parameter], decay: float) -> None:
        self._decay = decay
        self._sources = {name: parameter.list_data()[0] for name, parameter in parameters.items()}
        self.arrays = {name: source.copy() for name, source in self._sources.items()}

    def update(self, count: int) -> None:
        """Take in the weights after the update that was number `count`, from 1.

        After the first EVERY_BEFORE updates only each EVERY-th counts, for all of them. MXNet's
        engine does not know that the backward pass writes BatchNorm's statistics, so that they can
        be read only when nothing is running.
        """
        span = EVERY if count > EVERY_BEFORE else 1
        if count % span:
            return
        mx.nd.waitall()
        decay = min(self._decay, (1 + count) / (10 + count)) ** span
        for name, array in self.arrays.items():
            # array += (1 - decay) * (source - array) in one pass and in place: with a weight decay
            # of 1 and a gradient of -source, this is what a step of SGD does.
            mx.nd.sgd_update(
                array, self._sources[name], lr=1 - decay, wd=1, rescale_grad=-1, out=array
            )
