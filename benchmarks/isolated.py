"""Work that may hang, crash or take all memory, in processes of its own with limits."""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

Run = Callable[[int, Path, Path], tuple[str, str]]
"""Runs the case of a seed in an empty folder; what it prints goes to the file. Gives result and
detail; it must be importable by its name."""


@dataclass(frozen=True)
class Limits:
    """Of one case: seconds, and MiB beside those of the program itself."""

    seconds: float = 20.0
    mib: int = 1024


@dataclass(frozen=True)
class Ended:
    """How a case ended: as its `Run` says, or "a hang", "a crash" or "too much memory"."""

    seed: int
    result: str
    detail: str = ""
    seconds: float = 0.0
    mib: float = 0.0


def run_all(
    seeds: Sequence[int],
    run: Run,
    folder: Path,
    processes: int,
    limits: Limits,
    tell: Callable[[Ended], None],
) -> list[Ended]:
    """Run the cases of these seeds in so many processes at a time; `tell` hears of each."""
    waiting = iter(seeds)
    lock = threading.Lock()
    found: list[Ended] = []

    def work_off(number: int) -> None:
        worker = _Worker(folder / f"worker{number}", run, limits)
        try:
            while True:
                with lock:
                    seed = next(waiting, None)
                if seed is None:
                    return
                ended = worker.run(seed)
                with lock:
                    found.append(ended)
                    tell(ended)
        finally:
            worker.close()

    folder.mkdir(parents=True, exist_ok=True)
    threads = [threading.Thread(target=work_off, args=(number,)) for number in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


class _Worker:
    """A process of `_work`, begun again when a case has ended it."""

    def __init__(self, folder: Path, run: Run, limits: Limits) -> None:
        self._arguments = folder, run, limits
        self._limits = limits
        self._process: multiprocessing.process.BaseProcess | None = None

    def run(self, seed: int) -> Ended:
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._connection, other = context.Pipe()
            self._process = context.Process(target=_work, args=(other, *self._arguments))
            self._process.start()
            other.close()
            self._connection.recv()  # it has begun
        self._connection.send(seed)
        if not self._connection.poll(self._limits.seconds):
            self._process.kill()
            self.close()
            return Ended(seed, "a hang", f"no end in {self._limits.seconds} s")
        try:
            ended: Ended = self._connection.recv()
        except EOFError:
            return Ended(seed, "a crash", f"exit code {self.close()}")
        return ended

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


def _work(connection: Connection, folder: Path, run: Run, limits: Limits) -> None:
    log = folder.with_suffix(".log")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    most = 2**10 * _kib("VmSize") + 2 * 2**20 * limits.mib  # twice, as threads reserve more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    connection.send("begun")
    while True:
        try:
            seed = connection.recv()
        except EOFError:
            return
        shutil.rmtree(folder, ignore_errors=True)
        for place in ("here", "tmp"):
            (folder / place).mkdir(parents=True)
        os.environ["TMPDIR"] = str(folder / "tmp")
        os.chdir(folder / "here")
        os.truncate(log, 0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is from here
        resident, begun = _kib("VmHWM"), time.perf_counter()
        result, detail = run(seed, folder, log)
        mib = (_kib("VmHWM") - resident) / 2**10
        if mib > limits.mib:
            result, detail = "too much memory", f"{mib:.0f} MiB"
        connection.send(Ended(seed, result, detail, time.perf_counter() - begun, mib))


def _kib(key: str) -> int:
    """A number of /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    raise KeyError(key)
