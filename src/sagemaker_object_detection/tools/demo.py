"""`object-detection demo`: draw a data set, train on it, serve the model and show its predictions.

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import click
import requests

from sagemaker_object_detection.platform.errors import AlgorithmError, ClientError
from sagemaker_object_detection.platform.logs import METRICS
from sagemaker_object_detection.platform.paths import BASE_DIR_VARIABLE, Paths
from sagemaker_object_detection.tools import demo_data
from sagemaker_object_detection.tools.detectors import endpoint_detector
from sagemaker_object_detection.tools.output import make_folder
from sagemaker_object_detection.tools.predict import GALLERY_FILE, annotate, find_images

SETTINGS: dict[str, Any] = {
    "images": {"train": 350, "validation": 60},
    "seed": 1,
    "unseen": (20_000, 6),  # seed and count of the images that the endpoint sees
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

_GRACE = 15.0


def run(folder: Path, settings: Mapping[str, Any] = SETTINGS) -> Path:
    """Do all of it in `folder`, whose former content by a demo is replaced; return the page.

    The log goes to the screen, and to train.log and serve.log there. Raises AlgorithmError when a
    program fails, or when the validation's mAP stays below what the settings ask for.
    """
    start = time.monotonic()
    folder = folder.absolute()
    paths = Paths(folder / "opt-ml")
    unseen, out = folder / "unseen", folder / "predictions"
    for former in (paths.base, unseen, out):
        shutil.rmtree(former, ignore_errors=True)
    _step(f"Drawing {sum(settings['images'].values())} images in {paths.data_dir}")
    demo_data.write_channels(paths.data_dir, settings["images"], settings["seed"])
    write_config(paths, settings["hyperparameters"], settings["images"])
    seed, count = settings["unseen"]
    unseen.mkdir()
    for number in range(count):
        (unseen / f"{number}.jpg").write_bytes(demo_data.scene(seed, number).jpeg())
    _step("Training: ./train")
    score = _train(folder, paths)
    _step(f"Serving: ./serve, and sending it the images in {unseen}")
    out.mkdir()
    _ask(folder, paths, unseen, out, settings)
    _step(
        f"validation mAP {score:.3f} (at least {settings['least_map']} expected), "
        f"{time.monotonic() - start:.0f} seconds in all"
    )
    if score < settings["least_map"]:
        raise AlgorithmError(
            f"The validation's mAP is {score:.3f}, below {settings['least_map']}. See "
            f"{folder / 'train.log'} for the losses."
        )
    print(f"Predictions on images that training never saw: {out / GALLERY_FILE}")
    return out / GALLERY_FILE


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
    path = folder / "train.log"
    with (
        path.open("w", buffering=1, encoding="utf-8") as log,
        child(_program("train"), _environment(paths), subprocess.PIPE) as train,
    ):
        for line in train.stdout or ():
            log.write(line)
            print(line, end="", flush=True)
            if match := re.search(pattern, line):
                scores.append(float(match[1]))
        code = train.wait()
    if code != 0:
        raise AlgorithmError(f"Training ended with exit code {code}. See {path}.")
    if not scores:
        raise AlgorithmError(f"Training logged no mAP. See {path}.")
    return max(scores)


def _ask(folder: Path, paths: Paths, unseen: Path, out: Path, settings: Mapping[str, Any]) -> None:
    """Start the endpoint, wait until it is healthy, send it the images, stop it."""
    port, timeout = free_port(), settings["start_timeout"]
    url = f"http://127.0.0.1:{port}"
    path = folder / "serve.log"
    environment = _environment(paths, SAGEMAKER_BIND_TO_PORT=str(port))
    with path.open("wb") as log, child(_program("serve"), environment, log) as serve:
        end = time.monotonic() + timeout
        while not _is_healthy(url):
            if (code := serve.poll()) is not None:
                raise AlgorithmError(f"The endpoint ended with exit code {code}. See {path}.")
            if time.monotonic() > end:
                raise AlgorithmError(f"No answer from {url}/ping in {timeout} s. See {path}.")
            time.sleep(0.2)
        with endpoint_detector(url, settings["shown_score"]) as (detect, parallel):
            _, faults = annotate(find_images([unseen], out), detect, list, out, parallel)
    if faults:
        raise AlgorithmError(f"{faults[0]} See {path}.")


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _is_healthy(url: str) -> bool:
    with requests.Session() as session, suppress(requests.RequestException):
        session.trust_env = False  # a proxy is for other machines
        return session.get(f"{url}/ping", timeout=10).status_code == 200
    return False


@contextmanager
def child(
    program: Path, environment: Mapping[str, str], output: int | IO[bytes]
) -> Iterator[subprocess.Popen[str]]:
    """A Python program, with all it starts, that is stopped when the block is left.

    It gets a process group of its own: Ctrl-C reaches us, and the whole group is stopped, first by
    SIGTERM, 15 seconds later by SIGKILL.
    """
    process = subprocess.Popen(
        [sys.executable, str(program)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )

    def kill(number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    with process:
        try:
            yield process
        finally:
            kill(signal.SIGTERM)
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE)
            finally:
                kill(signal.SIGKILL)


@click.command("demo", short_help="Train on drawn images, serve the model and ask it.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/demo"),
    show_default=True,
    help="Where data, model, logs and predictions go.",
)
def command(folder: Path) -> None:
    """Draw a data set, train on it, serve the model and show its predictions."""
    make_folder(folder)
    run(folder)


_GRACE = 15.0
