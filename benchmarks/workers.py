"""One wide worker against several narrow ones, and pictures one by one against two at a time.

python benchmarks/workers.py [--precision int8] [--rounds 3] [--seconds 15]
Needs hey (Debian's hey). ResNet-50 at 512 px, made if it is not there. For each arrangement, in
turns: the median of one client, requests a second and the median of 16 clients, megabytes of all
workers.
"""

from __future__ import annotations

import argparse
import os
import statistics

import data
from endpoint import CLIENTS, SIDE, WARM_UP, answered, make_artifact, running
from processes import children, proportional_mib

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


def main() -> None:
    """Take turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=15)
    options = parser.parse_args()
    make_artifact()
    print(data.machine(), f"ResNet-50 at {SIDE} px, {options.precision}", flush=True)
    for number in range(options.rounds):
        for name, environ in ARRANGEMENTS.items():
            with running(options.precision, **environ) as (server, _):
                answered("-n", WARM_UP * CORES, "-c", CORES)
                alone = statistics.median(answered("-n", 40, "-c", 1))
                many = answered("-z", f"{options.seconds}s", "-c", CLIENTS)
                memory = sum(map(proportional_mib, children(server.pid)))
                print(
                    f"round {number}, {name}: one client {1000 * alone:.0f} ms; "
                    f"{CLIENTS} clients {len(many) / options.seconds:.1f}/s, "
                    f"{1000 * statistics.median(many):.0f} ms; {memory:.0f} MB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
