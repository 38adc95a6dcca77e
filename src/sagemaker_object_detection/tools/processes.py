"""Child processes that never outlive us."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

_GRACE = 15.0


class Child:
    """A process, with all it starts, that is stopped when the block around it is left.

    What it prints goes to the file `log` and, if asked, to the screen too (then `lines` must be
    read to the end). It gets a process group of its own: Ctrl-C reaches us, and we stop the whole
    group, first by SIGTERM, 15 seconds later by SIGKILL.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, echo: bool = False
    ) -> None:
        self._log = log.open("w", buffering=1, encoding="utf-8")
        try:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if echo else self._log,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except BaseException:
            self._log.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._stop()
        finally:
            if self._process.stdout is not None:
                self._process.stdout.close()
            self._log.close()

    def lines(self) -> Iterator[str]:
        """What the process prints, line by line, shown and logged on the way."""
        if self._process.stdout is None:
            raise ValueError("only a child that echoes has lines to read")
        for line in self._process.stdout:
            self._log.write(line)
            print(line, end="", flush=True)
            yield line

    def wait(self) -> int:
        """Wait for the end; its exit code, or minus the signal that ended it."""
        return self._process.wait()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def _stop(self) -> None:
        self._signal(signal.SIGTERM)
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE)
        finally:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the whole group, if anyone of it is left."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Inside the block SIGTERM, and SIGHUP of a terminal that is closed, raise SystemExit.

    So all is cleared away as by Ctrl-C. A signal that is ignored, as under nohup, stays so.
    """

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    heeded = [number for number, handler in former.items() if handler != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, former[number])
