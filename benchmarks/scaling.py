"""Two processes with a core each against one with two cores: images a second, bytes on the wire.

python benchmarks/scaling.py [--rounds 2] [--base-network resnet-50] [--precision float32]
Hosts are network namespaces, each with a core of its own (root, and Debian's iproute2). Batches of
16 in all, 300 px, pictures of BCCD. The second of two epochs is measured, so that graphs are built
and connections open. Sides take turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
import data

from sagemaker_object_detection.data.recordio import RecordIOWriter, read, scan
from tests.hosts import Host, Network, network
from tests.training_job import TrainingJob

BATCH = 16
VALIDATION_IMAGES = 8
SIDES: Mapping[str, Mapping[str, object]] = {
    "one process, two cores": {},
    "kvstore dist_sync": {"distribution": "kvstore"},
    "horovod": {"distribution": "horovod"},
    "horovod, float16 gradients": {"distribution": "horovod", "gradient_compression": "float16"},
}


def write_part(source: Path, target: Path, count: int) -> None:
    """The first records of a .rec file."""
    target.parent.mkdir(parents=True)
    index = scan(source)
    with source.open("rb") as file, RecordIOWriter(target) as writer:
        for record in range(count):
            writer.write(read(file.fileno(), index, record))


def maker(options: argparse.Namespace, hosts: int, given: Mapping[str, object]) -> Callable:
    """Writes a host's job."""

    def make(job: TrainingJob) -> None:
        for channel, count in (("train", options.images), ("validation", VALIDATION_IMAGES)):
            source = data.bccd() / channel / f"{channel}.rec"
            write_part(source, job.paths.channel_dir(channel) / f"{channel}.rec", count)
        job.configure(
            dict.fromkeys(("train", "validation"), "application/x-recordio"),
            **{
                "num_classes": data.NUM_CLASSES,
                "num_training_samples": options.images,
                "base_network": options.base_network,
                "mini_batch_size": BATCH // hosts,
                "epochs": 2,
                "precision": options.precision,
                "ema_decay": 0,
                **given,
            },
        )

    return make


def sent(host: Host) -> int:
    """Bytes that a host sends during its second epoch."""
    marks = []
    for text in ("epoch=0, validation mAP", "epoch=1, batch="):
        while text not in host.job.log:
            assert host.process is not None
            if host.process.poll() is not None:
                raise SystemExit(host.job.log[-3000:])
            time.sleep(0.02)
        marks.append(host.sent_bytes())
    return marks[1] - marks[0]


def measure(name: str, options: argparse.Namespace, base: Path) -> tuple[float, float]:
    """Images a second, and MB that a host sends for each update."""
    hosts = 1 if name.startswith("one") else 2
    with network(base / name.replace(" ", "-"), hosts, ["0-1"] if hosts == 1 else ["0", "1"]) as n:
        made: Network = n
        made.configure(maker(options, hosts, SIDES[name]))
        for host in made.hosts if options.mbit else []:
            host.limit(options.mbit)
        made.start()
        traffic = sent(made[-1])
        codes = made.wait(600)
        if any(codes):
            raise SystemExit(made[0].job.log[-3000:])
        with (made[0].job.paths.output_data_dir / "metrics.csv").open(encoding="utf-8") as file:
            row = list(csv.DictReader(file))[1]
        updates = -(-options.images // BATCH)
        return float(row["images_per_second"]), traffic / updates / 1e6


def gradient_mb(options: argparse.Namespace) -> float:
    """MB of one set of gradients."""
    from sagemaker_object_detection.model.network import build_network
    from sagemaker_object_detection.model.specs import get_spec

    network = build_network(get_spec(options.base_network, 300), data.NUM_CLASSES)
    shapes = [p.shape for p in network.parameters.values() if p.grad_req != "null"]
    total = 0
    for shape in shapes:
        size = 4
        for side in shape:
            size *= side
        total += size
    return total / 1e6


def main() -> None:
    """Run all sides in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--base-network", default="resnet-50")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--mbit", type=int, default=0, help="of each host's link")
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--sides", nargs="*", default=list(SIDES))
    options = parser.parse_args()
    model = gradient_mb(options)
    print(data.machine(), vars(options), f"gradients: {model:.1f} MB", flush=True)
    found: dict[str, list[tuple[float, float]]] = {side: [] for side in options.sides}
    for number in range(options.rounds):
        for side in options.sides:
            with TemporaryDirectory(prefix="scaling-") as base:
                found[side].append(measure(side, options, Path(base)))
            print(json.dumps([number, side, *found[side][-1]]), flush=True)
    print(
        "| side | images/s | against one process | MB sent by a host for an update | of gradients |"
    )
    print("|---|---|---|---|---|")
    first = [rate for rate, _ in found[options.sides[0]]]
    for side, rows in found.items():
        rates = ", ".join(f"{rate:.2f}" for rate, _ in rows)
        ratios = ", ".join(f"{rate / one:.2f}" for (rate, _), one in zip(rows, first, strict=True))
        traffic = max(megabytes for _, megabytes in rows)
        print(f"| {side} | {rates} | {ratios} | {traffic:.1f} | {traffic / model:.3f} |")


if __name__ == "__main__":
    main()
