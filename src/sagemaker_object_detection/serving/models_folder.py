"""Where the platform puts the models of a multi-model endpoint, and what a model there needs."""

from __future__ import annotations

import os
from pathlib import Path

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.inside import require_inside
from sagemaker_object_detection.platform.paths import DEFAULT_BASE_DIR, Paths
from sagemaker_object_detection.serving.model_engine import UnusableModel
from sagemaker_object_detection.serving.settings import MXNET

_MEGABYTE = 2**20
_TWINS = frozenset({artifact.ONNX_FILE, artifact.INT8_FILE})
_WEIGHTS = ".params"


def model_folder(url: str, paths: Paths) -> Path:
    """The folder that a url means, with all links on the way followed.

    url: a path below /opt/ml/models, which is looked for in the tree of `paths`.
    Raises UnusableModel when it is outside, missing or no folder, or holds a link to outside of
    itself or something that is neither file nor folder: of a model, nothing else is ever read.
    """
    inside = Path(DEFAULT_BASE_DIR) / paths.models_dir.name
    try:
        root = Path(os.path.realpath(paths.models_dir))
        folder = Path(os.path.realpath(paths.moved(Path(url))))
        if not Path(url).is_absolute() or root not in folder.parents:
            raise UnusableModel(f"the url {url!r} is not below {inside}")
        if not folder.is_dir():
            raise UnusableModel(f"the url {url!r} is no folder, or is missing")
        require_inside(folder)
    except ArtifactError as error:
        raise UnusableModel(str(error)) from error
    except (OSError, ValueError) as error:
        if isinstance(error, UnusableModel):
            raise
        raise UnusableModel(f"the url {url!r} cannot be read ({error})") from error
    return folder


def memory_need(folder: Path, engine: str) -> int:
    """Bytes that loading an artefact may take at its height, from the sizes of its files.

    engine: openvino or mxnet.

    docs/decisions.md has the measurements. What MXNet does to make a missing twin takes more than
    the model does afterwards.
    """
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    twin = max((size for name, size in sizes.items() if name in _TWINS), default=0)
    weights = max((size for name, size in sizes.items() if name.endswith(_WEIGHTS)), default=0)
    if engine == MXNET:
        return 300 * _MEGABYTE + 4 * weights
    if twin:
        return 120 * _MEGABYTE + 3 * twin
    return 350 * _MEGABYTE + 8 * weights
