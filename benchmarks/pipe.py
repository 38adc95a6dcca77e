"""Pipe mode against File mode on the same data: images a second, and the bytes that are held.

python benchmarks/pipe.py loader [--rounds 3] [--images 2050]
python benchmarks/pipe.py train [--rounds 2] [--base-network resnet-18] [--epochs 2]
`loader` reads and augments alone, which a training step never waits for as long; `train` runs
./train. BCCD's .rec goes through real FIFOs, one for each epoch, written as fast as they are read.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import data
import job

SIDE = 300
THREADS = len(os.sched_getaffinity(0))
BUFFER = 256 * 2**20


def feed(path: Path, content: bytes, epochs: int) -> threading.Thread:
    """Write the content into <path>_0, <path>_1 and so on, each made when the last was read."""

    def write() -> None:
        for number in range(epochs):
            fifo = path.with_name(f"{path.name}_{number}")
            fifo.unlink(missing_ok=True)
            os.mkfifo(fifo)
            try:
                with fifo.open("wb") as stream:
                    stream.write(content)
            except BrokenPipeError:
                pass
            fifo.unlink()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def measure_loader(pipe: bool, images: int) -> tuple[float, int]:
    """Images a second of the loader alone after its first epoch, and the most bytes it held."""
    from sagemaker_object_detection.data.augment import Augmentation
    from sagemaker_object_detection.data.gate import pass_gate
    from sagemaker_object_detection.data.loader import Batch, Loader
    from sagemaker_object_detection.data.sources import RecordIOSource
    from sagemaker_object_detection.data.stream import StreamLoader

    file = data.bccd() / "train" / "train.rec"
    epochs = 2 + images // data.TRAINING_IMAGES
    loader: Loader | StreamLoader
    if pipe:
        path = data.BUILD / "pipe"
        feed(path, file.read_bytes(), epochs)
        loader = StreamLoader(
            path,
            "train",
            SIDE,
            THREADS,
            data.NUM_CLASSES,
            epochs=epochs,
            expected_records=data.TRAINING_IMAGES,
            declared_boxes=69,
            buffer_bytes=BUFFER,
        )
    else:
        dataset, _ = pass_gate("train", RecordIOSource([file]), data.NUM_CLASSES, THREADS)
        loader = Loader(dataset, SIDE, THREADS)

    def batches() -> Iterator[Batch]:
        for epoch in range(epochs):
            yield from loader.training_epoch(job.BATCH, 0, epoch, Augmentation())

    seen = 0
    begun = 0.0
    for batch in batches():
        if not begun and seen >= data.TRAINING_IMAGES:
            begun, seen = time.perf_counter(), 0
        seen += len(batch.images)
        if begun and seen >= images:
            break
    rate = seen / (time.perf_counter() - begun)
    held = loader.buffered_bytes_peak if isinstance(loader, StreamLoader) else 0
    loader.close()
    return rate, held


def measure_train(pipe: bool, base_network: str, epochs: int) -> float:
    """Images a second of ./train over its epochs, validation not counted."""
    settings = job.bccd_settings(base_network, epochs, optimizer="adam", precision="bfloat16")
    file_mode = {"TrainingInputMode": "File"}
    config = {"train": {"TrainingInputMode": "Pipe"} if pipe else file_mode}
    channels = job.bccd_channels("validation") if pipe else job.bccd_channels()
    base = job.make_tree("pipe", settings, channels, {**config, "validation": file_mode})
    if pipe:
        content = (data.bccd() / "train" / "train.rec").read_bytes()
        feed(base / "input" / "data" / "train", content, epochs)
    rows = job.run_train(base)
    return data.TRAINING_IMAGES * epochs / sum(float(row["training_seconds"]) for row in rows)


def main() -> None:
    """Both modes in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("loader", "train"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2050)
    parser.add_argument("--base-network", default="resnet-18")
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    print(data.machine(), options.what, flush=True)
    for number in range(options.rounds):
        held = 0
        rates = {}
        for pipe in (False, True):
            if options.what == "loader":
                rates[pipe], held = measure_loader(pipe, options.images)
            else:
                rates[pipe] = measure_train(pipe, options.base_network, options.epochs)
        print(
            f"round {number}: File {rates[False]:.2f}, Pipe {rates[True]:.2f} images/s, ratio "
            f"{rates[True] / rates[False]:.3f}"
            + (f", {held} of {BUFFER} bytes held at most" if held else ""),
            flush=True,
        )


if __name__ == "__main__":
    main()
