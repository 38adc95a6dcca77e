"""Images a CPU-second of loaders: GluonCV's DataLoader, MXNet's ImageDetRecordIter, and ours.

python benchmarks/loader.py [--images 820] [--rounds 3]
All read the same .rec of 640x480 JPEGs, augment as SSD's training does and give 300 px batches.
"per core" is images by the CPU time of the process and its children, so that sides with different
numbers of processes can be compared; "cores used" is CPU time by wall time.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import data
from processes import children

BATCH = 8
SIDE = 300
THREADS = len(os.sched_getaffinity(0))


def gluoncv_batches(path: Path) -> Iterator[int]:
    """GluonCV's DataLoader with SSDDefaultTrainTransform; its workers are processes."""
    import gluoncv_loop

    from sagemaker_object_detection.model.specs import get_spec

    net = gluoncv_loop.build(get_spec("resnet-18", SIDE), data.NUM_CLASSES, 0)
    loader = gluoncv_loop.training_batches(net, path, SIDE, BATCH)
    while True:
        for images, _, _ in loader:
            yield len(images)


def record_iter_batches(path: Path) -> Iterator[int]:
    """MXNet's iterator with the augmentations of its SSD example."""
    import mxnet as mx

    iterator = mx.io.ImageDetRecordIter(
        path_imgrec=str(path),
        batch_size=BATCH,
        data_shape=(3, SIDE, SIDE),
        label_pad_width=350,
        shuffle=True,
        shuffle_chunk_size=1,
        shuffle_chunk_seed=1,
        preprocess_threads=THREADS,
        verbose=False,
        resize_mode="force",
        rand_crop_prob=5 / 6,
        num_crop_sampler=5,
        min_crop_scales=(0.3,) * 5,
        max_crop_scales=(1.0,) * 5,
        min_crop_aspect_ratios=(0.5,) * 5,
        max_crop_aspect_ratios=(2.0,) * 5,
        min_crop_overlaps=(0.1, 0.3, 0.5, 0.7, 0.9),
        max_crop_trials=(50,) * 5,
        crop_emit_mode="center",
        rand_pad_prob=0.5,
        max_pad_scale=4.0,
        fill_value=127,
        max_random_hue=18,
        random_hue_prob=0.5,
        max_random_saturation=32,
        random_saturation_prob=0.5,
        max_random_illumination=32,
        random_illumination_prob=0.5,
        max_random_contrast=0.5,
        random_contrast_prob=0.5,
        rand_mirror_prob=0.5,
        inter_method=10,
    )
    while True:
        for batch in iterator:
            batch.data[0].wait_to_read()
            yield BATCH - batch.pad
        iterator.reset()


def our_batches(path: Path) -> Iterator[int]:
    """Our loader with all its augmentation."""
    from sagemaker_object_detection.data.augment import Augmentation
    from sagemaker_object_detection.data.gate import pass_gate
    from sagemaker_object_detection.data.loader import Loader
    from sagemaker_object_detection.data.sources import RecordIOSource

    dataset, _ = pass_gate("train", RecordIOSource([path]), data.NUM_CLASSES, THREADS)
    loader = Loader(dataset, SIDE, THREADS)
    epoch = 0
    while True:
        for batch in loader.training_epoch(BATCH, 0, epoch, Augmentation()):
            yield len(batch.images)
        epoch += 1


SIDES = {
    "GluonCV DataLoader": gluoncv_batches,
    "ImageDetRecordIter": record_iter_batches,
    "ours": our_batches,
}


def cpu_seconds() -> float:
    """CPU time of this process and its children, ended or not."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    spent = sum(sum(resource.getrusage(one)[:2]) for one in who)
    return spent + sum(map(_cpu_of, children(os.getpid())))


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(side: str, images: int) -> tuple[float, float, float]:
    """Images a CPU-second, images a second, cores used; after one epoch's worth of warm-up."""
    batches = SIDES[side](data.bccd() / "train" / "train.rec")
    seen = 0
    while seen < data.TRAINING_IMAGES:
        seen += next(batches)
    cpu, wall, seen = cpu_seconds(), time.perf_counter(), 0
    while seen < images:
        seen += next(batches)
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    return seen / cpu, seen / wall, cpu / wall


def main() -> None:
    """Run all sides in turns, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=820)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(*measure(options.side, options.images), flush=True)
        os._exit(0)  # the loaders' threads and processes need no farewell
    data.bccd()
    print(data.machine(), f"640x480 JPEG -> {SIDE} px, full augmentation")
    for number in range(options.rounds):
        for side in SIDES:
            command = [sys.executable, "-W", "ignore", __file__, "--side", side]
            command += ["--images", str(options.images)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            )
            per_core, per_second, cores = map(float, done.stdout.split()[-3:])
            print(
                f"round {number}: {side:20s} {per_core:6.1f} images/s per core, "
                f"{per_second:6.1f} images/s, {cores:.2f} cores used",
                flush=True,
            )


if __name__ == "__main__":
    main()
