"""How long processes take to agree on an update: one gather of 16 bytes through the first host.

python benchmarks/agreement.py [--sizes 2 8 32] [--rounds 500]
All of them are processes of this machine, over loopback.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import time

import data

from sagemaker_object_detection.platform.peer import Member
from sagemaker_object_detection.platform.rendezvous import join

LOCAL = "127.0.0.1"


def run(rank: int, size: int, port: int, rounds: int) -> float:
    """One process; the median seconds of a gather."""
    members = [Member(number, LOCAL) for number in range(size)]
    group = join(members, rank, LOCAL, port, b"agreement", print, 60)
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        group.gather(bytes(16))
        taken.append(time.perf_counter() - begun)
    group.barrier()
    group.close()
    return statistics.median(taken)


def main() -> None:
    """Start the processes of each size, with rank 0 in this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[2, 8, 32])
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--one", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run(*options.one, options.rounds)
        return
    print(data.machine())
    for size in options.sizes:
        with socket.create_server((LOCAL, 0)) as server:
            port = server.getsockname()[1]
        others = [
            subprocess.Popen(
                [sys.executable, __file__, "--rounds", str(options.rounds), "--one"]
                + [str(x) for x in (rank, size, port)]
            )
            for rank in range(1, size)
        ]
        print(f"{size} processes: {1e6 * run(0, size, port, options.rounds):.0f} us", flush=True)
        for other in others:
            other.wait()


if __name__ == "__main__":
    main()
