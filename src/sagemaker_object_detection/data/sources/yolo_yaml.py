"""The description of a YOLO data set, ``data.yaml``: class names and where the splits are."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sagemaker_object_detection.data.listing import read_text
from sagemaker_object_detection.platform.errors import ClientError

SPLITS = ("train", "val", "test")

_FIX = "Write it as names: [cat, dog], as one '- name' a line, or as one '0: name' a line."

Value = str | list[str] | dict[str, str] | None


class _Loader(yaml.BaseLoader):
    """Every scalar is the text that it is (a class may be called `no`), every key is unique."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is there for the second time",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class YoloConfig:
    """``names``: () where the file has none; ``splits``: train, val, test -> paths as written.

    ``keypoint_numbers``: numbers behind the box of a row, for poses (``kpt_shape``).
    """

    file: Path
    root: str | None
    names: tuple[str, ...]
    splits: Mapping[str, tuple[str, ...]]
    keypoint_numbers: int = 0


def find_config(source: Path) -> YoloConfig | None:
    """The description of the data set in a folder: data.yaml, or the only YAML file there.

    A file is the description itself.

    Raises ClientError for several of them, and as `parse_config`.
    """
    if source.is_file():
        return parse_config(source)
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
    values = _read(file)
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
    return YoloConfig(file, root, names, splits, _keypoint_numbers(values.get("kpt_shape"), file))


def _read(file: Path) -> Mapping[str, Value]:
    """What stands under the keys that are used here: words, and lists and mappings of words."""
    try:
        content = yaml.load(read_text(file), _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", error)
        raise ClientError(f"{file}{line}: cannot be read as YAML: {problem}. {_FIX}") from None
    if content is None or content == "":
        return {}
    if not isinstance(content, dict):
        raise ClientError(f"{file} holds no mapping of names to values. {_FIX}")
    keys = ("path", "names", "nc", "kpt_shape", *SPLITS)
    values = {key: content[key] for key in keys if key in content}
    for key, value in values.items():
        inside = value.values() if isinstance(value, dict) else value
        if not all(isinstance(word, str) for word in inside):
            raise ClientError(f"{file}: {key} holds something else than words. {_FIX}")
    return values


def _names(value: Value, file: Path) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        raise ClientError(f"{file}: names is {value!r}. {_FIX}")
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


def _keypoint_numbers(value: Value, file: Path) -> int:
    """kpt_shape is [keypoints, numbers of each]."""
    if value is None:
        return 0
    try:
        points, numbers = map(int, value)
    except ValueError:
        raise ClientError(
            f"{file}: kpt_shape is {value!r}. Write it as [17, 3]: keypoints, and numbers of each."
        ) from None
    return points * numbers
