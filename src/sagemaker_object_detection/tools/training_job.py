"""A training job on this machine: its folder tree, and the program of the container that runs it.

The tree is the one that SageMaker mounts at /opt/ml, in a folder of the user.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import DEFAULT_CHECKPOINT_DIR, DEFAULT_HOST
from sagemaker_object_detection.platform.list_kinds import Names
from sagemaker_object_detection.platform.paths import BASE_DIR_VARIABLE, Paths
from sagemaker_object_detection.platform.python_process import with_package

COUNTED = ("num_classes", "num_training_samples")
"""Hyperparameters that are counted in the data."""
BASE_NETWORK = "resnet-50"
"""The default here; that of the service is vgg-16, which is slower and no better."""

_PROGRAM = "sagemaker_object_detection.training.main"
_ABOUT = "train.json"
_MADE_HERE = ("input", "model", "output", "checkpoints")


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
        data: a folder or a file of any format that training reads.
        out: a new or an empty folder.
        given: hyperparameters by name; COUNTED are none of them.
        validation: data of its own for the channel validation.
        form: the format of `data`; None recognizes it.
        attribute_names: of a manifest with several annotations, the image's first.
        overwrite: replaces an earlier run in `out`, once the data was checked.
        tell: gets lines about what was found.

    Raises:
        ClientError: hyperparameters, data or `out` that cannot be used. Nothing was written then.
    """
    paths = Paths(out.expanduser().absolute())
    hyperparameters = _parse(given)
    _check_out(paths, overwrite)
    for source in filter(None, (data, validation)):
        if not source.exists():
            raise ClientError(f"{source} does not exist. Give the folder or the file of the data.")
        _check_apart(source, paths)

    # Slow to import, and the faults above are known before.
    from sagemaker_object_detection.tools.folders import make_writable
    from sagemaker_object_detection.tools.training_data import (
        check_data,
        choose_splits,
        find_data,
        link_channels,
    )

    splits, remarks = choose_splits(
        find_data(data, form),
        None if validation is None else find_data(validation),
        hyperparameters.validation_share,
    )
    checked = check_data(splits, hyperparameters, attribute_names)
    for line in (*remarks, *checked.remarks, *checked.summary()):
        tell(line)
    make_writable(paths.base)
    for name in _MADE_HERE if overwrite else ():
        shutil.rmtree(paths.base / name, ignore_errors=True)
    about = {"data": str(data.resolve()), "validation": validation and str(validation.resolve())}
    _write(paths.base / _ABOUT, about)
    channels = link_channels(checked, paths.data_dir)
    names = checked.findings.class_names
    counted = {
        "num_classes": str(len(names)),
        "num_training_samples": str(checked.num_training_samples),
        "class_names": json.dumps(names, ensure_ascii=False),
    }
    for file, content in (
        (paths.hyperparameters_file, {"base_network": BASE_NETWORK, **given, **counted}),
        (paths.input_data_config_file, channels),
        (
            paths.resource_config_file,
            {
                "current_host": DEFAULT_HOST,
                "hosts": [DEFAULT_HOST],
                "network_interface_name": "lo",
            },
        ),
        (paths.checkpoint_config_file, {"LocalPath": DEFAULT_CHECKPOINT_DIR}),
    ):
        _write(file, content)
    return paths


def reopen(
    out: Path,
    given: Mapping[str, object],
    data: Path | None = None,
    validation: Path | None = None,
) -> Paths:
    """The job of an earlier run in `out`, with these hyperparameters changed.

    Raises:
        ClientError: there is none, or it was of other data.
    """
    paths = Paths(out.expanduser().absolute())
    about = paths.base / _ABOUT
    if not about.is_file() or not paths.hyperparameters_file.is_file():
        raise ClientError(f"{out} holds no training run to resume. Train without --resume first.")
    former = json.loads(about.read_text(encoding="utf-8"))
    for option, path in (("data", data), ("validation", validation)):
        if path is not None and str(path.resolve()) != former[option]:
            raise ClientError(
                f"The run in {out} has {former[option]} as {option}, not {path}. Leave {path} out "
                "to resume it, or train in another --out."
            )
    there = json.loads(paths.hyperparameters_file.read_text(encoding="utf-8"))
    changed = {**there, **given}
    table.parse(changed)
    _write(paths.hyperparameters_file, changed)
    return paths


def run(paths: Paths) -> int:
    """Train in a child process; return its exit code.

    SIGINT and SIGTERM are forwarded: SIGTERM ends the training at the next batch, with the best
    model in place, SIGINT at once.
    """
    environ = {n: v for n, v in os.environ.items() if not n.startswith(("SAGEMAKER_", "SM_"))}
    environ[BASE_DIR_VARIABLE] = str(paths.base)
    with _forwarded() as children:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", _PROGRAM],
            env=with_package(environ),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # else Ctrl-C would reach it twice
        )
        children.append(process)
        try:
            code = process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return code if code >= 0 else 128 - code


def failure_of(paths: Paths, code: int) -> JobError:
    """What ended a training with this exit code, as it was written down."""
    kinds = {kind.exit_code: kind for kind in (ClientError, PlatformError)}
    kind = kinds.get(code, AlgorithmError)
    try:
        text = paths.failure_file.read_text(encoding="utf-8").removeprefix(f"{kind.label}: ")
    except OSError:
        text = f"Training ended with exit code {code}. The log tells more."
    return kind(text)


@contextmanager
def _forwarded() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Inside the block signals to end go to the processes in the list; elsewhere than in the main
    thread, which alone may handle signals, they stay as they are.
    """
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: FrameType | None) -> None:
        for child in children:
            child.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    former: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                former[number] = signal.signal(number, forward)
    try:
        yield children
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _parse(given: Mapping[str, object]) -> Hyperparameters:
    """Check hyperparameters before there is any count. Raises ClientError with all faults."""
    counted = [name for name in COUNTED if name in given]
    if counted:
        raise ClientError(f"{' and '.join(counted)}: counted in the data here. Leave it out.")
    count = 1
    names = given.get("class_names")
    if isinstance(names, list | tuple):
        count = len(names)
    elif isinstance(names, str) and names.strip():
        try:
            count = len(Names().parse(names.strip()))
        except ValueError:  # which parse reports
            count = 1
    placeholders = {"num_classes": max(1, count), "num_training_samples": 1}
    return table.parse({"base_network": BASE_NETWORK, **given, **placeholders})


def _check_out(paths: Paths, overwrite: bool) -> None:
    out = paths.base
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise ClientError(f"{out} is a file. Give another --out.")
    if not (out / _ABOUT).is_file():
        raise ClientError(
            f"{out} is not empty, and holds no training run of this command. Give a new folder as "
            "--out."
        )
    if not overwrite:
        raise ClientError(
            f"{out} holds a training run. Continue it with --resume, replace it with --overwrite, "
            "or give another --out."
        )


def _check_apart(source: Path, paths: Paths) -> None:
    data, out = source.resolve(), paths.base.resolve()
    if out.is_relative_to(data) or data.is_relative_to(out):
        raise ClientError(
            f"--out ({out}) and the data ({data}) must not contain each other: what training "
            "writes would be read as data. Give an --out next to the data."
        )


def _write(file: Path, content: Mapping[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8")
