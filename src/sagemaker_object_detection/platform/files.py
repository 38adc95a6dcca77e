"""What the files of a channel's folder are: RecordIO, single images, or something beside them."""

import io
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec

from sagemaker_object_detection.platform.errors import ClientError, naming

Kind = Literal["recordio", "image"]

RECORDIO_SUFFIX = ".rec"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
MANIFEST_SUFFIXES = frozenset({".manifest", ".jsonl"})
LOST_AND_FOUND = "lost+found"
"""A folder at the top of a disk with an ext file system, which only root may read."""
_SPLIT_NAMES = ("validation", "val", "valid", "dev")
_COCO_AMONG = 8
_VOC = re.compile(rb"<annotation[\s>]")
_ROW = re.compile(rb"\s*\d+(\.0*)?([ \t]+-?\d*\.?\d+([eE][+-]?\d+)?){4,}[ \t]*(\r?\n|$)")
_TEXTS_TRIED = 50
_COCO_KEYS = frozenset({b"images", b"annotations", b"categories"})
_ONE_IMAGE_KEYS = frozenset({b"file", b"image_size"})
_KEYS = re.compile(rb'"(images|annotations|categories|file|image_size)"\s*:')
_BESIDE = frozenset({".idx", ".lst", ".json", ".jsonl", ".manifest", ".txt", ".csv", ".xml", ".md"})

_MAGICS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x0a\x23\xd7\xce", "recordio"),
    (b"\xff\xd8\xff", "image"),
    (b"\x89PNG\r\n\x1a\n", "image"),
)


def forms(folder: Path) -> set[Kind]:
    """The forms that suffixes tell, or, where none does, what the first file that tells is."""
    named = {form for path in walk(folder) if (form := _by_suffix(path)) is not None}
    if named:
        return named
    contents = (_by_content(path) for path in walk(folder))
    first = next((form for form in contents if form is not None), None)
    return set() if first is None else {first}


def of_form(folder: Path, form: Kind) -> tuple[Path, ...]:
    """The files of one form, sorted: those whose suffix says so, or else whose content does."""
    named = sorted(path for path in walk(folder) if _by_suffix(path) == form)
    return tuple(named or sorted(path for path in walk(folder) if _by_content(path) == form))


def split_names(split: str) -> tuple[str, ...]:
    """What a split may be called: by the name that is asked for, or another usual one for it."""
    return tuple(dict.fromkeys((split, *_SPLIT_NAMES))) if split in _SPLIT_NAMES else (split,)


def manifest_file(folder: Path) -> Path | None:
    """The augmented manifest (JSON Lines) of a folder, None where there is none.

    Raises ClientError when there are several.
    """
    found = [path for path in walk(folder) if path.suffix.lower() in MANIFEST_SUFFIXES]
    return _only(sorted(found), "manifests", folder)


def coco_file(folder: Path) -> Path | None:
    """The COCO file of a folder: a .json that lists images; None where there is none.

    Folders with many .json files hold one for each image. Raises ClientError when there are
    several COCO files.
    """
    found = sorted(islice(_json_files(folder), _COCO_AMONG + 1))
    if len(found) > _COCO_AMONG:
        return None
    return _only([path for path in found if is_coco(path)], "COCO files", folder)


def has_voc(folder: Path) -> bool:
    """Whether the first .xml file of a folder is of Pascal VOC."""
    path = next((path for path in walk(folder) if path.suffix.lower() == ".xml"), None)
    return path is not None and _VOC.search(_head(path)) is not None


def has_yolo(folder: Path) -> bool:
    """Whether one of the first .txt files of a folder has a row of YOLO's labels."""
    texts = (path for path in walk(folder) if path.suffix.lower() == ".txt")
    return any(_ROW.match(_head(path)) for path in islice(texts, _TEXTS_TRIED))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1000)


def has_json(folder: Path) -> bool:
    """Whether a folder holds a .json file."""
    return any(_json_files(folder))


def _json_files(folder: Path) -> Iterator[Path]:
    return (path for path in walk(folder) if path.suffix.lower() == ".json")


def _only(paths: list[Path], what: str, folder: Path) -> Path | None:
    if len(paths) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in paths[:4])
        raise ClientError(f"{folder} holds several {what}: {names}. Keep the one that is meant.")
    return paths[0] if paths else None


_ABSENT = msgspec.Raw()


class _Top(msgspec.Struct):
    """What tells a COCO file from the annotation of one image."""

    images: msgspec.Raw = _ABSENT
    file: msgspec.Raw = _ABSENT
    image_size: msgspec.Raw = _ABSENT


def is_coco(path: Path) -> bool:
    """Whether a .json is a COCO file: by the names at its top; a broken one by those in it."""
    text = content(str(path)).removeprefix(BOM_UTF8)
    try:
        top = msgspec.json.decode(text, type=_Top)
    except msgspec.ValidationError:  # no object at the top
        return False
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        seen = set(_KEYS.findall(text))
        return bool(seen & _COCO_KEYS) and not seen & _ONE_IMAGE_KEYS
    return bool(bytes(top.images)) and not bytes(top.file) + bytes(top.image_size)


def content(path: str) -> bytes:
    """A file's bytes; of very many files, one after the other.

    A Path would enter each name into the interpreter's table of strings, which is then rebuilt
    again and again in the memory of every thread. Raises OSError naming the file.
    """
    with naming(path), io.FileIO(path) as file:
        return file.readall()


def walk(folder: Path) -> Iterator[Path]:
    """The files of `walk_names`, which is faster."""
    return (folder / name for name in walk_names(folder))


def walk_names(folder: Path) -> Iterator[str]:
    """Relative names of all files below a folder but hidden ones and those in lost+found.

    Links are followed once.

    Raises OSError where a folder cannot be read: files must not vanish silently.
    """
    seen: set[tuple[int, int]] = set()
    folders = [os.fspath(folder)]
    start = len(folders[0].rstrip("/")) + 1
    while folders:
        parent = folders.pop()
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        inside: list[str] = []
        with os.scandir(parent) as entries:  # os.walk would hold the names of all files
            for entry in entries:
                if entry.name.startswith(".") or entry.name == LOST_AND_FOUND:
                    continue
                if _is_folder(entry):
                    inside.append(entry.path)
                else:
                    yield entry.path[start:]
        folders.extend(sorted(inside, reverse=True))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _by_suffix(path: Path) -> Kind | None:
    suffix = path.suffix.lower()
    if suffix == RECORDIO_SUFFIX:
        return "recordio"
    return "image" if suffix in IMAGE_SUFFIXES else None


def _by_content(path: Path) -> Kind | None:
    """What the first bytes tell of a file whose suffix tells nothing."""
    if path.suffix.lower() in _BESIDE or _by_suffix(path) is not None:
        return None
    with path.open("rb") as file:
        head = file.read(8)
    return next((form for magic, form in _MAGICS if head.startswith(magic)), None)
