"""One wide worker against several narrow ones, and pictures one by one against two at a time.

python benchmarks/workers.py [--precision int8] [--rounds 3] [--seconds 15]
Needs hey (Debian's hey). ResNet-50 at 512 px, the artefact of benchmarks/serving.py (made if it is
not there). For each arrangement, in turns: the median of one client, requests a second and the
median of 16 clients, megabytes of all workers.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path

import data
import serving

CORES = len(os.sched_getaffinity(0))
ARRANGEMENTS = {
    "one worker, all cores for a picture": {},
    "one worker, a core for a picture": {"OBJECT_DETECTION_MAX_BATCH": str(CORES)},
    f"{CORES} workers of one core": {"SAGEMAKER_MODEL_SERVER_WORKERS": str(CORES)},
    f"{CORES} workers of all cores": {
        "SAGEMAKER_MODEL_SERVER_WORKERS": str(CORES),
        "OMP_NUM_THREADS": str(CORES),
    },
}


def _megabytes(server: int) -> float:
    workers = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    total = 0
    for worker in workers:
        lines = Path(f"/proc/{worker}/smaps_rollup").read_text().splitlines()
        total += int(next(line.split()[1] for line in lines if line.startswith("Pss:")))
    return total / 1024


def main() -> None:
    """Take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=15)
    options = parser.parse_args()
    base = data.BUILD / "serving"
    if not (base / "model").is_dir():
        serving.make_artifact(base)
    print(data.machine(), f"ResNet-50 at {serving.SIDE} px, {options.precision}", flush=True)
    for number in range(options.rounds):
        for name, environ in ARRANGEMENTS.items():
            with serving.serving(base, options.precision, **environ) as (server, _):
                serving.hey(base, "-n", serving.WARM_UP * CORES, "-c", CORES)
                alone = statistics.median(serving.hey(base, "-n", 40, "-c", 1))
                many = serving.hey(base, "-z", f"{options.seconds}s", "-c", serving.CLIENTS)
                print(
                    f"round {number}, {name}: one client {1000 * alone:.0f} ms; "
                    f"{serving.CLIENTS} clients {len(many) / options.seconds:.1f}/s, "
                    f"{1000 * statistics.median(many):.0f} ms; {_megabytes(server.pid):.0f} MB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
