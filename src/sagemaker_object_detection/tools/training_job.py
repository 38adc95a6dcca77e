"""A training job on this machine: the tree of /opt/ml in a folder of the user, and its program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from sagemaker_object_detection.platform import hyperparameters as table
from sagemaker_object_detection.platform.errors import (
    AlgorithmError,
    ClientError,
    JobError,
    PlatformError,
)
from sagemaker_object_detection.platform.job import DEFAULT_CHECKPOINT_DIR
from sagemaker_object_detection.platform.kinds import Names
from sagemaker_object_detection.platform.paths import BASE_DIR_VARIABLE, Paths
from sagemaker_object_detection.platform.python_process import with_package
from sagemaker_object_detection.tools.output import make_writable
from sagemaker_object_detection.tools.training_data import (
    check_splits,
    choose_splits,
    find_data,
    link_channels,
)

COUNTED = ("num_classes", "num_training_samples")
"""Hyperparameters that are counted in the data."""
BASE_NETWORK = "resnet-50"
"""The default here; the service's is vgg-16."""

_PROGRAM = "sagemaker_object_detection.training.main"
_ABOUT = "train.json"
_MADE_HERE = ("input", "model", "output", "checkpoints")
_HOST = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"}


def prepare(
    data: Path,
    out: Path,
    given: Mapping[str, object],
    *,
    validation: Path | None = None,
    form: str | None = None,
    attribute_names: tuple[str, ...] = (),
    overwrite: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Paths:
    """Check the data and write the tree of a job that trains on it.

    Args:
        data, validation: a folder or a file of any format that training reads.
        out: a new or an empty folder.
        given: hyperparameters by name, without COUNTED.
        form: the format of `data`, a key of SPLITS; None recognizes it.
        attribute_names: of a manifest with several annotations, the image's first.
        overwrite: replaces an earlier run in `out`, once the data was checked.
        tell: gets lines about what was found.

    Raises:
        ClientError: hyperparameters, data or `out` that cannot be used; nothing was written.
    """
    paths = Paths(out.expanduser().absolute())
    hyperparameters = _parse(given)
    _check_out(paths.base, overwrite)
    for source in filter(None, (data, validation)):
        _check_source(source, paths.base)
    other = None if validation is None else find_data(validation)
    splits = choose_splits(find_data(data, form), other, hyperparameters.validation_share)
    found, lines = check_splits(splits, hyperparameters, attribute_names)
    for line in lines:
        tell(line)
    make_writable(paths.base)
    for name in _MADE_HERE:  # of an earlier run
        shutil.rmtree(paths.base / name, ignore_errors=True)
    _write(paths.base / _ABOUT, _about(data, validation))
    counted = {
        "num_classes": str(len(found.class_names)),
        "num_training_samples": str(found.tallies["train"].images),
        "class_names": json.dumps(found.class_names, ensure_ascii=False),
    }
    channels = link_channels(splits, found.class_names, attribute_names, paths.data_dir)
    _write(paths.hyperparameters_file, {"base_network": BASE_NETWORK, **given, **counted})
    _write(paths.input_data_config_file, channels)
    _write(paths.resource_config_file, _HOST)
    _write(paths.checkpoint_config_file, {"LocalPath": DEFAULT_CHECKPOINT_DIR})
    return paths


def reopen(
    out: Path,
    given: Mapping[str, object],
    data: Path | None = None,
    validation: Path | None = None,
) -> Paths:
    """The job of an earlier run in `out`, with these hyperparameters changed.

    Raises ClientError: there is none, or it was of other data.
    """
    paths = Paths(out.expanduser().absolute())
    if not paths.checkpoint_config_file.is_file() or not (paths.base / _ABOUT).is_file():
        raise ClientError(f"{out} holds no training run to resume. Train without --resume first.")
    former = json.loads((paths.base / _ABOUT).read_text(encoding="utf-8"))
    for name, path in _about(data, validation).items():
        if path is not None and path != former[name]:
            raise ClientError(
                f"The run in {out} has {former[name]} as {name}, not {path}. Leave that out to "
                "resume the run, or train in another --out."
            )
    changed = {**json.loads(paths.hyperparameters_file.read_text(encoding="utf-8")), **given}
    table.parse(changed)
    _write(paths.hyperparameters_file, changed)
    return paths


def run(paths: Paths) -> int:
    """Train in a child process; return its exit code.

    SIGINT and SIGTERM are forwarded: SIGTERM ends the training at the next batch, with the best
    model in place, SIGINT at once.
    """
    environ = {n: v for n, v in os.environ.items() if not n.startswith(("SAGEMAKER_", "SM_"))}
    with _forwarding() as children:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", _PROGRAM],
            env=with_package({**environ, BASE_DIR_VARIABLE: str(paths.base)}),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # else Ctrl-C would reach it twice
        )
        children.append(process)
        code = process.wait()
    return code if code >= 0 else 128 - code


def failure_of(paths: Paths, code: int) -> JobError:
    """What ended a training with this exit code, as it was written down."""
    kinds: dict[int, type[JobError]] = {2: ClientError, 3: PlatformError}
    kind = kinds.get(code, AlgorithmError)
    text = f"Training ended with exit code {code}. The log tells more."
    if paths.failure_file.is_file():
        text = paths.failure_file.read_text(encoding="utf-8").removeprefix(f"{kind.label}: ")
    return kind(text)


@contextmanager
def _forwarding() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Inside the block signals to end go to the processes in the list."""
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: FrameType | None) -> None:
        for child in children:
            child.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    former: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with suppress(ValueError):  # not in the main thread, which alone handles signals
            if signal.getsignal(number) != signal.SIG_IGN:
                former[number] = signal.signal(number, forward)
    try:
        yield children
    finally:
        for taken, handler in former.items():
            signal.signal(taken, handler)


def _parse(given: Mapping[str, object]) -> table.Hyperparameters:
    """Check hyperparameters before anything is counted. Raises ClientError with all faults."""
    counted = [name for name in COUNTED if name in given]
    if counted:
        raise ClientError(f"{', '.join(counted)}: counted in the data here. Leave it out.")
    names, count = given.get("class_names"), 1
    with suppress(ValueError):  # which parse reports
        count = len(names if isinstance(names, list) else Names().parse(str(names or "a")))
    placeholders = {"num_classes": count, "num_training_samples": 1}
    return table.parse({"base_network": BASE_NETWORK, **given, **placeholders})


def _check_out(out: Path, overwrite: bool) -> None:
    if out.is_file():
        raise ClientError(f"{out} is a file. Give another --out.")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / _ABOUT).is_file():
        raise ClientError(f"{out} is not empty and holds no training run. Give another --out.")
    if not overwrite:
        raise ClientError(
            f"{out} holds a training run. Continue it with --resume, replace it with --overwrite, "
            "or give another --out."
        )


def _check_source(source: Path, out: Path) -> None:
    if not source.exists():
        raise ClientError(f"{source} does not exist. Give the folder or the file of the data.")
    data, out = source.resolve(), out.resolve()
    if out.is_relative_to(data) or data.is_relative_to(out):
        raise ClientError(
            f"--out ({out}) and the data ({data}) must not contain each other: what training "
            "writes would be read as data. Give an --out next to the data."
        )


def _about(data: Path | None, validation: Path | None) -> dict[str, str | None]:
    given = {"data": data, "validation": validation}
    return {name: None if path is None else str(path.resolve()) for name, path in given.items()}


def _write(file: Path, content: Mapping[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
