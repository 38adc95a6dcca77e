"""What a model forgets when training goes on: validation mAP on BCCD before and after one epoch.

python benchmarks/incremental.py [--base-network resnet-18] [--epochs 12] [--warmup-steps N ...]
Trains a model, unless --model names the tree of a job that did, then starts one epoch from it on
the same data with the same settings: with the warm-up that a model channel brings, and with those
that are named.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import data
import job


def main() -> None:
    """Train the first model unless it is there, then one epoch from it for each warm-up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-network", default="resnet-18")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--model", type=Path, default=data.BUILD / "job-incremental-first")
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--warmup-steps", type=int, nargs="*", default=[0])
    options = parser.parse_args()
    channels = job.bccd_channels()
    first = job.bccd_settings(
        options.base_network,
        options.epochs,
        optimizer="adam",
        learning_rate=5e-4,
        lr_schedule="cosine",
        warmup_steps=50,
        precision="bfloat16",
    )
    again = job.bccd_settings(
        options.base_network,
        1,
        optimizer=options.optimizer,
        learning_rate=options.learning_rate,
        precision="bfloat16",
    )
    base = options.model
    if not (base / "model" / "model.json").is_file():
        base = job.make_tree("incremental-first", first, channels)
        job.run_train(base)
    own = json.loads((base / "model" / "model.json").read_text(encoding="utf-8"))["validation"]
    print(data.machine(), options.base_network, f"first model: mAP {own['mAP']:.4f}", flush=True)
    for steps in ("", *options.warmup_steps):
        given = again | ({} if steps == "" else {"warmup_steps": steps})
        own_model = (base / "model").resolve()
        tree = job.make_tree("incremental-next", given, channels | {"model": own_model})
        (row,) = job.run_train(tree)
        score = float(row["mAP"])
        name = "as a model channel has it" if steps == "" else f"{steps} batches"
        print(
            f"{options.optimizer} {options.learning_rate:g}, warm-up {name}: mAP {score:.4f} "
            f"({score - own['mAP']:+.4f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
