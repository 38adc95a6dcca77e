"""Where a split of a data set is, for each format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.sources.coco import CocoSource
from sagemaker_object_detection.data.sources.image_pairs import ImageSource, json_pairs
from sagemaker_object_detection.data.sources.manifest import ManifestSource
from sagemaker_object_detection.data.sources.pascal_voc import open_voc, voc_splits
from sagemaker_object_detection.data.sources.record_files import RecordIOSource
from sagemaker_object_detection.data.sources.yolo import open_yolo, yolo_splits
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError

_ANNOTATION = "_annotation"
_FOLDER = "annotations"
_ROBOFLOW = "_annotations.coco.json"


def open_split(
    form: str, folder: Path, split: str | None, attribute_names: tuple[str, ...] = ()
) -> Source:
    """A split of a data set; all of it where `split` is None, or where it is not split.

    Args:
        form: a key of SPLITS.
        attribute_names: of a manifest whose lines have several annotations.

    Raises:
        ClientError: there is no such split, it is not clear what it is, or as the source.
    """
    there = SPLITS[form](folder) if split is not None else []
    chosen = _chosen(there, split, folder) if there and split is not None else None
    source = _OPEN[form](folder, chosen, attribute_names)
    if not len(source):
        where = folder if split is None else f"{folder}: the split '{split}'"
        raise ClientError(f"{where} has no annotated images. Add some.")
    return source


def annotated_by(form: str, folder: Path, split: str | None) -> tuple[Path, Path]:
    """The folder of the images of a split and the file that annotates them; "coco" or "manifest".

    Raises ClientError where the file is missing, or several could be meant.
    """
    if form == "manifest":
        return _manifest_parts(folder, split)
    file = _coco_file(folder, split)
    return _coco_images(folder, split, file), file


def _chosen(there: list[str], split: str, folder: Path) -> str:
    """What a split is called there: as it is asked for, or otherwise, or with a year behind it."""
    for name in files.split_names(split):
        if name in there:
            return name
        years = [other for other in there if _without_year(other) == name]
        if len(years) == 1:
            return years[0]
        if years:
            raise ClientError(
                f"{folder}: which of {', '.join(years)} is split '{split}'? Give its name."
            )
    raise ClientError(
        f"{folder} has no split '{split}'. Choose one that is there: {', '.join(there)}; or give "
        "the folder that holds the splits."
    )


def _without_year(split: str) -> str:
    return re.sub(r"\d{4}$", "", split)


def _recordio(folder: Path, split: str | None, _: tuple[str, ...]) -> Source:
    file = folder / f"{split}{files.RECORDIO_SUFFIX}"
    return RecordIOSource([file] if file.is_file() else _records(folder, split))


def _records(folder: Path, split: str | None) -> tuple[Path, ...]:
    place = folder if split is None else folder / split
    found = files.of_form(place, "recordio") if place.is_dir() else ()
    if not found:
        raise ClientError(f"{place} holds no .rec file. Give the folder that has one.")
    return found


def _recordio_splits(folder: Path) -> list[str]:
    found = {path.stem for path in folder.glob(f"*{files.RECORDIO_SUFFIX}")}
    return sorted(found | {path.parent.name for path in folder.glob(f"*/*{files.RECORDIO_SUFFIX}")})


def _json(folder: Path, split: str | None, _: tuple[str, ...]) -> Source:
    if split is None:
        raise ClientError(
            f"{folder} has no folder of images with their annotations beside it, such as train "
            "with train_annotation. Give the folder that holds both."
        )
    return ImageSource(json_pairs(folder / split, folder / f"{split}{_ANNOTATION}"))


def _json_splits(folder: Path) -> list[str]:
    found = (path.name.removesuffix(_ANNOTATION) for path in folder.glob(f"*{_ANNOTATION}"))
    return sorted(name for name in found if (folder / name).is_dir())


def _manifest(folder: Path, split: str | None, attribute_names: tuple[str, ...]) -> Source:
    return ManifestSource(*_manifest_parts(folder, split), attribute_names)


def _manifest_parts(folder: Path, split: str | None) -> tuple[Path, Path]:
    """Images are in `<split>/`, `images/<split>/`, `images/` or anywhere."""
    candidates = (folder / f"{split}{suffix}" for suffix in sorted(files.MANIFEST_SUFFIXES))
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        path = files.manifest_file(folder if split is None else folder / split)
    if path is None:
        raise ClientError(f"{folder} holds no .manifest or .jsonl. Give the folder that has one.")
    places = [folder / "images"]
    if split is not None:
        places = [folder / split, folder / "images" / split, *places]
    return next((place for place in places if place.is_dir()), folder), path


def _manifest_splits(folder: Path) -> list[str]:
    found = (path for path in files.walk(folder) if path.suffix.lower() in files.MANIFEST_SUFFIXES)
    return sorted({_first(path, folder).removesuffix(path.suffix) for path in found})


def _first(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parts[0]


def _coco(folder: Path, split: str | None, _: tuple[str, ...]) -> Source:
    file = _coco_file(folder, split)
    return CocoSource(_coco_images(folder, split, file), file)


def _coco_file(folder: Path, split: str | None) -> Path:
    if split is None:
        file = files.coco_file(folder)
        if file is None:
            raise ClientError(f"{folder} holds no COCO file. Give the folder that has one.")
        return file
    for found in (
        [folder / _FOLDER / f"{split}.json"],
        sorted(p for p in (folder / _FOLDER).glob("*.json") if p.stem.endswith(f"_{split}")),
        [folder / f"{split}.json"],
        [folder / split / _ROBOFLOW],
        sorted((folder / f"{split}{_ANNOTATION}").glob("*.json")),
    ):
        there = [path for path in found if path.is_file()]
        instances = [path for path in there if path.name.startswith("instances_")]
        if len(instances or there) == 1:
            return (instances or there)[0]
        if there:
            names = ", ".join(path.name for path in there[:5])
            raise ClientError(
                f"{there[0].parent}: which of {names} is split '{split}'? Give the name as it "
                "stands behind the last '_', or keep one of the files there."
            )
    raise ClientError(f"{folder}: the COCO file of split '{split}' is no longer there.")


def _coco_splits(folder: Path) -> list[str]:
    def found() -> Iterator[str]:
        for path in (folder / _FOLDER).glob("*.json"):
            yield path.stem.rpartition("_")[2]
        yield from (path.stem for path in folder.glob("*.json") if path.name != _ROBOFLOW)
        yield from (path.parent.name for path in folder.glob(f"*/{_ROBOFLOW}"))
        for path in folder.glob(f"*{_ANNOTATION}/*.json"):
            yield path.parent.name.removesuffix(_ANNOTATION)

    return sorted(set(found()))


def _coco_images(folder: Path, split: str | None, file: Path) -> Path:
    if file.name == _ROBOFLOW:
        return file.parent
    called = (file.stem.rpartition("_")[2], split or "")
    names = dict.fromkeys(name for name in (*called, *map(_without_year, called)) if name)
    candidates = [
        *(folder / name for name in names),
        *(folder / "images" / name for name in names),
        folder / "images",
    ]
    return next((path for path in candidates if path.is_dir()), folder)


SPLITS: Mapping[str, Callable[[Path], list[str]]] = {
    "recordio": _recordio_splits,
    "sagemaker-json": _json_splits,
    "coco": _coco_splits,
    "manifest": _manifest_splits,
    "voc": voc_splits,
    "yolo": yolo_splits,
}
"""Format -> the names of a data set's splits, as they are called there."""

_OPEN: Mapping[str, Callable[[Path, str | None, tuple[str, ...]], Source]] = {
    "recordio": _recordio,
    "sagemaker-json": _json,
    "coco": _coco,
    "manifest": _manifest,
    "voc": lambda folder, split, _: open_voc(folder, split),
    "yolo": lambda folder, split, _: open_yolo(folder, split),
}
