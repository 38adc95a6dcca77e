"""The model artefact: names of its files, and reading and writing of `model.json`.

An artefact is a flat folder. MODEL_FILE describes the detector; SYMBOL_FILE and PARAMS_FILE hold
the deploy graph and its weights, which any MXNet program can run; HYPERPARAMETERS_FILE is the
configuration of the training job, every value a string. ONNX_FILE and INT8_FILE, which may be
missing, are twins of the network for CPUs. Nothing here imports MXNet.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

SYMBOL_FILE = "model_algo_1-symbol.json"
PARAMS_FILE = "model_algo_1-0000.params"
HYPERPARAMETERS_FILE = "hyperparams.json"
MODEL_FILE = "model.json"
ONNX_FILE = "model.onnx"
INT8_FILE = "model-int8.onnx"
UNSCORED_FILE = "model-int8.unscored.onnx"
"""The INT8 model until its score is known: an endpoint takes no notice of it."""
FORMAT_VERSION = 1

CURE = "give the unpacked model.tar.gz of a training job with this algorithm"
PREPROCESSING: Mapping[str, Any] = {
    "channels": "RGB",
    "range": [0, 255],
    "resize": "bilinear, to a square of image_shape, the aspect ratio is not kept",
    "orientation": "EXIF orientation tags of JPEG and PNG are applied",
    "normalisation": "inside the graph",
}


class ArtifactError(ValueError):
    """An artefact that cannot be used; the message names the file, what is wrong and the cure."""


@dataclass(frozen=True)
class ModelConfig:
    """What `model.json` says about a detector.

    class_names: one name for each class_id, in order.
    image_shape: side of the square input in pixels.
    thresholds: for each class_id the score above which its detections have the best F1 on the
        validation channel; empty when nothing was validated.
    validation: the validation mAP and how it was computed; empty when nothing was validated.
    test: the same of the test channel, empty without one.
    twins: what was measured of the twins for CPUs, see training's log; empty without them.
    versions: library name -> version the artefact was written with.
    """

    class_names: tuple[str, ...]
    image_shape: int
    base_network: str
    nms_threshold: float = 0.45
    preprocessing: Mapping[str, Any] = field(default_factory=lambda: dict(PREPROCESSING))
    thresholds: tuple[float, ...] = ()
    validation: Mapping[str, Any] = field(default_factory=dict)
    test: Mapping[str, Any] = field(default_factory=dict)
    twins: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        """Raise ValueError naming the field and the value that does not fit."""
        names = self.class_names
        checks = (
            ("class_names", "non-empty strings", names and all(map(_is_name, names))),
            ("image_shape", "a positive integer", _is_number(self.image_shape, int, low=1)),
            ("base_network", "a name", _is_name(self.base_network)),
            ("nms_threshold", "in 0..1", _is_number(self.nms_threshold, int, float, high=1)),
            ("thresholds", "a number in 0..1 for each class, or none", self._thresholds_fit()),
            ("preprocessing", "an object", isinstance(self.preprocessing, Mapping)),
            ("validation", "an object", isinstance(self.validation, Mapping)),
            ("test", "an object", isinstance(self.test, Mapping)),
            ("twins", "an object", isinstance(self.twins, Mapping)),
            ("versions", "an object", isinstance(self.versions, Mapping)),
        )
        for name, expected, fits in checks:
            if not fits:
                raise ValueError(f"{name} must be {expected}, got {getattr(self, name)!r}")

    @property
    def validation_map(self) -> float | None:
        """The validation mAP; None when nothing was validated."""
        value = self.validation.get("mAP")
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    def _thresholds_fit(self) -> bool:
        numbers = self.thresholds
        fit = all(_is_number(number, int, float, high=1) for number in numbers)
        return fit and len(numbers) in (0, len(self.class_names))

    def require_names(self, num_classes: int, path: Path) -> None:
        """Raise ArtifactError when the network at `path` tells more classes apart than have names.

        It would be noticed only when such a class is found in a picture.
        """
        if num_classes > len(self.class_names):
            raise ArtifactError(
                f"{path} tells {num_classes} classes apart, {MODEL_FILE} beside it has "
                f"{len(self.class_names)} class_names; name every class, in the order of class_id"
            )


def read_config(folder: Path) -> ModelConfig:
    """Read MODEL_FILE of an artefact. Fields this version does not know are left out.

    Raises ArtifactError when the file is missing, no JSON, of a newer format or has bad values.
    """
    path = folder / MODEL_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; {CURE}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise ArtifactError(f"{path} is not JSON ({error.msg} at {where}); {CURE}") from error
    except (OSError, ValueError, RecursionError) as error:  # no text, a huge number, too deep
        raise ArtifactError(f"{path} cannot be read ({error}); {CURE}") from error
    if not isinstance(raw, dict):
        raise ArtifactError(f"{path} must hold a JSON object, got {type(raw).__name__}; {CURE}")
    version = raw.get("format_version")
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} has format_version {version!r}, this version reads {FORMAT_VERSION}; "
            "use the container that the model was trained with, or a newer one"
        )
    missing = [name for name in ("class_names", "image_shape", "base_network") if name not in raw]
    if missing:
        raise ArtifactError(f"{path} lacks {', '.join(missing)}; {CURE}")
    known = {f.name: raw[f.name] for f in fields(ModelConfig) if f.name in raw}
    if not isinstance(known["class_names"], list):
        raise ArtifactError(
            f"{path}: class_names must be a list, got {known['class_names']!r}; {CURE}"
        )
    known["class_names"] = tuple(known["class_names"])
    if isinstance(known.get("thresholds"), list):
        known["thresholds"] = tuple(known["thresholds"])
    try:
        return ModelConfig(**known)
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}; {CURE}") from error


def write_config(folder: Path, config: ModelConfig) -> Path:
    """Write MODEL_FILE into `folder`, aside and renamed, so that a reader never sees half of it.

    Returns the path of the file. Raises OSError when the folder cannot be written to.
    """
    path = folder / MODEL_FILE
    write_text_whole(path, json.dumps(asdict(config), indent=2, ensure_ascii=False) + "\n")
    return path


def require_files(folder: Path, names: Iterable[str] = (SYMBOL_FILE, PARAMS_FILE)) -> None:
    """Raise ArtifactError naming all of `names` that are not in `folder`, and what is there."""
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return
    if not folder.is_dir():
        raise ArtifactError(f"the model folder {folder} does not exist; {CURE}")
    found = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(found[:10]) or "nothing"
    raise ArtifactError(f"{folder} lacks {', '.join(missing)} (it holds {shown}); {CURE}")


def write_text_whole(path: Path, text: str) -> None:
    """Write a UTF-8 text file so that it is there whole or not at all."""
    write_whole(path, text.encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    with written_aside(path) as aside:
        aside.write_bytes(content)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path to write to; at the end of the block the file takes its place at `path`.

    After an error nothing of it is left, and what was at `path` stays.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o644)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_number(value: Any, *kinds: type, low: float = 0, high: float = math.inf) -> bool:
    return type(value) in kinds and low <= value <= high
