"""The description of a YOLO data set, ``data.yaml``: class names and where the splits are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.yaml_words import CURE, Value, read_words

SPLITS = ("train", "val", "test")

_KEYS = frozenset({"path", "names", "nc", *SPLITS})


@dataclass(frozen=True)
class YoloConfig:
    """``names``: () where the file has none; ``splits``: train, val, test -> paths as written."""

    file: Path
    root: str | None
    names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]


def find_config(source: Path) -> YoloConfig | None:
    """The description of the data set in a folder: data.yaml, or the only YAML file there.

    Raises ClientError for several of them, and as `parse_config`.
    """
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in (".yaml", ".yml"))
    chosen = [path for path in found if path.stem.lower() == "data"] or found
    if len(chosen) > 1:
        names = ", ".join(path.name for path in chosen)
        raise ClientError(
            f"{source} holds several YAML files ({names}). Call the one that describes the data "
            "set data.yaml."
        )
    return parse_config(chosen[0]) if chosen else None


def parse_config(file: Path) -> YoloConfig:
    """Read a data.yaml. Raises ClientError that names file, line and what cannot be read there."""
    values = read_words(file, _KEYS)
    names = _names(values.get("names"), file)
    count = values.get("nc")
    if count is not None and names and count != str(len(names)):
        raise ClientError(
            f"{file}: nc is {count}, but names has {len(names)} entries. Correct one of them."
        )
    root = values.get("path")
    if root is not None and not isinstance(root, str):
        raise ClientError(f"{file}: path is {root!r}, it must be one folder.")
    splits: dict[str, tuple[str, ...]] = {}
    for split in SPLITS:
        value = values.get(split)
        if isinstance(value, dict):
            raise ClientError(f"{file}: {split} is {value!r}, it must be a folder or a list.")
        if value:
            splits[split] = (value,) if isinstance(value, str) else tuple(value)
    return YoloConfig(file, root, names, splits)


def _names(value: Value, file: Path) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        raise ClientError(f"{file}: names is {value!r}. {CURE}")
    if isinstance(value, list):
        return tuple(value)
    try:
        numbered = {int(key): name for key, name in value.items()}
    except ValueError as error:
        raise ClientError(f"{file}: names has a class id that is no number ({error}).") from None
    missing = next((n for n in range(len(numbered)) if n not in numbered), None)
    if missing is not None:
        raise ClientError(
            f"{file}: names has {len(numbered)} entries but none for class id {missing}. Number "
            "the classes from 0 without gaps."
        )
    return tuple(numbered[number] for number in range(len(numbered)))
