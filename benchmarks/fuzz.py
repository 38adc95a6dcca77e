"""Damaged inputs through all that ./train does before training: none may end but well.

python benchmarks/fuzz.py [--cases 2000] [--first 0] [--seed N]
A case is made by its seed alone: a job whose train channel has damage in its annotations, COCO
file, manifest, .rec file, pictures or stream. Cases run in processes of their own with a limit of
time and of memory. Each must pass, with rows in the report, or raise one ClientError, and write
nothing outside of the output folder. --seed runs one case here and leaves its folder.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import logging
import multiprocessing
import os
import resource
import shutil
import stat
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))
import damage

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.stream_loader import StreamLoader
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import ClientError, failure_text
from sagemaker_object_detection.platform.job import load_job
from sagemaker_object_detection.platform.paths import BASE_DIR_VARIABLE, Paths
from sagemaker_object_detection.training.data import Data, read_channels
from tests.data import samples
from tests.data.samples import Sample

THREADS = 2
NUM_CLASSES = 3
RECORDS = 6
SECONDS = 20
"""A case that takes longer hangs."""
GROWTH_MIB = 1024
"""A case that takes more memory than this, beside the program's own, has blown up."""
LONGEST_TEXT = 20_000
"""Characters of an error: what is wrong with a file must not be shown in whole."""
FINE = ("passed", "refused")

_SUFFIXES = (".png", ".jpg", ".webp", ".bmp", ".jpeg")
_CLASS_MAP = {str(class_id): f"class {class_id}" for class_id in range(NUM_CLASSES)}


def good_samples() -> list[Sample]:
    """What is damaged: a few small pictures of different formats, with boxes of all classes."""
    found = []
    for number in range(RECORDS):
        pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
        suffix = _SUFFIXES[number % len(_SUFFIXES)]
        boxes = [(0.1 * i, 0.2, 0.1 * i + 0.5, 0.7 + 0.1 * i) for i in range(NUM_CLASSES)]
        image = samples.encode(pixels, suffix)
        found.append(Sample(image, boxes, range(NUM_CLASSES), suffix))
    return found


class Case:
    """One damaged job.

    Attributes:
        seed: decides all of it.
        kind: what is damaged, a name of KINDS.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.kind = sorted(KINDS)[seed % len(KINDS)]
        self.random = Random(seed)

    def write(self, base: Path) -> None:
        """The job's tree."""
        for folder in ("config", "data"):
            (base / "input" / folder).mkdir(parents=True)
        self._channels: dict[str, dict[str, object]] = {"train": {}, "validation": {}}
        good = good_samples()
        samples.write_records(base / "input/data/validation/data.rec", good[:2])
        self._data = base / "input" / "data"
        self.stream: bytes | None = None
        KINDS[self.kind](self, good)
        hyperparameters = {
            "num_classes": NUM_CLASSES,
            "num_training_samples": RECORDS,
            "use_pretrained_model": 0,
            "max_dropped_images": 0.6,  # so that some of the damage is reported, not refused
            "max_dropped_boxes": 0.6,
        }
        config = base / "input" / "config"
        (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
        (config / "inputdataconfig.json").write_text(json.dumps(self._channels))

    @contextlib.contextmanager
    def fed(self) -> Iterator[None]:
        """The stream of a channel in Pipe mode, if this is one, in a FIFO or in a file."""
        if self.stream is None:
            yield
            return
        path = self._data / "train_0"
        if self.random.random() < 0.5:
            path.write_bytes(self.stream)
            yield
            return
        os.mkfifo(path)
        sizes = [self.random.choice((1, 7, 1000, 2**16)) for _ in range(50)]
        feeder = threading.Thread(target=_feed, args=(path, self.stream, sizes), daemon=True)
        feeder.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a writer that nobody read waits for a reader
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            feeder.join()
            path.unlink()

    def damage(self, path: Path, change: Callable[[Random, bytes], bytes]) -> None:
        path.write_bytes(self.changed(path.read_bytes(), change))

    def changed(self, data: bytes, change: Callable[[Random, bytes], bytes]) -> bytes:
        """The data after one change or some."""
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            data = change(self.random, data)
        return data

    def some(self, paths: Sequence[Path]) -> list[Path]:
        """One of these files or some."""
        return self.random.sample(list(paths), self.random.choice((1, 1, 2, 3)))

    def annotations(self, good: Sequence[Sample]) -> None:
        notes = self._images(good, samples.write_images)
        for path in self.some(sorted(notes.iterdir())):
            self.damage(path, damage.text)

    def pictures(self, good: Sequence[Sample]) -> None:
        self._images(good, samples.write_images)
        for path in self.some(sorted((self._data / "train").iterdir())):
            self.damage(path, damage.any_bytes)

    def coco(self, good: Sequence[Sample]) -> None:
        self.damage(self._images(good, samples.write_coco, "coco.json"), damage.text)

    def manifest(self, good: Sequence[Sample]) -> None:
        self.damage(self._images(good, samples.write_manifest, "x.manifest"), damage.text)
        names = self.random.choice((["source-ref", "bounding-box"], ["source-ref"], []))
        self._channels["train"]["AttributeNames"] = names

    def recordio(self, good: Sequence[Sample]) -> None:
        path = samples.write_records(self._data / "train" / "data.rec", good)
        self.damage(path, damage.records)

    def recordio_stream(self, good: Sequence[Sample]) -> None:
        self._channels["train"]["TrainingInputMode"] = "Pipe"
        path = samples.write_records(self._data / "written.rec", good)
        self.stream = self.changed(path.read_bytes(), damage.records)
        shutil.rmtree(self._data / "train", ignore_errors=True)
        for file in (path, path.with_suffix(".idx")):
            file.unlink()

    def manifest_stream(self, good: Sequence[Sample]) -> None:
        """Alternating images and texts: one of them damaged, the order of them, or the frames."""
        self._channels["train"]["TrainingInputMode"] = "Pipe"
        metadata = self.random.random() < 0.5
        payloads: list[bytes] = []
        for sample in good:
            payloads += [sample.image, json.dumps(sample.annotation()).encode()]
            if metadata:
                payloads.append(json.dumps({"class-map": _CLASS_MAP}).encode())
        what = self.random.choice(("text", "text", "image", "order", "frames"))
        place = self.random.randrange(len(payloads))
        if what == "order":
            moved = payloads.pop(place)
            for _ in range(self.random.randrange(3)):
                payloads.insert(self.random.randrange(len(payloads)), moved)
        elif what != "frames":
            change = damage.text if payloads[place][:1] == b"{" else damage.any_bytes
            payloads[place] = self.changed(payloads[place], change)
        self.stream = b"".join(map(damage.frame, payloads))
        if what == "frames":
            self.stream = self.changed(self.stream, damage.records)

    def _images(
        self,
        good: Sequence[Sample],
        write: Callable[[Path, Path, Sequence[Sample]], None],
        name: str = "",
    ) -> Path:
        """Images with annotations; returns the annotations' file or folder."""
        beside = name and self.random.random() < 0.3
        folder = self._data / ("train" if beside else "train_annotation")
        if not beside:
            self._channels["train_annotation"] = {}
        write(self._data / "train", folder / name, good)
        return folder / name


KINDS: Mapping[str, Callable[[Case, Sequence[Sample]], None]] = {
    "annotations": Case.annotations,
    "pictures": Case.pictures,
    "COCO file": Case.coco,
    "manifest": Case.manifest,
    ".rec file": Case.recordio,
    "stream of records": Case.recordio_stream,
    "stream of a manifest": Case.manifest_stream,
}


def _feed(path: Path, data: bytes, sizes: Sequence[int]) -> None:
    with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as file:
        for size in sizes:
            file.write(data[:size])
            data = data[size:]
        file.write(data)


@dataclass(frozen=True)
class Outcome:
    """How a case ended: passed, refused, or what is wrong; detail: an error's text."""

    seed: int
    kind: str
    result: str
    detail: str = ""
    seconds: float = 0.0
    growth_mib: float = 0.0


def run_case(seed: int, folder: Path, log: Path | None = None) -> Outcome:
    """Make the case of a seed in an empty folder and run it, its log into a file."""
    case = Case(seed)
    base = folder / "job"
    case.write(base)
    begun = time.perf_counter()
    with case.fed():
        before = _tree(folder)
        try:
            result, detail = _run(base)
        except Exception:  # noqa: BLE001 - this is what is looked for
            result, detail = "another error", traceback.format_exc()
        changed = _difference(before, _tree(folder))
    text = log.read_text("utf-8", "replace") if log else ""
    if "Traceback (most recent call last)" in text or "Logging error" in text:
        result, detail = "a traceback in the log", text
    if changed:
        result, detail = "files changed outside of the output folder", changed
    return Outcome(seed, case.kind, result, detail, time.perf_counter() - begun)


def _run(base: Path) -> tuple[str, str]:
    environ = {BASE_DIR_VARIABLE: str(base)}
    refused = None
    try:
        _read(environ)
    except ClientError as error:
        refused = str(error)
        failure_text(error).encode("utf-8", "backslashreplace")
    report = Paths(base).output_data_dir / "data_report.json"
    if refused is None or report.exists():
        channels = json.loads(report.read_bytes(), parse_constant=_no_json)["channels"]
        report.with_suffix(".html").read_bytes().decode()
        if refused is None and not channels["train"]["images"]:
            return "passed without rows in the report", json.dumps(channels)
    if refused is not None and (len(refused) > LONGEST_TEXT or "train" not in refused):
        return "an error that is too long, or of nothing", refused
    return ("passed", "") if refused is None else ("refused", refused)


def _no_json(name: str) -> None:
    raise ValueError(f"{name} in data_report.json")


def _read(environ: Mapping[str, str]) -> None:
    """Up to the end of the gate, and what has passed once more as training reads it."""
    job = load_job(environ)
    data = read_channels(job, THREADS, lambda: False)
    try:
        train = data.loaders["train"]
        if isinstance(train, StreamLoader):
            _read_stream(data, train, training=job.hyperparameters.seed == 0)
        else:
            for _ in train.training_epoch(2, 0, 0, Augmentation()):
                pass
    finally:
        data.close()


def _read_stream(data: Data, train: StreamLoader, training: bool) -> None:
    try:
        for _ in train.evaluation_pass(2):
            pass
    except ClientError as error:
        data.report(error.faults)
        raise
    data.report()


def _tree(folder: Path) -> dict[str, str]:
    """What is in the folder beside the job's output."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name == "job/output" or name.startswith("job/output/"):
            continue
        status = path.lstat()
        found[name] = f"{status.st_mode:o} {status.st_size}"
        if stat.S_ISREG(status.st_mode):
            digest = hashlib.blake2b(path.read_bytes()).hexdigest()
            found[name] += f" {status.st_mtime_ns} {digest}"
    return found


def _difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    names = before.keys() | after.keys()
    return ", ".join(sorted(name for name in names if before.get(name) != after.get(name)))


RunCase = Callable[[int, Path, Path], Outcome]


def work(connection: Connection, folder: Path, growth_mib: int, run: RunCase) -> None:
    """A process that runs the cases it is told."""
    log = folder.with_suffix(".log")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    logs.setup(sys.stdout)
    logging.getLogger().setLevel(logging.INFO)
    limit = 2**10 * _status("VmSize") + 2 * 2**20 * growth_mib
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        seed = connection.recv()
        shutil.rmtree(folder, ignore_errors=True)
        for place in ("here", "tmp"):
            (folder / place).mkdir(parents=True)
        os.environ["TMPDIR"] = str(folder / "tmp")
        os.chdir(folder / "here")
        os.truncate(log, 0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        resident = _status("VmHWM")
        outcome = run(seed, folder, log)
        growth = (_status("VmHWM") - resident) / 2**10
        if growth > growth_mib:
            outcome = replace(outcome, result="too much memory", detail=f"{growth:.0f} MiB")
        connection.send(replace(outcome, growth_mib=growth))


def _status(key: str) -> int:
    """A number of KiB from /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    raise KeyError(key)


class Worker:
    """A process of `work`, begun again when a case has ended it."""

    def __init__(
        self, folder: Path, seconds: float, growth_mib: int, run: RunCase = run_case
    ) -> None:
        self._arguments = folder, growth_mib, run
        self._seconds = seconds
        self._process: multiprocessing.process.BaseProcess | None = None

    def run(self, seed: int) -> Outcome:
        """The case's outcome, or how it ended the process."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, other = context.Pipe()
            self._process = context.Process(target=work, args=(other, *self._arguments))
            self._process.start()
            other.close()
        self._connection.send(seed)
        kind = Case(seed).kind
        if not self._connection.poll(self._seconds):
            self.close()
            return Outcome(seed, kind, "a hang", f"no end in {self._seconds} s")
        try:
            outcome: Outcome = self._connection.recv()
        except EOFError:
            code = self.close()
            return Outcome(seed, kind, "a crash", f"exit code {code}")
        return outcome

    def close(self) -> int | None:
        """End the process; returns its exit code."""
        if self._process is None:
            return None
        self._connection.close()
        self._process.join(1)
        self._process.kill()
        self._process.join()
        code, self._process = self._process.exitcode, None
        return code


def run_all(
    seeds: Sequence[int],
    folder: Path,
    processes: int,
    seconds: float = SECONDS,
    growth_mib: int = GROWTH_MIB,
    run: RunCase = run_case,
) -> list[Outcome]:
    """The outcomes of the cases of these seeds, in no order; failures are printed as they come."""
    waiting = iter(seeds)
    lock = threading.Lock()
    outcomes: list[Outcome] = []

    def work_off(number: int) -> None:
        worker = Worker(folder / f"worker{number}", seconds, growth_mib, run)
        try:
            while True:
                with lock:
                    seed = next(waiting, None)
                if seed is None:
                    return
                outcome = worker.run(seed)
                with lock:
                    outcomes.append(outcome)
                    if outcome.result not in FINE:
                        _tell(outcome)
        finally:
            worker.close()

    folder.mkdir(parents=True, exist_ok=True)
    workers = [threading.Thread(target=work_off, args=(i,)) for i in range(processes)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    return outcomes


def _tell(outcome: Outcome) -> None:
    print(f"{outcome.kind}: {outcome.result}: {outcome.detail[-3000:]}")
    print(f"Again: python benchmarks/fuzz.py --seed {outcome.seed}", flush=True)


def summary(outcomes: Sequence[Outcome]) -> str:
    """Counts by kind of file and outcome, and the case that took longest and most memory."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        counts[outcome.kind][outcome.result] += 1
    lines = [
        f"{kind:22s} {sum(counts[kind].values()):5d}: "
        + ", ".join(f"{result} {n}" for result, n in sorted(counts[kind].items()))
        for kind in sorted(counts)
    ]
    slow = max(outcomes, key=lambda outcome: outcome.seconds)
    large = max(outcomes, key=lambda outcome: outcome.growth_mib)
    lines.append(f"longest: {slow.seconds:.1f} s (seed {slow.seed})")
    lines.append(f"most memory: {large.growth_mib:.0f} MiB more (seed {large.seed})")
    return "\n".join(lines)


def run_here(seed: int, folder: Path) -> None:
    """One case with its log on the terminal; its folder stays."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    logs.setup()
    outcome = run_case(seed, folder)
    print(f"{outcome.kind}: {outcome.result}\n{outcome.detail}\n{folder}")


def main() -> None:
    """Run the cases; the exit code is 1 when one has not ended well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="run the one case of this seed")
    options = parser.parse_args()
    folder = HERE.parent / "build" / "benchmarks" / "fuzz"
    if options.seed is not None:
        run_here(options.seed, folder / f"seed-{options.seed}")
        return
    begun = time.perf_counter()
    seeds = range(options.first, options.first + options.cases)
    outcomes = run_all(seeds, folder / "all", len(os.sched_getaffinity(0)))
    shutil.rmtree(folder / "all")
    bad = sum(outcome.result not in FINE for outcome in outcomes)
    print(summary(outcomes))
    print(f"{len(outcomes)} cases in {time.perf_counter() - begun:.0f} s, {bad} ended badly")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
