"""A whole epoch with its validation, and the memory it takes: ./train against GluonCV's loop.

python benchmarks/epoch.py [--rounds 2] [--base-network resnet-50]
BCCD, train split (205 images) and validation split (87), batch 8, Adam. Sides take turns, each in
processes of its own. The first epoch of ours is left out, GluonCV's first batch: both build their
graphs then. Memory is the largest sum of PSS over a side's processes.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import threading
import time

import data
import job
from processes import family, proportional_mib

SIDES = ("gluoncv", "float32", "bfloat16")


class PeakMemory:
    """Samples the memory of a process and all its children while it is entered."""

    def __init__(self, pid: int) -> None:
        self.mib = 0.0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(0.5):
            self.mib = max(self.mib, sum(map(proportional_mib, family(self._pid))))


def gluoncv_epoch(base_network: str) -> None:
    """One epoch of GluonCV's loop; prints seconds of training and of validation."""
    import gluoncv_loop

    from sagemaker_object_detection.model.specs import get_spec

    net = gluoncv_loop.build(get_spec(base_network, 300), data.NUM_CLASSES, 0)
    path = data.bccd()
    loader = gluoncv_loop.training_batches(net, path / "train" / "train.rec", 300, job.BATCH)
    trainer = gluoncv_loop.make_trainer(net, "adam", {})
    first = gluoncv_loop.train(net, trainer, loader, lambda update: 1e-5)
    for _ in itertools.islice(first, 1):
        pass
    begun = time.perf_counter()
    images = sum(
        count for _, _, count in gluoncv_loop.train(net, trainer, loader, lambda update: 1e-5)
    )
    # Its last batch rolls over.
    seconds = (time.perf_counter() - begun) * data.TRAINING_IMAGES / images
    file = path / "validation" / "validation.rec"
    _, validation = gluoncv_loop.evaluate(net, file, 300, data.NUM_CLASSES)
    print(seconds, 0.0, validation)


def ours_epoch(base_network: str, precision: str) -> None:
    """Two epochs of ./train; prints seconds of the second's training, its waits, validation."""
    settings = job.bccd_settings(base_network, 2, precision=precision, quantize=0)
    row = job.run_train(job.make_tree("epoch", settings, job.bccd_channels()))[-1]
    print(row["training_seconds"], row["loader_seconds"], row["validation_seconds"])


def measure(side: str, base_network: str) -> dict[str, float]:
    """One side in processes of its own."""
    environment = dict(os.environ)
    environment.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, "-W", "ignore", __file__, "--side", side]
    process = subprocess.Popen(
        [*command, "--base-network", base_network],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with PeakMemory(process.pid) as memory:
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{side} ended with exit code {process.returncode}")
    training, waited, validation = map(float, output.split()[-3:])
    return {
        "epoch": training + validation,
        "waited": waited / training,
        "validation": validation / (training + validation),
        "mib": memory.mib,
    }


def main() -> None:
    """All sides in turns, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--base-network", default="resnet-50")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side == "gluoncv":
        return gluoncv_epoch(options.base_network)
    if options.side:
        return ours_epoch(options.base_network, options.side)
    data.bccd()
    print(data.machine(), options.base_network, "300 px, batch", job.BATCH, flush=True)
    for number in range(options.rounds):
        reference: dict[str, float] = {}
        for side in SIDES:
            found = measure(side, options.base_network)
            reference = reference or found
            print(
                f"round {number}: {side:9s} epoch {found['epoch']:6.1f} s "
                f"({found['epoch'] / reference['epoch']:.2f}x), validation "
                f"{found['validation']:.1%} of it, waiting for data {found['waited']:.1%} of "
                f"training, {found['mib']:.0f} MiB ({found['mib'] / reference['mib']:.2f}x)",
                flush=True,
            )
    return None


if __name__ == "__main__":
    main()
