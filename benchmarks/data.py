"""The real data of the benchmarks, and the machine they ran on."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
from pathlib import Path

from sagemaker_object_detection.tools.conversion import convert

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "benchmarks"
NUM_CLASSES = 3
TRAINING_IMAGES = 205
SPLITS = [("train", "train"), ("val", "validation"), ("test", "test")]


def bccd(writer: str = "recordio") -> Path:
    """The BCCD channels in one input form; BCCD_DIR names the data set's folder.

    Raises:
        SystemExit: the data set is not there.
    """
    source = Path(os.environ.get("BCCD_DIR", ROOT.parent / "shared" / "data" / "bccd" / "BCCD"))
    if not source.is_dir():
        raise SystemExit(f"BCCD is not at {source}: set BCCD_DIR to its folder (with Annotations).")
    folder = BUILD / f"bccd-{writer}"
    if not (folder / "test").is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        convert(source, folder, SPLITS, writer=writer)
    return folder


def machine() -> str:
    """The date and the processor, for a figure's caption."""
    model = platform.processor() or "unknown processor"
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        for line in cpu_info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0))
    return f"{datetime.datetime.now(datetime.UTC).date()}, {model}, {cores} cores"
