"""What one image with 1,500 boxes among 205 costs: images/s of the other batches, and memory.

python benchmarks/dense.py [--epochs 2]
ResNet-18 at 300 px learns BCCD, batch 8; on the dense side record 100 has 1,500 boxes. The rate is
of batches without it, side by side in one process; for the memory each has a process of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace

import data

RECORD, BOXES = 100, 1500


def measure(sides: list[str], epochs: int) -> str:
    """Images a second of each side's median batch, their ratio, and the process's peak."""
    from sagemaker_object_detection.platform.threads import set_threads

    threads = set_threads(os.environ)
    import mxnet as mx
    import numpy as np

    from sagemaker_object_detection.data.gate import pass_gate
    from sagemaker_object_detection.data.loader import Loader
    from sagemaker_object_detection.data.sources import RecordIOSource
    from sagemaker_object_detection.model.network import build_network, initialize
    from sagemaker_object_detection.model.specs import get_spec
    from sagemaker_object_detection.platform.world import World
    from sagemaker_object_detection.training.communicator import Communicator
    from sagemaker_object_detection.training.optimizer import make_gradient_trainer
    from sagemaker_object_detection.training.update import Learner

    def loader(side: str) -> Loader:
        source = RecordIOSource([data.bccd() / "train" / "train.rec"])
        if side == "dense":
            random, read = np.random.default_rng(0), source.read
            corners = random.uniform(0, 0.95, (BOXES, 2))
            boxes = np.hstack([corners, corners + random.uniform(0.02, 0.05, (BOXES, 2))])
            many = {"boxes": boxes, "class_ids": np.ones(BOXES, int)}
            many["difficult"] = many["class_ids"] < 0
            source.read = lambda i: replace(read(i), **many) if i == RECORD else read(i)
        return Loader(pass_gate("train", source, data.NUM_CLASSES, threads)[0], 300, threads)

    network = build_network(get_spec("resnet-18", 300), data.NUM_CLASSES, "float32")
    initialize(network, [mx.cpu()], 0)
    learning = {n: p for n, p in network.parameters.items() if p.grad_req != "null"}
    trainer = make_gradient_trainer(learning, "sgd", {"learning_rate": 1e-4}, World())
    learner = Learner(network, trainer, [mx.cpu()], Communicator(World()))
    loaders = {side: loader(side) for side in sides}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for epoch in range(epochs):
        batches = [one.training_epoch(8, 0, epoch, None) for one in loaders.values()]
        for number, turn in enumerate(zip(*batches, strict=True)):
            for side, batch in zip(sides, turn, strict=True):
                begun = time.perf_counter()
                learner.make(learner.prepare(batch, False, False), number + 1, 1e-4)
                mx.nd.waitall()
                if (epoch or number > 2) and RECORD not in batch.records:
                    seconds[side].append((time.perf_counter() - begun) / len(batch.images))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    rates = ", ".join(f"{1 / statistics.median(seconds[side]):.2f}" for side in sides)
    pairs = zip(seconds[sides[0]], seconds[sides[-1]], strict=True)
    ratio = statistics.median(first / last for first, last in pairs)
    return f"{rates} images/s, median ratio of batches {ratio:.3f}, peak {peak} MiB"


def main() -> None:
    """Run all in turns, or one of them in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--sides", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    print(measure(options.sides, options.epochs) if options.sides else data.machine())
    for sides in () if options.sides else (["usual", "dense"], ["usual"], ["dense"]):
        command = [sys.executable, "-W", "ignore", __file__, "--epochs", str(options.epochs)]
        done = subprocess.run([*command, "--sides", *sides], check=True, stdout=subprocess.PIPE)
        print(f"{' and '.join(sides)}: {done.stdout.decode().splitlines()[-1]}", flush=True)


if __name__ == "__main__":
    main()
