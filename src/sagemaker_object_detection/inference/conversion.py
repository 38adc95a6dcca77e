"""An artefact that has no twin for CPUs, read and converted while an endpoint starts.

MXNet is needed for it, once, and would stay in memory: it is loaded in a process of its own,
`python -m sagemaker_object_detection.inference.conversion FOLDER [twin]`, which writes a line of
JSON and then the ONNX file to its standard output.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from sagemaker_object_detection.model.artifact import ArtifactError, ModelConfig
from sagemaker_object_detection.platform.errors import PlatformError, first_line
from sagemaker_object_detection.platform.python_process import last_words, with_package

_MODULE = "sagemaker_object_detection.inference.conversion"
_TWIN = "twin"


class ConversionKilled(PlatformError):
    """The process that reads and converts was killed."""


@dataclass(frozen=True)
class Converted:
    """An artefact as an endpoint needs it.

    Attributes:
        config: its model.json; of the service's artefacts, which have none, what their graph says.
        onnx: the twin; empty where the graph cannot be converted.
        reason: why it cannot be.
    """

    config: ModelConfig
    onnx: bytes
    reason: str = ""


def convert(
    folder: Path, environ: Mapping[str, str], twin: bool = True, image_shape: int | None = None
) -> Converted:
    """Read the artefact in `folder`, ours or the service's own, and make its twin in memory.

    Args:
        twin: whether it is needed; else only what the artefact is.
        image_shape: of the service's, whose files may not say it.

    Raises:
        ArtifactError: it cannot be read, or belongs to no detector.
        ConversionKilled: most often for want of memory.
    """
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        _MODULE,
        str(folder),
        str(image_shape or 0),
        *([_TWIN] if twin else []),
    ]
    done = subprocess.run(command, env=with_package(environ), capture_output=True, check=False)
    if done.returncode == -signal.SIGKILL:
        raise ConversionKilled(
            f"The process that converts {folder} was killed. Most often memory is short: use an "
            "instance with more memory, or a model that has its twin for CPUs (model.onnx)."
        )
    head, _, onnx = done.stdout.partition(b"\n")
    if done.returncode or not head:
        words = last_words(done.stderr.decode(errors="replace"))
        raise ArtifactError(
            f"{folder} cannot be read: the process for it ended with exit code {done.returncode} "
            f"({words})"
        )
    told = json.loads(head)
    if told["fault"]:
        raise ArtifactError(told["fault"])
    config = told["config"]
    config |= {name: tuple(config[name]) for name in ("class_names", "thresholds")}
    return Converted(ModelConfig(**config), onnx, told["reason"])


def _write(folder: Path, image_shape: int, twin: bool, out: BinaryIO) -> None:
    told: dict[str, object] = {"fault": "", "reason": "", "config": None}
    onnx = b""
    try:
        from sagemaker_object_detection.model.deployed import read_deployed

        graph, config = read_deployed(folder, image_shape or None)
        told["config"] = asdict(config)
    except ArtifactError as error:
        told["fault"] = str(error)
    else:
        try:
            from sagemaker_object_detection.model.onnx_heads import convert_heads

            onnx = convert_heads(graph).SerializeToString() if twin else b""
        except Exception as error:  # noqa: BLE001 - of any kind, from two libraries
            told["reason"] = f"{type(error).__name__}: {first_line(error)}"
    out.write(json.dumps(told).encode() + b"\n" + onnx)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)  # what libraries print is no part of the answer
        _write(Path(sys.argv[1]), int(sys.argv[2]), _TWIN in sys.argv[3:], output)
