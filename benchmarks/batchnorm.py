"""What averaging BatchNorm's running statistics over processes changes: mAP before and after.

python benchmarks/batchnorm.py [--devices 2] [--epochs 12] [--base-network resnet-18]
Trains on BCCD with several CPU contexts, whose statistics follow their own records as those of
processes do, and scores the validation channel before each averaging and after it. Batch 8 in all,
weights not averaged over time, so that nothing smooths the difference.
"""

from __future__ import annotations

import argparse
import os

import data
import job


def main() -> None:
    """Run the job in this process, with a score before each settling."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--base-network", default="resnet-18")
    options = parser.parse_args()
    print(data.machine(), vars(options), flush=True)
    settings = job.bccd_settings(
        options.base_network, options.epochs, precision="bfloat16", ema_decay=0, quantize=0
    )
    base = job.make_tree("batchnorm", settings, job.bccd_channels())
    os.environ["SAGEMAKER_BASE_DIR"] = str(base)
    os.environ["OBJECT_DETECTION_CPU_DEVICES"] = str(options.devices)

    from sagemaker_object_detection.platform.threads import set_threads
    from sagemaker_object_detection.training import main as program

    set_threads(os.environ)
    from sagemaker_object_detection.training.loop import Trainer
    from sagemaker_object_detection.training.update import Learner

    scores: list[list[float]] = []
    made: list[Trainer] = []
    settle, score = Learner.settle, Trainer._validate

    def settle_between(self: Learner, when: str) -> None:
        before = score(made[0]) if made else None
        scores.append([before.mean if before else float("nan")])
        settle(self, when)

    def score_after(self: Trainer) -> object:
        made[:] = [self]
        found = score(self)
        if scores and found is not None:
            scores[-1].append(found.mean)
        return found

    Learner.settle = settle_between  # type: ignore[method-assign]
    Trainer._validate = score_after  # type: ignore[method-assign,assignment]
    program.set_threads = lambda environ: int(environ["OMP_NUM_THREADS"])  # type: ignore[assignment]
    program.train(os.environ)
    print("| epoch | of the first device alone | averaged |")
    print("|---|---|---|")
    for epoch, row in enumerate(scores):
        print("| " + " | ".join([str(epoch), *(f"{value:.3f}" for value in row)]) + " |")


if __name__ == "__main__":
    main()
