"""Build the container image, and try it as the platform uses it.

    container/image.py --tool docker --tag TAG build test

The tool is a container engine with docker's command line, or any program that knows
`build TAG` and `run [-v DIR:/opt/ml] [-e NAME=VALUE] TAG COMMAND` (on the host's network).
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ENGINES = {"docker", "nerdctl", "podman"}
IMAGES = {"train": 24, "validation": 8}
HYPERPARAMETERS: dict[str, object] = {
    "base_network": "mobilenet1.0",
    "image_shape": 300,
    "num_classes": 3,
    "num_training_samples": IMAGES["train"],
    "mini_batch_size": 4,
    "epochs": 1,
    "use_pretrained_model": 0,
}
ARTEFACT = {
    "hyperparams.json",
    "model.json",
    "model_algo_1-0000.params",
    "model_algo_1-symbol.json",
}
# What the platform leaves a container between SIGTERM and SIGKILL.
STOP_SECONDS = 30


class Tool:
    """The program that builds and runs images."""

    def __init__(self, name: str, tag: str) -> None:
        # The tool is run from another folder than ours.
        self.name = str(Path(name).resolve()) if "/" in name else name
        self.tag = tag
        self.is_engine = Path(name).name in ENGINES

    def build(self) -> None:
        command = ["build", "-t", self.tag, "."] if self.is_engine else ["build", self.tag]
        subprocess.run([self.name, *command], cwd=REPOSITORY, check=True)

    def run(
        self, base: Path, program: str, log: Path, port: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start `train` or `serve` with `base` as /opt/ml.

        The process returned is the tool's: it passes signals on to the container and ends with
        the container's exit code.
        """
        options = ["-v", f"{base}:/opt/ml"]
        if port is not None:
            options += ["-e", f"SAGEMAKER_BIND_TO_PORT={port}"]
        if self.is_engine:
            options += ["--rm", *(["-p", f"127.0.0.1:{port}:{port}"] if port else [])]
        with log.open("wb") as output:
            return subprocess.Popen(
                [self.name, "run", *options, self.tag, program],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )


@contextlib.contextmanager
def running(
    tool: Tool, base: Path, program: str, port: int | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """A container and a function that reads its log so far; shows the log if the block fails."""
    log = base.parent / f"{program}.log"
    process = tool.run(base, program, log, port)
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


def make_job(base: Path, changes: dict[str, object]) -> None:
    """An /opt/ml for training: drawn pictures in RecordIO channels, and the job's description."""
    from sagemaker_object_detection.platform.paths import Paths
    from sagemaker_object_detection.tools.demo import write_config
    from sagemaker_object_detection.tools.demo_data import write_channels

    paths = Paths(base)
    write_channels(paths.data_dir, IMAGES, seed=1)
    write_config(paths, HYPERPARAMETERS | changes, IMAGES)
    for folder in (paths.model_dir, paths.output_data_dir):
        folder.mkdir(parents=True)


def test_wrong_job_is_refused(tool: Tool, folder: Path) -> None:
    make_job(folder / "ml", {"epochs": "many"})
    with running(tool, folder / "ml", "train") as (process, _):
        assert process.wait(120) == 2
        assert "epochs" in (folder / "ml/output/failure").read_text()


def test_training_is_stopped_by_sigterm(tool: Tool, folder: Path) -> None:
    make_job(folder / "ml", {"epochs": 500})
    with running(tool, folder / "ml", "train") as (process, log):
        wait_until(lambda: "#progress_metric" in log() or process.poll() is not None, 300, "epoch")
        stop(process)
    assert {file.name for file in (folder / "ml/model").iterdir()} >= ARTEFACT


def test_train_then_serve(tool: Tool, folder: Path) -> None:
    from sagemaker_object_detection.tools.demo import free_port
    from sagemaker_object_detection.tools.demo_data import scene

    base = folder / "ml"
    make_job(base, {})
    with running(tool, base, "train") as (process, _):
        assert process.wait(600) == 0
        assert {file.name for file in (base / "model").iterdir()} >= ARTEFACT
        assert not (base / "output/failure").exists()

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with running(tool, base, "serve", port) as (process, _):
        wait_until(lambda: is_healthy(address) or process.poll() is not None, 120, "/ping")
        request = urllib.request.Request(
            f"{address}/invocations", scene(2, 0).jpeg(), {"Content-Type": "image/jpeg"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            predictions = json.load(response)["predictions"]
        assert predictions, "even a model that has seen little answers with low scores"
        assert all({"class_id", "score", "bbox"} <= set(row) for row in predictions)
        stop(process)


def is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/ping", timeout=10) as response:
            return bool(response.status == 200)
    except OSError:
        return False


TESTS = (test_wrong_job_is_refused, test_train_then_serve, test_training_is_stopped_by_sigterm)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tool", default="docker")
    parser.add_argument("--tag", default="sagemaker-object-detection:cpu")
    parser.add_argument("verbs", nargs="+", choices=["build", "test"])
    options = parser.parse_args()
    tool = Tool(options.tool, options.tag)
    if "build" in options.verbs:
        tool.build()
    if "test" in options.verbs:
        for test in TESTS:
            start = time.monotonic()
            # Under an engine that runs as root, what the container wrote is not ours to remove.
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                test(tool, Path(folder))
            print(f"{test.__name__}: passed in {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
