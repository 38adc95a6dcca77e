"""Validation mAP on BCCD after each epoch: ours, or GluonCV's loop with the same settings.

python benchmarks/accuracy.py ours|gluoncv [--epochs 30] [--base-network resnet-50] ...
writes build/benchmarks/accuracy-SIDE.csv, a row an epoch.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import time
from pathlib import Path

import data
import job


def hyperparameters(options: argparse.Namespace) -> dict[str, str]:
    """The job's hyperparameters; both sides take learning rate, schedule and batch from them."""
    settings = job.bccd_settings(
        options.base_network,
        options.epochs,
        optimizer=options.optimizer,
        learning_rate=options.learning_rate,
        lr_schedule="cosine",
        warmup_steps=50,
        precision=options.precision,
        seed=options.seed,
    )
    return {name: str(value) for name, value in settings.items()}


def run_ours(options: argparse.Namespace, out: Path) -> None:
    """Train by ./train on a tree of its own and copy its metrics.csv."""
    base = job.make_tree(out.stem, hyperparameters(options), job.bccd_channels())
    job.run_train(base)
    shutil.copy(base / "output" / "data" / "metrics.csv", out)


def run_gluoncv(options: argparse.Namespace, out: Path) -> None:
    """Train by GluonCV's loop; scored every `--every` epochs and at the end."""
    from sagemaker_object_detection.platform.hyperparameters import parse
    from sagemaker_object_detection.platform.threads import set_threads

    set_threads(os.environ)
    from mxnet.contrib import amp

    if options.precision == "bfloat16":
        amp.init(target_dtype="bfloat16")
    import gluoncv_loop

    from sagemaker_object_detection.model.specs import get_spec
    from sagemaker_object_detection.training.schedule import make_learning_rate

    settings = parse(hyperparameters(options))
    folder = data.bccd()
    side = settings.image_shape
    spec = get_spec(settings.base_network, side)
    net = gluoncv_loop.build(spec, data.NUM_CLASSES, settings.seed)
    learning_rate = make_learning_rate(settings, data.TRAINING_IMAGES)
    batches = gluoncv_loop.training_batches(net, folder / "train" / "train.rec", side, job.BATCH)
    trainer_options = {} if settings.optimizer == "adam" else {"momentum": 0.9, "wd": 0.0005}
    trainer = gluoncv_loop.make_trainer(net, settings.optimizer, trainer_options)
    update = 0
    rows = []
    for epoch in range(settings.epochs):
        started = time.perf_counter()
        losses = list(gluoncv_loop.train(net, trainer, batches, learning_rate, update))
        update += len(losses)
        row: dict[str, float] = {"epoch": epoch, "seconds": time.perf_counter() - started}
        row["cross_entropy"] = sum(loss[0] for loss in losses) / len(losses)
        row["smooth_l1"] = sum(loss[1] for loss in losses) / len(losses)
        row["mAP"] = float("nan")
        row |= {f"AP_class_{i}": float("nan") for i in range(data.NUM_CLASSES)}
        if (epoch + 1) % options.every == 0 or epoch == settings.epochs - 1:
            validation = folder / "validation" / "validation.rec"
            score, _ = gluoncv_loop.evaluate(net, validation, side, data.NUM_CLASSES)
            row["mAP"] = score.mean
            row |= {f"AP_class_{i}": value for i, value in enumerate(score.per_class)}
        rows.append(row)
        print({key: round(value, 4) for key, value in row.items()}, flush=True)
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            writer.writeheader()
            writer.writerows(rows)


def main() -> None:
    """Parse the command line and run one side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["ours", "gluoncv"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--base-network", default="resnet-50")
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help="name of the csv file; default accuracy-SIDE")
    options = parser.parse_args()
    data.BUILD.mkdir(parents=True, exist_ok=True)
    out = data.BUILD / f"{options.name or 'accuracy-' + options.side}.csv"
    print(data.machine(), vars(options), flush=True)
    {"ours": run_ours, "gluoncv": run_gluoncv}[options.side](options, out)
    print(out)


if __name__ == "__main__":
    main()
