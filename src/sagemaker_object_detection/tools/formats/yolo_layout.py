"""Where the images and labels of a YOLO data set are."""

from collections.abc import Iterator
from pathlib import Path

from sagemaker_object_detection.data.listing import Listing, composed, grouped, stem
from sagemaker_object_detection.data.refusal import refusal
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.files import IMAGE_SUFFIXES
from sagemaker_object_detection.tools.formats.text_files import read_lines
from sagemaker_object_detection.tools.formats.yolo_config import YoloConfig

_NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt")
_ALIASES = {"valid": "val", "validation": "val"}


def listed_classes(source: Path) -> tuple[str, ...]:
    """Names of the classes from classes.txt or obj.names; () where there is none."""
    path = next((source / name for name in _NAME_FILES if (source / name).is_file()), None)
    return () if path is None else tuple(line for line in read_lines(path) if line)


def images_of(source: Path, split: str, config: YoloConfig | None) -> Iterator[tuple[Path, str]]:
    """The files of a split's images and their names inside it.

    Where they are, ``data.yaml`` tells, or else the folders: ``images/<split>``,
    ``<split>/images``, ``<split>``, or a list ``<split>.txt``. Raises ClientError for a split that
    is not there, for listed images that are missing, and for labels without an image.
    """
    for place in _places(source, split, config):
        yield from _in_folder(place, source) if place.is_dir() else _in_list(place, source)


def label_of(image: Path, source: Path) -> Path:
    """The label of an image: under ``labels`` where the image is under ``images``, or beside it.

    The last folder of that name counts, as in Ultralytics' loader.
    """
    inside = image.relative_to(source) if image.is_relative_to(source) else image
    parts = list(inside.parent.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return source.joinpath(*parts, f"{image.stem}.txt")


def _places(source: Path, split: str, config: YoloConfig | None) -> list[Path]:
    """Folders and lists of a split."""
    told = config.splits if config is not None else {}
    values = told.get(split) or told.get(_ALIASES.get(split, split))
    if config is not None and values:
        return [_find(source, value, config) for value in values]
    usual = (source / "images" / split, source / split / "images", source / f"{split}.txt")
    found = next((place for place in (*usual, source / split) if place.exists()), None)
    if found is None:
        raise ClientError(
            f"{source} has no split '{split}': there is no {usual[0]}, {usual[1]} or {usual[2]}, "
            f"and no data.yaml that tells where it is. Choose one that is there (found: "
            f"{', '.join(_splits(source, config)) or 'none'})."
        )
    return [found]


def _find(source: Path, value: str, config: YoloConfig) -> Path:
    """What a path in data.yaml means, which was written on another machine or for another tool."""
    root = config.root or ""
    inside = value.removeprefix("../").removeprefix("./")
    candidates = [source / root / value, source / value, source / inside]
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        tried = ", ".join(str(path) for path in dict.fromkeys(candidates))
        raise ClientError(
            f"{config.file}: '{value}' leads to no folder or list (looked for {tried}). Correct "
            "the path."
        )
    return found


def _splits(source: Path, config: YoloConfig | None) -> list[str]:
    """Splits that are there, for a message."""
    found = set(config.splits) if config is not None else set()
    found |= {path.name for path in (source / "images").glob("*") if path.is_dir()}
    found |= {path.parent.name for path in source.glob("*/images") if path.is_dir()}
    return sorted(found - {"images"})


def _in_folder(folder: Path, source: Path) -> Iterator[tuple[Path, str]]:
    images = Listing.of(folder, IMAGE_SUFFIXES)
    if not len(images):
        raise ClientError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    labels = label_of(folder / "a.jpg", source).parent
    if labels != folder and labels.is_dir():
        _check_labels(images, labels)
    for name in images.names:
        yield folder / name, name


def _check_labels(images: Listing, labels: Path) -> None:
    """Every label must have its image."""
    stems = grouped(images.names, stem)
    lonely = [
        f"{labels / name}: there is no image {stem(name)} in {images.folder}. Add the image or "
        "remove the label."
        for name in Listing.of(labels, {".txt"}).names
        if name != "classes.txt" and composed(stem(name)) not in stems
    ]
    if lonely:
        raise refusal(f"Labels and images of {images.folder} do not match", lonely)


def _in_list(file: Path, source: Path) -> Iterator[tuple[Path, str]]:
    missing = []
    for number, line in enumerate(read_lines(file), 1):
        if not line:
            continue
        candidates = (file.parent / line, source / line, source / line.lstrip("/"))
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            missing.append(
                f"{file}, line {number}: {candidates[0]} does not exist. Add the image, or remove "
                "the line."
            )
        else:
            yield path, _name(path, source)
    if missing:
        raise refusal(f"{file} lists images that are missing", missing)


def _name(path: Path, source: Path) -> str:
    """The path inside the data set, without the folder that all images are in."""
    if not path.is_relative_to(source) or ".." in path.relative_to(source).parts:
        return path.name
    parts = path.relative_to(source).parts
    return "/".join(parts[1:] if parts[0] == "images" else parts)
