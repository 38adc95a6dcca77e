"""`make demo`: draw a data set, train on it, serve the model and ask about a picture it never saw.

Everything lives below one folder, build/demo by default, in the layout SageMaker gives a container,
and the programs that run are the very `train` and `serve` that the container runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
import cv2
import msgspec

from sagemaker_object_detection.images import decode
from sagemaker_object_detection.platform.errors import AlgorithmError, ClientError
from sagemaker_object_detection.platform.logs import METRICS
from sagemaker_object_detection.platform.paths import BASE_DIR_VARIABLE, Paths
from sagemaker_object_detection.tools import demo_data
from sagemaker_object_detection.tools.detectors import Prediction
from sagemaker_object_detection.tools.drawing import draw_detections
from sagemaker_object_detection.tools.output import make_folder

SETTINGS: dict[str, Any] = {
    "images": {"train": 350, "validation": 60},
    "seed": 1,
    "unseen": (20_000, 5),
    "least_map": 0.5,
    "shown_score": 0.3,
    "start_timeout": 120,
    "hyperparameters": {
        "base_network": "resnet-18",
        "image_shape": 300,
        "num_classes": len(demo_data.CLASS_NAMES),
        "num_training_samples": 350,
        "mini_batch_size": 8,
        "epochs": 5,
        "optimizer": "adam",
        "learning_rate": 0.0005,
        "lr_schedule": "cosine",
        "warmup_steps": 30,
        "augmentation": "False",
        "use_pretrained_model": 0,
    },
}


_HERE = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine, whatever proxy the environment has for others."""


def run(folder: Path, settings: Mapping[str, Any] = SETTINGS) -> Path:
    """Do all of it in `folder`, whose former content by a demo is replaced; return the picture.

    The log goes to the screen, and to train.log and serve.log there. Raises AlgorithmError when a
    program fails, or when the validation's mAP stays below what the settings ask for.
    """
    start = time.monotonic()
    folder = folder.absolute()
    paths = Paths(folder / "opt-ml")
    if paths.base.exists():
        shutil.rmtree(paths.base)
    _step(f"Drawing {sum(settings['images'].values())} pictures in {paths.data_dir}")
    demo_data.write_channels(paths.data_dir, settings["images"], settings["seed"])
    write_config(paths, settings["hyperparameters"], settings["images"])
    _step("Training: ./train")
    score = _train(folder, paths)
    drawn = demo_data.scene(*settings["unseen"])
    unseen = folder / "unseen.jpg"
    unseen.write_bytes(drawn.jpeg())
    _step(f"Serving: ./serve, and asking it about {unseen}")
    answer = _ask(folder, paths, unseen.read_bytes(), settings["start_timeout"])
    (folder / "answer.json").write_text(json.dumps(answer) + "\n")
    found = [p for p in answer["predictions"] if p["score"] >= settings["shown_score"]]
    picture = folder / "annotated.png"
    _annotate(unseen, found, picture)
    _step(
        f"validation mAP {score:.3f} (at least {settings['least_map']} expected), "
        f"{time.monotonic() - start:.0f} seconds in all"
    )
    print(
        f"The endpoint found {len(found)} objects with a score of at least "
        f"{settings['shown_score']} (all it answered: {folder / 'answer.json'}):"
    )
    print(_show(found))
    if score < settings["least_map"]:
        raise AlgorithmError(
            f"The validation's mAP is {score:.3f}, below {settings['least_map']}. See "
            f"{folder / 'train.log'} for how the losses went."
        )
    print(picture)
    return picture


def write_config(
    paths: Paths, hyperparameters: Mapping[str, object], channels: Mapping[str, object]
) -> None:
    """Write the JSON files that SageMaker gives a training container, for RecordIO channels."""
    channel = {
        "ContentType": "application/x-recordio",
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }
    host = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}
    paths.config_dir.mkdir(parents=True, exist_ok=True)
    for file, content in (
        (paths.hyperparameters_file, {name: str(v) for name, v in hyperparameters.items()}),
        (paths.input_data_config_file, dict.fromkeys(channels, channel)),
        (paths.resource_config_file, host),
    ):
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _step(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _program(name: str) -> Path:
    """`train` or `serve`: of the checkout this module lies in, else on the PATH."""
    checkout = Path(__file__).resolve().parents[3] / name
    found = checkout if checkout.is_file() else shutil.which(name)
    if found is None:
        raise ClientError(f"{checkout} does not exist. Run the demo from a checkout.")
    return Path(found)


def _environment(paths: Paths, **more: str) -> dict[str, str]:
    """Our environment without what would change how the programs behave."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SAGEMAKER_", "OBJECT_DETECTION_", "SM_"))
    }
    return {**inherited, "PYTHONUNBUFFERED": "1", BASE_DIR_VARIABLE: str(paths.base), **more}


def _train(folder: Path, paths: Paths) -> float:
    """Train; return the best mAP that was logged, which is that of the model kept."""
    pattern = next(m.regex for m in METRICS if m.name == "validation:mAP")
    scores = []
    command = [sys.executable, str(_program("train"))]
    with Child(command, _environment(paths), folder / "train.log", echo=True) as train:
        for line in train.lines():
            if match := re.search(pattern, line):
                scores.append(float(match[1]))
        code = train.wait()
    if code != 0:
        raise AlgorithmError(f"Training ended with exit code {code}. See {folder / 'train.log'}.")
    if not scores:
        raise AlgorithmError(f"Training logged no mAP. See {folder / 'train.log'}.")
    return max(scores)


def _ask(folder: Path, paths: Paths, picture: bytes, timeout: float) -> dict[str, Any]:
    """Start the endpoint, wait until it is healthy, send the picture, stop the endpoint."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environment = _environment(paths, SAGEMAKER_BIND_TO_PORT=str(port))
    log = folder / "serve.log"
    with Child([sys.executable, str(_program("serve"))], environment, log) as serve:
        end = time.monotonic() + timeout
        while not _is_healthy(address):
            if (code := serve.poll()) is not None:
                raise AlgorithmError(f"The endpoint ended with exit code {code}. See {log}.")
            if time.monotonic() > end:
                raise AlgorithmError(f"No answer from {address}/ping in {timeout} s. See {log}.")
            time.sleep(0.2)
        request = urllib.request.Request(
            f"{address}/invocations",
            data=picture,
            headers={"Content-Type": "image/jpeg", "Accept": "application/json;format=objects"},
        )
        try:
            with _HERE.open(request, timeout=60) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise AlgorithmError(
                f"The endpoint answered {error.code}: {text}. See {log}."
            ) from None
    return answer


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _is_healthy(address: str) -> bool:
    try:
        with _HERE.open(f"{address}/ping", timeout=10) as response:
            healthy: bool = response.status == 200
    except OSError:
        return False
    return healthy


def _show(found: Sequence[Mapping[str, Any]]) -> str:
    """The answer as JSON with one prediction a line."""
    lines = ",\n".join(f"  {json.dumps(prediction)}" for prediction in found)
    return f'{{"predictions": [\n{lines}\n]}}'


def _annotate(unseen: Path, found: Sequence[Mapping[str, Any]], picture: Path) -> None:
    predictions = msgspec.convert(found, list[Prediction])
    drawn = draw_detections(decode(unseen.read_bytes()), predictions)
    if not cv2.imwrite(str(picture), drawn[..., ::-1]):
        raise OSError(f"{picture} could not be written")


@click.command("demo", short_help="Train on drawn pictures, serve the model and ask it.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/demo"),
    show_default=True,
    help="Where data, model, logs and the picture go.",
)
def command(folder: Path) -> None:
    """Draw a data set, train on it, serve the model and annotate an unseen picture."""
    make_folder(folder)
    run(folder)


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
