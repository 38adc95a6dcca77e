"""Labels of other tools, which are not read: which they are, and the way to a channel."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sagemaker_object_detection.platform import files

_TRIED = 4
_LISTED = 10_000
_LARGEST = 2**26
_COCO = "Export COCO there, and put that file next to the images or into the annotation channel"
_TOOLS = {
    "VIA": ("an annotation file or project of VIA (VGG Image Annotator)", _COCO),
    "LabelMe": (
        "an annotation of LabelMe",
        "Turn the folder into COCO by a converter such as labelme2coco, and use that file",
    ),
    "CreateML": ("CreateML JSON", _COCO),
    "Label Studio": ("a JSON export of Label Studio", _COCO + " (or YOLO, or Pascal VOC XML)"),
    "Supervisely": ("an annotation of Supervisely", _COCO),
    "CVAT": ("CVAT XML", "In CVAT export 'COCO 1.0', 'PASCAL VOC 1.1' or 'YOLO 1.1' instead"),
    "csv": (
        "a csv of boxes, as TensorFlow's tools and Roboflow write it",
        _COCO + "; Roboflow exports it too",
    ),
    "im2rec": (
        "a list of im2rec, whose records have not been packed",
        "Pack it: im2rec.py --pack-label with this list and the images, and use the .rec file",
    ),
    "archive": ("an archive", "Unpack it: a channel holds the files themselves"),
    "TFRecord": ("a TFRecord file", "Export COCO or the images with Pascal VOC XML instead"),
    "Parquet": ("a Parquet file", "Export COCO or the images with Pascal VOC XML instead"),
}
_SUFFIXES = {
    ".lst": "im2rec",
    ".zip": "archive",
    ".tar": "archive",
    ".tgz": "archive",
    ".gz": "archive",
    ".7z": "archive",
    ".tfrecord": "TFRecord",
    ".tfrecords": "TFRecord",
    ".record": "TFRecord",
    ".parquet": "Parquet",
}


def recognized(folder: Path) -> str | None:
    """A sentence on labels of another tool in a folder, and what to do; None where none are known.

    The first few files of each suffix are looked at; of .json alone where there are such files,
    since anything may lie beside the annotations of single images.
    """
    seen: Counter[str] = Counter()
    found = sorted(islice(files.walk(folder), _LISTED))
    notes = [path for path in found if path.suffix.lower() == ".json"]
    for path in notes or found:
        suffix = path.suffix.lower()
        seen[suffix] += 1
        if seen[suffix] <= _TRIED and (tool := _tool(path, suffix)) is not None:
            what, cure = _TOOLS[tool]
            return f"{path} is {what}, which is not read here. {cure}."
    return None


def _tool(path: Path, suffix: str) -> str | None:
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if suffix not in (".json", ".xml", ".csv") or path.stat().st_size > _LARGEST:
        return None
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if suffix == ".xml":
        return "CVAT" if "<annotations>" in text[:1000] and "<image " in text else None
    if suffix == ".csv":
        header = text[:1000].lower().partition("\n")[0].strip().split(",")
        return "csv" if {"xmin", "ymax"} <= set(header) else None
    try:
        return next(_by_keys(json.loads(text)), None)
    except (ValueError, RecursionError):
        return None


def _by_keys(content: object) -> Iterator[str]:
    """The tool whose names a JSON file has at its top."""
    if isinstance(content, dict):
        values = [value for value in content.values() if isinstance(value, dict)]
        if "_via_settings" in content or any({"filename", "regions"} <= v.keys() for v in values):
            yield "VIA"
        if {"shapes", "imagePath"} <= content.keys():
            yield "LabelMe"
        if {"objects", "size"} <= content.keys():
            yield "Supervisely"
    for entry in content[:1] if isinstance(content, list) else ():
        if isinstance(entry, dict) and {"data", "annotations"} <= entry.keys():
            yield "Label Studio"
        elif isinstance(entry, dict) and "annotations" in entry and "image" in str(list(entry)):
            yield "CreateML"
