"""Labels of other tools, and containers: not read, but named, with what to do about them."""

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sagemaker_object_detection.platform import files

_FILES_LOOKED_AT = 5
_HEAD_BYTES = 2**16
_LABELS = frozenset({".rec", ".json", ".jsonl", ".manifest", ".xml", ".csv"})
_USE_COCO = "Put the COCO file in its place."


class _Format(NamedTuple):
    """A format, and how it is recognized.

    Attributes:
        title: follows "<file> is".
        suffixes: of its files, in lower case and without the "-00000-of-00010" of a part.
        content: found in the first bytes of its files.
        advice: what to do.
        supplement: whether it may lie next to labels that are read: then it explains nothing.
    """

    title: str
    suffixes: tuple[str, ...]
    content: re.Pattern[bytes]
    advice: str
    supplement: bool = False


_ANY = re.compile(b"")
_FORMATS = (
    _Format(
        "an export of VIA",
        (".json", ".csv"),
        re.compile(rb'"_via_|"file_attributes"|region_shape_attributes'),
        f"In VIA choose Annotation > Export Annotations (COCO format). {_USE_COCO}",
    ),
    _Format(
        "a LabelMe file",
        (".json",),
        re.compile(rb'"(shapes|imagePath)"\s*:'),
        f"Convert the files to COCO with labelme2coco (pip install labelme2coco). {_USE_COCO}",
    ),
    _Format(
        "CreateML JSON",
        (".json",),
        re.compile(rb'"coordinates"\s*:\s*\{'),
        f"Export the labels as COCO from the tool that wrote them. {_USE_COCO}",
    ),
    _Format(
        "Label Studio JSON",
        (".json",),
        re.compile(rb'"(rectanglelabels|from_name|total_annotations)"\s*:'),
        f"In Label Studio choose Export > COCO. {_USE_COCO}",
    ),
    _Format(
        "CVAT XML",
        (".xml",),
        re.compile(rb"<annotations[\s>]"),
        f"In CVAT choose Export task dataset > COCO 1.0. {_USE_COCO}",
    ),
    _Format(
        "a csv of boxes",
        (".csv",),
        re.compile(rb"(?i)\A[^\n]*(x_?min|\bx1\b|bbox)|\A[^\n,]+\.(jpe?g|png|bmp|webp),\s*\d"),
        f"Export the labels as COCO from the tool that wrote them (Roboflow: COCO). {_USE_COCO}",
    ),
    _Format(
        "a list of im2rec, not packed",
        (".lst",),
        _ANY,
        "Pack it with im2rec.py --pack-label, and give the .rec file.",
        supplement=True,
    ),
    _Format(
        "a TFRecord file",
        (".tfrecord", ".tfrecords", ".record"),
        _ANY,
        "Export the data set as COCO from the tool that wrote it, and give images and COCO file.",
        supplement=True,
    ),
    _Format(
        "a Parquet file",
        (".parquet",),
        _ANY,
        "Write its images to files and its boxes to a COCO file, and give those.",
        supplement=True,
    ),
    _Format(
        "an archive",
        (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"),
        _ANY,
        "Unpack it, and give the files that are in it.",
        supplement=True,
    ),
)


def recognized(folder: Path) -> str | None:
    """Which format that is not read here a folder holds: a file, its format and what to do.

    A few files of each suffix are looked at. None where they tell none.
    """
    few: dict[str, list[Path]] = {}
    for path in files.walk(folder) if folder.is_dir() else ():
        alike = few.setdefault(path.suffix.lower().partition("-")[0], [])
        if len(alike) < _FILES_LOOKED_AT:
            alike.append(path)
    labeled = not _LABELS.isdisjoint(few)
    for form in _FORMATS:
        for suffix in form.suffixes if not (form.supplement and labeled) else ():
            for path in sorted(few.get(suffix, ())):
                if form.content.search(_head(path)):
                    return f"{path} is {form.title}, which is not read here. {form.advice}"
    return None


def _head(path: Path) -> bytes:
    """The first bytes; none of what cannot be read, or is an annotation of the service."""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        return b"" if b'"image_size"' in head else head
    return b""
