"""What one image with 1,500 boxes among 205 costs: images a second of the other batches, and memory.

python benchmarks/dense.py [--epochs 2] [--rounds 2]
Both sides train ResNet-18 at 300 px on BCCD, batch 8, without augmentation, each in a process of
its own, in turns. On the dense side record 100 has 1,500 boxes instead of its own; the batches with
it are left out of the rate, but not of the memory.
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

BATCH = 8
DENSE_RECORD, DENSE_BOXES = 100, 1500


def measure(dense: bool, epochs: int) -> tuple[float, int]:
    """Images a second of a median batch without the dense image; the process's peak in MiB."""
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
    from sagemaker_object_detection.training.communicator import Alone
    from sagemaker_object_detection.training.gradients import make_gradient_trainer
    from sagemaker_object_detection.training.update import Updates

    source = RecordIOSource([data.bccd() / "train" / "train.rec"])
    if dense:
        random, read = np.random.default_rng(0), source.read
        corners = random.uniform(0, 0.95, (DENSE_BOXES, 2))
        boxes = np.hstack([corners, corners + random.uniform(0.02, 0.05, (DENSE_BOXES, 2))])
        many = {"boxes": boxes, "class_ids": np.ones(DENSE_BOXES, int), "difficult": boxes[:, 0] < 0}
        source.read = lambda i: replace(read(i), **many) if i == DENSE_RECORD else read(i)
    dataset, _ = pass_gate("train", source, data.NUM_CLASSES, threads)
    network = build_network(get_spec("resnet-18", 300), data.NUM_CLASSES, "float32")
    initialize(network, [mx.cpu()], 0)
    learning = {n: p for n, p in network.parameters.items() if p.grad_req != "null"}
    trainer = make_gradient_trainer(learning, "sgd", {"learning_rate": 1e-4}, World())
    updates = Updates(network, trainer, [mx.cpu()], Alone(World()))
    loader = Loader(dataset, 300, threads)
    seconds = []
    for epoch in range(epochs):
        for number, batch in enumerate(loader.training_epoch(BATCH, 0, epoch, None)):
            begun = time.perf_counter()
            updates.make(updates.prepare(batch, False))
            mx.nd.waitall()
            if (epoch or number > 2) and DENSE_RECORD not in batch.records:
                seconds.append((time.perf_counter() - begun) / len(batch.images))
    return 1 / statistics.median(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    """Run both sides in turns, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", choices=("usual", "dense"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(*measure(options.side == "dense", options.epochs))
        return
    print(data.machine(), "resnet-18, 300 px, batch", BATCH)
    for number in range(options.rounds):
        for side in ("usual", "dense"):
            command = [sys.executable, "-W", "ignore", __file__, "--side", side]
            command += ["--epochs", str(options.epochs)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rate, peak = done.stdout.split()[-2:]
            print(f"round {number}: {side} {float(rate):6.2f} images/s, {peak} MiB", flush=True)


if __name__ == "__main__":
    main()
