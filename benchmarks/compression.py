"""What float16 gradients do to training: validation mAP by epoch, two hosts, Horovod.

python benchmarks/compression.py [--epochs 8] [--base-network resnet-18]
BCCD, batch 4 on each host; both sides the same but for gradient_compression. Hosts are network
namespaces, each with a core of its own (root, and Debian's iproute2).
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
import data

from tests.hosts import network
from tests.training_job import TrainingJob


def run(options: argparse.Namespace, compression: str, base: Path) -> list[tuple[float, float]]:
    """Cross entropy and mAP of every epoch."""

    def make(job: TrainingJob) -> None:
        for channel in ("train", "validation"):
            source = data.bccd() / channel / f"{channel}.rec"
            folder = job.paths.channel_dir(channel)
            folder.mkdir(parents=True)
            shutil.copy(source, folder)
        job.configure(
            dict.fromkeys(("train", "validation"), "application/x-recordio"),
            num_classes=data.NUM_CLASSES,
            num_training_samples=data.TRAINING_IMAGES,
            base_network=options.base_network,
            mini_batch_size=4,
            epochs=options.epochs,
            precision="bfloat16",
            distribution="horovod",
            gradient_compression=compression,
        )

    with network(base, 2) as hosts:
        hosts.configure(make)
        if any(hosts.run(7200)):
            raise SystemExit(hosts[0].job.log[-3000:])
        file = hosts[0].job.paths.output_data_dir / "metrics.csv"
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        return [(float(row["cross_entropy"]), float(row["mAP"])) for row in rows]


def main() -> None:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--base-network", default="resnet-18")
    options = parser.parse_args()
    print(data.machine(), vars(options), flush=True)
    found = {}
    for compression in ("none", "float16"):
        with TemporaryDirectory(prefix="compression-") as base:
            found[compression] = run(options, compression, Path(base))
    print("| epoch | float32: cross entropy | mAP | float16: cross entropy | mAP |")
    print("|---|---|---|---|---|")
    for epoch, rows in enumerate(zip(*found.values(), strict=True)):
        cells = [f"{value:.3f}" for row in rows for value in row]
        print("| " + " | ".join([str(epoch), *cells]) + " |")


if __name__ == "__main__":
    main()
