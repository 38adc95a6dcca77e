"""The folder tree that SageMaker mounts into a container, under one movable base."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sagemaker_object_detection.platform.errors import naming

BASE_DIR_VARIABLE = "SAGEMAKER_BASE_DIR"
DEFAULT_BASE_DIR = "/opt/ml"


@dataclass(frozen=True)
class Paths:
    """Where a job finds its input and leaves its output, below `base`."""

    base: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Paths":
        """Take `SAGEMAKER_BASE_DIR` as the base, made absolute; `/opt/ml` if unset or empty."""
        return cls(Path(environ.get(BASE_DIR_VARIABLE) or DEFAULT_BASE_DIR).expanduser().absolute())

    def moved(self, path: Path) -> Path:
        """Where a path below /opt/ml is in this tree; any other path stays."""
        default = Path(DEFAULT_BASE_DIR)
        return self.base / path.relative_to(default) if path.is_relative_to(default) else path

    @property
    def config_dir(self) -> Path:
        return self.base / "input" / "config"

    @property
    def hyperparameters_file(self) -> Path:
        return self.config_dir / "hyperparameters.json"

    @property
    def input_data_config_file(self) -> Path:
        return self.config_dir / "inputdataconfig.json"

    @property
    def resource_config_file(self) -> Path:
        return self.config_dir / "resourceconfig.json"

    @property
    def checkpoint_config_file(self) -> Path:
        return self.config_dir / "checkpointconfig.json"

    @property
    def data_dir(self) -> Path:
        return self.base / "input" / "data"

    def channel_dir(self, name: str) -> Path:
        """The folder of a channel in File or FastFile mode."""
        return self.data_dir / name

    @property
    def model_dir(self) -> Path:
        """Becomes model.tar.gz."""
        return self.base / "model"

    @property
    def models_dir(self) -> Path:
        """Where the platform puts the models of a multi-model endpoint."""
        return self.base / "models"

    @property
    def output_data_dir(self) -> Path:
        """Becomes output.tar.gz."""
        return self.base / "output" / "data"

    @property
    def failure_file(self) -> Path:
        return self.base / "output" / "failure"


def ensure_writable(folder: Path) -> None:
    """Make `folder` if needed and write and remove a small file in it.

    Raises OSError naming the folder: better now than after hours of training.
    """
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-") as probe:
            probe.write(b"probe")
            probe.flush()
    except OSError as error:
        error.filename = os.fspath(folder)
        raise
