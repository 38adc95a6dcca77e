"""The gate: its speed against mere decoding, and the memory that a record takes.

python benchmarks/gate.py speed [--rounds 5] [--repeats 10]
Photographs of 640x480 in each form through the gate, against cv2.imdecode on the same bytes in
memory, with the same threads. Sides take turns; each round has its ratio: machines are noisy.

python benchmarks/gate.py coco
A COCO file of 63 MB and 150,000 boxes with outlines: process time and peak memory of reading it.

python benchmarks/gate.py memory [--records 200000]
Tiny pictures with one to three boxes in each form, through all that ./train does before training:
what the peak of the process's memory grows by from a tenth of the records to all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import data
import numpy as np
from many_records import FORMS, tree
from processes import peak_bytes

from sagemaker_object_detection.data.class_names import AnnotatedNames
from sagemaker_object_detection.data.dataset import RawRecord, Source
from sagemaker_object_detection.data.gate import survey
from sagemaker_object_detection.data.sources import open_source
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.job import load_job
from sagemaker_object_detection.platform.paths import BASE_DIR_VARIABLE
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Communicator
from sagemaker_object_detection.training.data import read_channels

COCO_IMAGES, COCO_BOXES = 20_000, 150_000
_READ_COCO = """
import sys, time
from pathlib import Path
from sagemaker_object_detection.data.sources.coco import CocoSource
begun = time.process_time()
CocoSource(*map(Path, sys.argv[1:]))
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
print(f"{time.process_time() - begun:.2f} CPU-s, {peak:.0f} MiB")
"""
THREADS = len(os.sched_getaffinity(0))
SPEED_FORMS = ("recordio", "sagemaker-json", "coco")
_AT_A_TIME = 16


class Repeated(Source):
    """A source that gives its records several times over."""

    def __init__(self, source: Source, times: int) -> None:
        self._source = source
        self._times = times

    @property
    def found_names(self) -> AnnotatedNames:
        return self._source.found_names

    def __len__(self) -> int:
        return len(self._source) * self._times

    def name(self, index: int) -> str:
        return self._source.name(index % len(self._source))

    def read(self, index: int) -> RawRecord:
        return self._source.read(index % len(self._source))

    def read_image(self, index: int) -> bytes:
        return self._source.read_image(index % len(self._source))


def photographs(writer: str) -> Source:
    """BCCD's training images in one form."""
    folder = _as_coco() if writer == "coco" else data.bccd(writer)
    names = ("train", "train_annotation")
    channels = {n: Channel(n, folder / n) for n in names if (folder / n).is_dir()}
    return open_source(with_forms(channels), "train")


def _as_coco() -> Path:
    """The images with one COCO file in place of their JSON files."""
    source, folder = data.bccd("sagemaker-json"), data.BUILD / "bccd-coco"
    (folder / "train_annotation").mkdir(parents=True, exist_ok=True)
    if not (folder / "train").exists():
        (folder / "train").symlink_to(source / "train")
    images, boxes = [], []
    for number, path in enumerate(sorted((source / "train_annotation").iterdir())):
        note = json.loads(path.read_text())
        size = note["image_size"][0]
        entry = {"width": size["width"], "height": size["height"], "file_name": note["file"]}
        images.append({"id": number, **entry})
        for box in note["annotations"]:
            corners = [box[side] for side in ("left", "top", "width", "height")]
            category = box["class_id"] + 1
            boxes.append({"image_id": number, "category_id": category, "bbox": corners})
    categories = [{"id": i + 1, "name": str(i)} for i in range(data.NUM_CLASSES)]
    content = {"images": images, "annotations": boxes, "categories": categories}
    (folder / "train_annotation" / "coco.json").write_text(json.dumps(content))
    return folder


def decode_alone(images: Sequence[bytes], times: int) -> float:
    """Seconds to decode these images, so many times each."""

    def task(start: int) -> None:
        for image in everything[start : start + _AT_A_TIME]:
            cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)

    everything = list(images) * times
    begun = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(task, range(0, len(everything), _AT_A_TIME)))
    return time.perf_counter() - begun


def gate(source: Source) -> float:
    """Seconds of the gate."""
    begun = time.perf_counter()
    tally = survey("train", source, data.NUM_CLASSES, THREADS)
    seconds = time.perf_counter() - begun
    tally.refuse()
    return seconds


def speed(rounds: int, repeats: int) -> None:
    """Print each round's ratio for each form, and the median."""
    cv2.setNumThreads(0)
    sources = {form: photographs(form) for form in SPEED_FORMS}
    first = sources["recordio"]
    images = [first.read_image(index) for index in range(len(first))]
    count = len(images) * repeats
    size = statistics.mean(map(len, images)) / 1000
    print(data.machine(), f"{count} JPEGs of 640x480, {size:.0f} kB, {THREADS} threads")
    ratios: dict[str, list[float]] = {form: [] for form in sources}
    for number in range(rounds):
        for form, source in sources.items():
            alone = decode_alone(images, repeats)
            gated = gate(Repeated(source, repeats))
            alone = (alone + decode_alone(images, repeats)) / 2  # before it and after it
            ratios[form].append(alone / gated)
            print(
                f"round {number}: {form:14s} {count / gated:6.0f} images/s, "
                f"imdecode alone {count / alone:6.0f}, ratio {alone / gated:.3f}",
                flush=True,
            )
    for form, found in ratios.items():
        print(f"{form:14s} ratio {statistics.median(found):.3f} (median of {rounds})")


def coco() -> None:
    """Print seconds and MiB of three processes that read the file."""
    folder = data.BUILD / "coco-file"
    file = folder / "instances.json"
    if not file.exists():
        (folder / "images").mkdir(parents=True, exist_ok=True)
        names = [f"{number:012}.jpg" for number in range(COCO_IMAGES)]
        for name in names:
            (folder / "images" / name).touch()
        random = np.random.default_rng(0)
        outlines = random.uniform(0, 640, (COCO_BOXES, 36)).round(2).tolist()
        corners = random.uniform(0, 300, (COCO_BOXES, 4)).round(2).tolist()
        boxes = [
            {
                "segmentation": [outline],
                "iscrowd": 0,
                "image_id": number % COCO_IMAGES,
                "bbox": box,
                "category_id": number % 90 + 1,
                "id": number,
            }
            for number, (outline, box) in enumerate(zip(outlines, corners, strict=True))
        ]
        images = [
            {"file_name": name, "height": 480, "width": 640, "id": number}
            for number, name in enumerate(names)
        ]
        categories = [{"id": number, "name": f"class {number}"} for number in range(1, 91)]
        content = {"images": images, "annotations": boxes, "categories": categories}
        file.write_text(json.dumps(content))
    print(data.machine(), f"{file.stat().st_size / 1e6:.0f} MB, {COCO_BOXES} boxes", flush=True)
    for _ in range(3):
        subprocess.run([sys.executable, "-c", _READ_COCO, folder / "images", file], check=True)


def peak_of_reading(base: Path) -> None:
    """Read a job's channels; print the peak of this process's memory in bytes."""
    job = load_job({BASE_DIR_VARIABLE: str(base)})
    read_channels(job, Communicator(World()), THREADS, lambda: False).close()
    print(peak_bytes())


def memory(records: int, forms: Sequence[str]) -> None:
    """Print the bytes a record of each form."""
    print(data.machine(), f"{records // 10} and {records} records, one to three boxes each")
    for form in forms:
        peaks = []
        for count in (records // 10, records):
            with tree(form, count) as base:
                begun = time.perf_counter()
                command = [sys.executable, "-W", "ignore", __file__, "memory", "--tree", str(base)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                seconds = time.perf_counter() - begun
            peaks.append(int(done.stdout.split()[-1]))
        growth = (peaks[1] - peaks[0]) / (records - records // 10)
        print(
            f"{form:9s} {growth:6.1f} bytes a record; peak {peaks[0] / 2**20:.0f} and "
            f"{peaks[1] / 2**20:.0f} MiB; {seconds:.0f} s",
            flush=True,
        )


def main() -> None:
    """Measure speed or memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "memory", "coco"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--forms", nargs="*", default=list(FORMS), choices=FORMS)
    parser.add_argument("--tree", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tree:
        peak_of_reading(options.tree)
    elif options.what == "coco":
        coco()
    elif options.what == "speed":
        speed(options.rounds, options.repeats)
    else:
        memory(options.records, options.forms)


if __name__ == "__main__":
    main()
