"""The program that builds and runs images, and containers while they run."""

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ENGINES = {"docker", "nerdctl", "podman"}
# What the platform leaves a container between SIGTERM and SIGKILL.
STOP_SECONDS = 30


@dataclass(frozen=True)
class Tool:
    """A container engine, or a script that knows `build TAG [OPTIONS]` and
    `run [OPTIONS] TAG COMMAND...` with docker's options, on the host's network.

    Attributes:
        name: of the program, or its path.
        tag: of the image.
        options: for every run.
    """

    name: str
    tag: str
    options: tuple[str, ...] = ()

    @property
    def is_engine(self) -> bool:
        return Path(self.name).name in ENGINES

    @property
    def _program(self) -> str:
        # The tool is run from another folder than ours.
        return str(Path(self.name).resolve()) if "/" in self.name else self.name

    def build(self, device: str, weights: str = "none") -> None:
        values = (f"DEVICE={device}", f"WEIGHTS={weights}")
        argument = [part for value in values for part in ("--build-arg", value)]
        tag = ["-t", self.tag] if self.is_engine else [self.tag]
        context = ["."] if self.is_engine else []
        command = [self._program, "build", *tag, *argument, *context]
        subprocess.run(command, cwd=REPOSITORY, check=True)

    def command(self, program: Sequence[str], options: Sequence[str] = ()) -> list[str]:
        """What runs a program in a new container, removed when it ends."""
        removed = ["--rm"] if self.is_engine else []
        return [self._program, "run", *removed, *self.options, *options, self.tag, *program]

    def ask(self, program: Sequence[str], options: Sequence[str] = ()) -> str:
        """What a program prints, which has to end with success."""
        answer = subprocess.run(
            self.command(program, options), capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, f"exit code {answer.returncode}: {answer.stderr[-2000:]}"
        return answer.stdout


@contextlib.contextmanager
def running(
    tool: Tool, base: Path, program: str, port: int | None = None, options: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """`train` or `serve` with `base` as /opt/ml, and a function that reads its log so far.

    The process is the tool's: it passes signals on to the container and ends with the container's
    exit code. The log is shown if the block fails.
    """
    log = base.parent / f"{program}.log"
    options = ["-v", f"{base}:/opt/ml", *options]
    if port is not None:
        options += ["-e", f"SAGEMAKER_BIND_TO_PORT={port}"]
        options += ["-p", f"127.0.0.1:{port}:{port}"] if tool.is_engine else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            tool.command([program], options),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process, lambda: log.read_text(errors="replace")
    except BaseException:
        print(f"---- log of {program}\n{log.read_text(errors='replace')}----", file=sys.stderr)
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_SECONDS + 15)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.1)


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM reaches the program, which ends in time and with success."""
    assert process.poll() is None, f"ended before SIGTERM, exit code {process.returncode}"
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_SECONDS) == 0, f"exit code {process.returncode} after SIGTERM"


def is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/ping", timeout=10) as response:
            return bool(response.status == 200)
    except OSError:
        return False


Trial = Callable[[Tool, Path], None]


def run_trials(tool: Tool, trials: Iterable[Trial]) -> None:
    for trial in trials:
        start = time.monotonic()
        # Under an engine that runs as root, what the container wrote is not ours to remove.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            trial(tool, Path(folder))
        print(f"{trial.__name__}: passed in {time.monotonic() - start:.0f} s", flush=True)
