"""The devices that this process trains on."""

from __future__ import annotations

from collections.abc import Mapping

import mxnet as mx

from sagemaker_object_detection.platform.world import HOROVOD, World, cpu_devices


def find_devices(world: World, environ: Mapping[str, str]) -> list[mx.Context]:
    """All GPUs of this machine, or with Horovod this process's one; without any, the CPU."""
    gpus = mx.context.num_gpus()
    make, count = (mx.gpu, gpus) if gpus else (mx.cpu, cpu_devices(environ))
    if world.form == HOROVOD:
        return [make(world.local_rank if gpus else 0)]
    return [make(number) for number in range(count)]
