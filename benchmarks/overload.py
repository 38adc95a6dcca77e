"""Ten times the requests that the endpoint can do, and ten thousand bodies that are no pictures.

python benchmarks/overload.py [--seconds 60] [--bodies 10000] [--precision auto]
Needs hey (Debian's hey). ResNet-50 at 512 px, made if it is not there. Prints how each request
ended, how long the good ones took, and the memory of the worker: after a first overload of 10
seconds, the most and at the end.
"""

from __future__ import annotations

import argparse
import http.client
import random
import re
import statistics
import threading
from collections import Counter
from contextlib import closing

import data
import endpoint
from endpoint import hey, logged
from processes import children, resident_mib

OVERLOAD = 10
CLIENTS = 400


class Memory(threading.Thread):
    """Samples a process's resident megabytes each half second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self.samples: list[float] = [resident_mib(pid)]

    def run(self) -> None:
        """Called by start."""
        while not self._ended.wait(0.5):
            self.samples.append(resident_mib(self._pid))

    def stop(self) -> list[float]:
        """End; the samples."""
        self._ended.set()
        self.join()
        return self.samples


def load(seconds: float, each: float) -> tuple[Counter[str], list[str]]:
    """How often each status came, and how requests failed that got no answer.

    each: requests a second of a client.
    """
    told, _, errors = hey("-z", f"{seconds}s", "-c", CLIENTS, "-q", each, "-t", 60).partition(
        "Error distribution:"
    )
    statuses = {code: int(n) for code, n in re.findall(r"\[(\d+)\]\s+(\d+) responses", told)}
    return Counter(statuses), errors.split("\n")[1:]


def good_seconds() -> list[float]:
    """Of the requests that succeeded, by the endpoint's log."""
    return [one["ms"]["total"] / 1000 for one in logged() if one["status"] == 200]


def nonsense(count: int) -> Counter[int]:
    """Statuses of bodies that are noise, pieces of a picture, or a picture with errors in it."""
    chance = random.Random(1)
    picture = (endpoint.BASE / "picture.jpg").read_bytes()
    statuses: Counter[int] = Counter()
    with closing(http.client.HTTPConnection("127.0.0.1", endpoint.PORT, timeout=60)) as client:
        for number in range(count):
            body = bytearray(picture[: chance.randrange(1, len(picture))])
            if number % 3 == 0:
                body = bytearray(chance.randbytes(chance.randrange(1, 2**16)))
            elif number % 50 == 1:
                body = bytearray(picture)
                for _ in range(chance.randrange(1, 100)):
                    body[chance.randrange(len(body))] = chance.randrange(256)
            client.request("POST", "/invocations", bytes(body))
            answer = client.getresponse()
            answer.read()
            statuses[answer.status] += 1
    return statuses


def main() -> None:
    """Measure what it can do alone, then ask for ten times as much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--bodies", type=int, default=10_000)
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    endpoint.make_artifact()
    print(data.machine(), f"ResNet-50 at {endpoint.SIDE} px, {options.precision}", flush=True)
    with endpoint.running(options.precision) as (server, _):
        (worker,) = children(server.pid)
        rate = len(endpoint.answered("-z", "10s", "-c", endpoint.CLIENTS)) / 10
        each = OVERLOAD * rate / CLIENTS
        load(10, each)
        earlier = len(good_seconds())
        memory = Memory(worker)
        memory.start()
        statuses, errors = load(options.seconds, each)
        samples = memory.stop()
        good, total = good_seconds()[earlier:], sum(statuses.values())
        print(
            f"alone {rate:.1f}/s; for {options.seconds} s {total / options.seconds:.0f}/s were "
            f"asked for: {dict(statuses)}, without an answer: {errors or 'none'}; good ones "
            f"{len(good) / options.seconds:.1f}/s, median {statistics.median(good):.2f} s, "
            f"slowest {max(good):.2f} s; worker "
            f"{samples[0]:.0f} MB before, {min(samples):.0f} to {max(samples):.0f} during, "
            f"{samples[-1]:.0f} at the end"
        )
        before = resident_mib(worker)
        print(
            f"{options.bodies} random bodies: {dict(nonsense(options.bodies))}; worker "
            f"{before:.0f} MB before, {resident_mib(worker):.0f} after"
        )
        same = children(server.pid) == [worker]
        print(f"the same worker: {same}; a good request: ", end="")
        print(f"{len(endpoint.answered('-n', 1, '-c', 1))} answered")


if __name__ == "__main__":
    main()
