"""Damaged inputs through all that ./train does before training: none may end but well.

python benchmarks/fuzz.py [--cases 2000] [--first 0] [--seed N]
A case is made by its seed alone: a job whose train channel has damage in its annotations, COCO
file, manifest, .rec file, pictures or stream. Cases run in processes of their own with a limit of
time and of memory. Each must pass, with rows in the report, or raise one ClientError, and write
nothing outside of the output folder. --seed runs one case here and leaves its folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import stat
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from fuzz_cases import Case
from isolated import Ended, Limits, run_all

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.stream import StreamLoader
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import ClientError, failure_text
from sagemaker_object_detection.platform.job import load_job
from sagemaker_object_detection.platform.paths import BASE_DIR_VARIABLE, Paths
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Communicator
from sagemaker_object_detection.training.data import Data, read_channels

FOLDER = Path(__file__).resolve().parents[1] / "build" / "benchmarks" / "fuzz"
THREADS = 2
LONGEST_TEXT = 20_000
"""Characters of an error: what is wrong with a file must not be shown in whole."""
FINE = ("passed", "refused")


def run_case(seed: int, folder: Path, log: Path | None = None) -> tuple[str, str]:
    """Make the case of a seed in an empty folder and run it; returns result and detail."""
    case = Case(seed)
    case.write(folder / "job")
    logs.setup()
    with case.fed():
        before = _tree(folder)
        try:
            result, detail = _run(folder / "job", seed)
        except Exception:  # noqa: BLE001 - this is what is looked for
            result, detail = "another error", traceback.format_exc()
        after = _tree(folder)
    changed = [k for k in before.keys() | after.keys() if before.get(k) != after.get(k)]
    if changed:
        return "files changed outside of the output folder", ", ".join(changed)
    text = log.read_text(encoding="utf-8", errors="replace") if log else ""
    if "Traceback (most recent call last)" in text or "Logging error" in text:
        return "a traceback in the log", text
    return result, detail


def _run(base: Path, seed: int) -> tuple[str, str]:
    refused = None
    try:
        _read(base, training=seed % 2 == 0)
    except ClientError as error:
        refused = str(error)
        failure_text(error).encode("utf-8", "backslashreplace")
    report = Paths(base).output_data_dir / "data_report.json"
    if refused is None or report.exists():
        channels = json.loads(report.read_bytes(), parse_constant=_no_json)["channels"]
        report.with_suffix(".html").read_bytes().decode()
        if refused is None and not channels["train"]["images"]:
            return "passed without rows in the report", json.dumps(channels)
    if refused is None:
        return "passed", ""
    if len(refused) > LONGEST_TEXT or "train" not in refused:
        return "an error that is too long, or of nothing", refused
    return "refused", refused


def _no_json(name: str) -> None:
    raise ValueError(f"{name} in data_report.json")


def _read(base: Path, training: bool) -> None:
    """Up to the end of the gate, and what has passed once more as training or scoring reads it."""
    job = load_job({BASE_DIR_VARIABLE: str(base)})
    data = read_channels(job, Communicator(World()), THREADS, lambda: False)
    try:
        train = data.loaders["train"]
        if isinstance(train, StreamLoader):
            _read_stream(data, train, training)
        else:
            for _ in train.training_epoch(2, 0, 0, Augmentation()):
                pass
    finally:
        data.close()


def _read_stream(data: Data, train: StreamLoader, training: bool) -> None:
    batches = train.training_epoch(2, 0, 0, Augmentation()) if training else None
    try:
        for _ in batches or train.evaluation_pass(2):
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


def tell(ended: Ended) -> None:
    """Print what has not ended well."""
    if ended.result not in FINE:
        print(f"{Case(ended.seed).kind}: {ended.result}: {ended.detail[-3000:]}")
        print(f"Again: python benchmarks/fuzz.py --seed {ended.seed}", flush=True)


def summary(cases: Sequence[Ended]) -> str:
    """Counts by kind of file and result, and the cases that took longest and most memory."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for ended in cases:
        counts[Case(ended.seed).kind][ended.result] += 1
    lines = [_counts(kind, counts[kind]) for kind in sorted(counts)]
    slow = max(cases, key=lambda ended: ended.seconds)
    large = max(cases, key=lambda ended: ended.mib)
    lines.append(f"longest: {slow.seconds:.1f} s (seed {slow.seed})")
    lines.append(f"most memory: {large.mib:.0f} MiB more (seed {large.seed})")
    return "\n".join(lines)


def _counts(kind: str, counts: Mapping[str, int]) -> str:
    results = ", ".join(f"{result} {count}" for result, count in sorted(counts.items()))
    return f"{kind:22s} {sum(counts.values()):5d}: {results}"


def run_here(seed: int) -> None:
    """One case with its log on the terminal; its folder stays."""
    folder = FOLDER / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result, detail = run_case(seed, folder)
    print(f"{Case(seed).kind}: {result}\n{detail}\n{folder}")


def main() -> None:
    """Run the cases; the exit code is 1 when one has not ended well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="run the one case of this seed")
    options = parser.parse_args()
    if options.seed is not None:
        run_here(options.seed)
        return
    begun = time.perf_counter()
    folder = FOLDER / f"process-{os.getpid()}"
    seeds = range(options.first, options.first + options.cases)
    cores = len(os.sched_getaffinity(0))
    cases = run_all(seeds, run_case, folder, cores, Limits(), tell)
    shutil.rmtree(folder)
    bad = sum(ended.result not in FINE for ended in cases)
    print(summary(cases))
    print(f"{len(cases)} cases in {time.perf_counter() - begun:.0f} s, {bad} ended badly")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
