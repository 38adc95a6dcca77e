"""Training jobs for the benchmarks: a tree of their own and a real ./train process."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import data

BATCH = 8


def bccd_settings(base_network: str, epochs: int, **more: object) -> dict[str, object]:
    """Hyperparameters of a job on BCCD without pretrained weights, in batches of BATCH."""
    return {
        "num_classes": data.NUM_CLASSES,
        "num_training_samples": data.TRAINING_IMAGES,
        "base_network": base_network,
        "use_pretrained_model": 0,
        "epochs": epochs,
        "mini_batch_size": BATCH,
        **more,
    }


def bccd_channels(*names: str) -> dict[str, Path]:
    """Channels of BCCD in RecordIO: train and validation, or those that are named."""
    return {name: data.bccd() / name for name in names or ("train", "validation")}


def make_tree(
    name: str,
    hyperparameters: Mapping[str, object],
    channels: Mapping[str, Path],
    config: Mapping[str, object] | None = None,
) -> Path:
    """A new tree below build/benchmarks whose channels are links.

    Args:
        config: content of inputdataconfig.json; without it the channels are of File mode.
    """
    base = data.BUILD / f"job-{name}"
    shutil.rmtree(base, ignore_errors=True)
    for folder in ("config", "data"):
        (base / "input" / folder).mkdir(parents=True)
    for channel, folder in channels.items():
        (base / "input" / "data" / channel).symlink_to(folder)
    files: dict[str, Mapping[str, object]] = {
        "hyperparameters.json": {key: str(value) for key, value in hyperparameters.items()}
    }
    if config is not None:
        files["inputdataconfig.json"] = config
    for file, content in files.items():
        (base / "input" / "config" / file).write_text(json.dumps(content), encoding="utf-8")
    return base


def run_train(base: Path) -> list[dict[str, str]]:
    """Run ./train on a tree to its end; returns the rows of its metrics.csv."""
    environment = os.environ | {"SAGEMAKER_BASE_DIR": str(base)}
    subprocess.run([sys.executable, str(data.ROOT / "train")], env=environment, check=True)
    with (base / "output" / "data" / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))
