"""How the gradients of several devices and processes become one update.

Every form gives the sum: the loss is divided by the positives of all processes already. MXNet's
kvstore sums; Horovod's trainer takes the mean, which is undone by the scale of the step.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mxnet as mx
from mxnet import gluon

from sagemaker_object_detection.platform.world import HOROVOD, KVSTORE, World

log = logging.getLogger(__name__)

_CPU_CYCLE_MILLISECONDS = "20"


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

    def step(self) -> None:
        """Sum the gradients that backward has left, and update."""
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
    """The trainer of a form.

    Args:
        parameters: initialised on all devices of this process.
        options: of the optimiser.
        compression: float16 or none; Horovod's.
    """
    if world.form == HOROVOD:
        return _horovod(parameters, optimizer, options, compression)
    kvstore: Any = "device"  # of one device: none
    if world.form == KVSTORE:
        kvstore = mx.kv.create("dist_sync_device" if _on_gpu(parameters) else "dist_sync")
    trainer = gluon.Trainer(
        dict(parameters), optimizer, dict(options), kvstore, update_on_kvstore=False
    )
    return GradientTrainer(trainer)


def _on_gpu(parameters: Mapping[str, gluon.Parameter]) -> bool:
    return any(ctx.device_type == "gpu" for p in parameters.values() for ctx in p.list_ctx())


def _horovod(
    parameters: Mapping[str, gluon.Parameter],
    optimizer: str,
    options: Mapping[str, Any],
    compression: str,
) -> GradientTrainer:
    if not _on_gpu(parameters):
        # Its thread looks for gradients every millisecond, which costs a core's sixth where the
        # processor also trains (docs/decisions.md).
        os.environ.setdefault("HOROVOD_CYCLE_TIME", _CPU_CYCLE_MILLISECONDS)
    import horovod.mxnet as hvd

    hvd.init()
    name, chosen = "float32", hvd.Compression.none
    if compression != "none":
        name, chosen = compression, hvd.Compression.fp16
    trainer = hvd.DistributedTrainer(dict(parameters), optimizer, dict(options), compression=chosen)
    log.info("Horovod: gradients travel in %s.", name)
    return GradientTrainer(trainer, scale=1 / hvd.size(), horovod=hvd)


def without_gradient(parameters: Mapping[str, gluon.Parameter], device: int) -> None:
    """Let a device that had no record take part in a step: its gradients are 0."""
    for parameter in parameters.values():
        if parameter.grad_req != "null":
            parameter.list_grad()[device][:] = 0
            parameter.list_data()[device]._fresh_grad = True
