"""Recipes against each other on BCCD, scored on its test split, which none of them has seen.

python benchmarks/recipes.py modern|service|gluoncv [--seeds 0 1 2] [--base-network resnet-18]
`modern` and `service` are ./train with nothing but the recipe given; the epoch with the best
validation mAP is kept. `gluoncv` is GluonCV's loop with the settings of its train_ssd.py and the
same first weights, scored after its last epoch. Batch 8 on all sides. Adds a row for each run to
build/benchmarks/recipes.csv.

python benchmarks/recipes.py table
prints mean and standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import time
from itertools import groupby

import data
import job

SIDES = ("modern", "service", "gluoncv")
TABLE = data.BUILD / "recipes.csv"
COLUMNS = ("side", "network", "precision", "epochs", "seed", "epoch", "validation", "test", "min")
GLUONCV_RATE = 0.001
GLUONCV_OPTIONS = {"momentum": 0.9, "wd": 0.0005}


def run_ours(options: argparse.Namespace, seed: int) -> tuple[int, float, float]:
    """Epoch that was kept, and its mAP on the validation and on the test channel."""
    settings = job.bccd_settings(
        options.base_network,
        options.epochs,
        precision=options.precision,
        seed=seed,
        recipe=options.side,
    ) | dict(pair.split("=", 1) for pair in options.set)
    channels = job.bccd_channels("train", "validation", "test")
    base = job.make_tree(f"recipes-{options.name or options.side}", settings, channels)
    job.run_train(base)
    model = json.loads((base / "model" / "model.json").read_text(encoding="utf-8"))
    return model["validation"]["epoch"], model["validation"]["mAP"], model["test"]["mAP"]


def run_gluoncv(options: argparse.Namespace, seed: int) -> tuple[int, float, float]:
    """The last epoch, and its mAP on both."""
    from sagemaker_object_detection.platform.threads import set_threads

    set_threads(os.environ)
    from mxnet.contrib import amp

    if options.precision == "bfloat16":
        amp.init(target_dtype="bfloat16")
    import gluoncv_loop

    from sagemaker_object_detection.model.specs import get_spec

    spec = get_spec(options.base_network, 300)
    net = gluoncv_loop.build(spec, data.NUM_CLASSES, seed)
    files = {name: data.bccd() / name / f"{name}.rec" for name in ("train", "validation", "test")}
    batches = gluoncv_loop.training_batches(net, files["train"], spec.image_shape, job.BATCH)
    trainer = gluoncv_loop.make_trainer(net, "sgd", dict(GLUONCV_OPTIONS))
    for epoch in range(options.epochs):
        losses = list(gluoncv_loop.train(net, trainer, batches, lambda update: GLUONCV_RATE))
        print(f"epoch {epoch}, cross entropy {statistics.fmean(x[0] for x in losses):.3f}")
    scores = [
        gluoncv_loop.evaluate(net, files[name], spec.image_shape, data.NUM_CLASSES)[0].mean
        for name in ("validation", "test")
    ]
    return options.epochs - 1, scores[0], scores[1]


def add_row(row: dict[str, object]) -> None:
    """Append a run to the table."""
    new = not TABLE.exists()
    with TABLE.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def print_table() -> None:
    """Mean and standard deviation of the test mAP, for each side, network and precision."""
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    def key(row: dict[str, str]) -> tuple[str, ...]:
        return row["network"], row["side"], row["precision"], row["epochs"]

    print("| network | recipe | precision | epochs | seeds | validation mAP | test mAP | spread |")
    print("|---|---|---|---|---|---|---|---|")
    for name, group in groupby(sorted(rows, key=key), key):
        runs = list(group)
        test = [float(row["test"]) for row in runs]
        validation = statistics.fmean(float(row["validation"]) for row in runs)
        spread = f"{statistics.stdev(test):.3f}" if len(test) > 1 else ""
        mean = statistics.fmean(test)
        cells = (*name, len(runs), f"{validation:.3f}", f"{mean:.3f}", spread)
        print("| " + " | ".join(map(str, cells)) + " |")


def main() -> None:
    """Parse the command line and run one side for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=(*SIDES, "table"))
    parser.add_argument("--base-network", default="resnet-18")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--name", help="in the table, instead of the side's name")
    parser.add_argument("--set", nargs="*", default=[], help="more hyperparameters, NAME=VALUE")
    options = parser.parse_args()
    if options.side == "table":
        return print_table()
    print(data.machine(), vars(options), flush=True)
    for seed in options.seeds:
        begun = time.perf_counter()
        run = run_gluoncv if options.side == "gluoncv" else run_ours
        epoch, validation, test = run(options, seed)
        values = (
            options.name or options.side,
            options.base_network,
            options.precision,
            options.epochs,
            seed,
            epoch,
            f"{validation:.4f}",
            f"{test:.4f}",
            f"{(time.perf_counter() - begun) / 60:.1f}",
        )
        add_row(dict(zip(COLUMNS, values, strict=True)))
        print(dict(zip(COLUMNS, values, strict=True)), flush=True)
    return None


if __name__ == "__main__":
    main()
