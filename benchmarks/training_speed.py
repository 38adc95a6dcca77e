"""Images a second of the whole training loop, loader included: GluonCV's loop against ours.

python benchmarks/training_speed.py [--batches 10] [--rounds 2] [--sides SIDE ...]
Sides take turns in one run, each in a process of its own, and each round's ratio is shown:
machines are noisy. GluonCV runs as a user runs it: MXNet's default number of threads, float32.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import data

from sagemaker_object_detection.platform.processor import ISA_VARIABLE

WARM_UP = 2
BATCH = 8
SIDES = {
    "gluoncv": ("gluoncv", "float32"),
    "gluoncv, all cores": ("gluoncv-threads", "float32"),
    "ours float32": ("ours", "float32"),
    "ours bfloat16": ("ours", "bfloat16"),
    "ours bfloat16, no AMX": ("ours-without-amx", "bfloat16"),
}


def measure_gluoncv(base_network: str, batches: int) -> float:
    """Images a second of GluonCV's loop (Adam) after its first batches."""
    import gluoncv_loop

    from sagemaker_object_detection.model.specs import get_spec

    net = gluoncv_loop.build(get_spec(base_network, 300), data.NUM_CLASSES, 0)
    path = data.bccd() / "train" / "train.rec"
    loader = gluoncv_loop.training_batches(net, path, 300, BATCH)
    trainer = gluoncv_loop.make_trainer(net, "adam", {})
    steps = gluoncv_loop.train(net, trainer, loader, lambda update: 1e-4)
    for _ in itertools.islice(steps, WARM_UP):
        pass
    started = time.perf_counter()
    images = sum(count for _, _, count in itertools.islice(steps, batches))
    return images / (time.perf_counter() - started)


def measure_ours(base_network: str, batches: int, precision: str) -> float:
    """Images a second of our loop (Adam) after its first batches."""
    from sagemaker_object_detection.platform.hyperparameters import parse
    from sagemaker_object_detection.platform.job import Job
    from sagemaker_object_detection.platform.paths import Paths
    from sagemaker_object_detection.platform.processor import allow_amx
    from sagemaker_object_detection.platform.threads import set_threads

    threads = set_threads(os.environ)
    allow_amx(os.environ)
    import mxnet as mx

    from sagemaker_object_detection.data.gate import pass_gate
    from sagemaker_object_detection.data.loader import Loader
    from sagemaker_object_detection.data.sources.record_files import RecordIOSource
    from sagemaker_object_detection.model.network import build_network, initialize
    from sagemaker_object_detection.model.specs import get_spec
    from sagemaker_object_detection.platform.world import World
    from sagemaker_object_detection.training.communicator import Communicator
    from sagemaker_object_detection.training.epochs import (
        EarlyStopping,
        Interrupted,
        LiveView,
        Progress,
    )
    from sagemaker_object_detection.training.loop import Trainer
    from sagemaker_object_detection.training.optimizer import make_trainer
    from sagemaker_object_detection.training.schedule import LearningRate
    from sagemaker_object_detection.training.update import Learner

    source = RecordIOSource([data.bccd() / "train" / "train.rec"])
    dataset, _ = pass_gate("train", source, data.NUM_CLASSES, threads)
    network = build_network(get_spec(base_network, 300), data.NUM_CLASSES, precision)
    initialize(network, [mx.cpu()], 0)
    samples = str(data.TRAINING_IMAGES)
    given = {"num_classes": 3, "num_training_samples": samples, "optimizer": "adam", "epochs": 1}
    settings = parse({**given, "mini_batch_size": BATCH})
    trainable = {n: p for n, p in network.parameters.items() if p.grad_req != "null"}
    seen: list[float] = []

    def should_stop() -> bool:
        # Asked when a batch is ready and the steps before it have been queued.
        if len(seen) == WARM_UP or len(seen) == WARM_UP + batches:
            mx.nd.waitall()
        seen.append(time.perf_counter())
        return len(seen) > WARM_UP + batches

    schedule, loader = LearningRate(1e-4), Loader(dataset, 300, threads)
    trainer = make_trainer(trainable, settings, World(), schedule.base)
    loop = Trainer(
        Job(Paths.from_environment(os.environ), settings, {}, ("algo-1",), "algo-1", "lo"),
        SimpleNamespace(
            communicator=Communicator(World()),
            loaders={"train": loader},
            streams={},
            train_images=data.TRAINING_IMAGES,
        ),
        Learner(network, trainer, [mx.cpu()], Communicator(World())),
        schedule,
        graph=None,
        engine=None,
        checkpoints=None,
        progress=Progress(EarlyStopping(1, 1, 0.0)),
        live=LiveView(None, 1, False, Progress(EarlyStopping(1, 1, 0.0))),
        stop=SimpleNamespace(requested=should_stop),
    )
    with contextlib.suppress(Interrupted):
        next(loop.epochs())
    return BATCH * batches / (seen[WARM_UP + batches] - seen[WARM_UP])


def main() -> None:
    """Run all sides in turns, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--base-network", default="resnet-50")
    parser.add_argument("--sides", nargs="*", choices=SIDES, default=list(SIDES))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        kind, precision = SIDES[options.side]
        if kind.startswith("ours"):
            rate = measure_ours(options.base_network, options.batches, precision)
        else:
            rate = measure_gluoncv(options.base_network, options.batches)
        print(rate)
        return
    data.bccd()
    print(data.machine(), options.base_network, "300 px, batch", BATCH)
    for number in range(options.rounds):
        rates: dict[str, float] = {}
        for side in options.sides:
            kind, _ = SIDES[side]
            environment = dict(os.environ)
            environment.pop("OMP_NUM_THREADS", None)
            if kind == "gluoncv-threads":
                environment["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
            if kind == "ours-without-amx":
                environment[ISA_VARIABLE] = "AVX512_CORE_BF16"
            command = [sys.executable, "-W", "ignore", __file__, "--side", side]
            command += ["--batches", str(options.batches), "--base-network", options.base_network]
            done = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            )
            rates[side] = float(done.stdout.split()[-1])
            ratio = rates[side] / rates[options.sides[0]]
            print(
                f"round {number}: {side:20s} {rates[side]:6.2f} images/s  {ratio:.2f}x", flush=True
            )


if __name__ == "__main__":
    main()
