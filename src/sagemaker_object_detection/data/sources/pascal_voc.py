"""Pascal VOC: an XML file for each image, with or without lists of the images of a split."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.parsers.expat import ErrorString

import numpy as np

from sagemaker_object_detection.data.dataset import RawRecord, Source
from sagemaker_object_detection.data.listing import (
    Listing,
    base,
    composed,
    is_image,
    read_lines,
    stem,
)
from sagemaker_object_detection.data.refusal import refusal
from sagemaker_object_detection.data.sources.image_pairs import Pairs, pair_files
from sagemaker_object_detection.images import ImageError, decode, displayed_size
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError

_USUAL = re.compile(rf"(train|test|{'|'.join(files.split_names('val'))})(\d{{4}})?")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ZERO = re.compile(rb"<[xy]min>\s*0+(\.0*)?\s*</")
_MARKED = re.compile(r"(.*\S)\s+(-1|[01])")
_IMAGE_FOLDER = re.compile(r"(jpeg|jpg|png)?_?(images?|imgs?).*", re.IGNORECASE)
_NOTE_FOLDER = re.compile(r"(annotations?|annots?|xmls?|labels?).*", re.IGNORECASE)


@dataclass(frozen=True)
class ImageList:
    """The images that a list of a split names.

    Attributes:
        lines: name of an image without suffix -> the line of the list that names it first.
        remarks: sentences on lines that are repeated or marked.
    """

    file: Path
    lines: Mapping[str, int]
    remarks: tuple[str, ...] = ()


class VocSource(Source):
    """Images and their XML, in the order of the images' names.

    Corners in the files count pixels from 1, unless a corner of the set is 0; what they count from
    is taken from all four. Where a file has no <size>, that of its image as displayed counts.

    Attributes:
        counted_from: 0 or 1.

    Raises:
        ClientError: with up to ten offenders, XML files and images do not match, or images of the
            list have no XML.
    """

    unannotated: Sequence[str] = ()
    remarks: Sequence[str] = ()

    def __init__(self, images: Path, notes: Path, chosen: ImageList | None = None) -> None:
        pictures = Listing.of(images, files.IMAGE_SUFFIXES)
        texts = Listing.of(notes, {".xml"})
        self.counted_from = 0 if any(_has_zero(texts.path(n)) for n in range(len(texts))) else 1
        remarks: tuple[str, ...] = ()
        if chosen is not None:
            texts = Listing(notes, _named(texts, chosen))
            _check_complete(chosen, texts)
            remarks = chosen.remarks
        self._pairs: Pairs = pair_files(pictures, texts, _said)
        counts: Counter[str] = Counter()
        for index in range(len(self._pairs)):
            try:
                root = _parse(self._pairs.note(index))
            except ClientError:
                continue  # refused with its record
            counts.update((node.findtext("name") or "").strip() for node in root.findall("object"))
        self.listed_names = tuple(sorted(name for name in counts if name))
        self._ids = {name: number for number, name in enumerate(self.listed_names)}
        lonely = self._pairs.lonely if chosen is None else ()
        self.unannotated = tuple(str(images / name) for name in lonely)
        self.remarks = (*remarks, f"{notes}: corners are counted from {self.counted_from}.")

    def renumber(self, names: Sequence[str]) -> None:
        """Number the classes by their places in `names`, which has all of them."""
        self._ids = {name: number for number, name in enumerate(names)}
        self.listed_names = tuple(names)

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        """The image's file."""
        return self._pairs.image(index)

    def image_name(self, index: int) -> str:
        """Relative to the folder of the images."""
        return self._pairs.image_names[index]

    def read(self, index: int) -> RawRecord:
        """Image and boxes, corners in pixels of the size that the XML declares.

        Raises ClientError for XML that cannot be read and an object that is not complete.
        """
        note = self._pairs.note(index)
        root = _parse(note)
        objects = [(f"{note}, object {n}", node) for n, node in enumerate(root.findall("object"))]
        corners = [_box(node, where) for where, node in objects]
        image = self.read_image(index)
        return RawRecord(
            image,
            np.array(corners, np.float64).reshape(-1, 4) - self.counted_from,
            np.array([self._ids[_class_name(node, where)] for where, node in objects], np.int64),
            np.array([_flag(node, "difficult") for _, node in objects], np.bool_),
            _declared(root) or _size(image),
            note,
        )

    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""
        return files.content(self._pairs.image(index))


def open_voc(folder: Path, split: str | None) -> VocSource:
    """A split of a data set: what its list in ImageSets names, its own folder, or all there is.

    Its own folder is above those of images and XML, or one in each of both.

    Folders are known by what they hold and are called: `Annotations`, `annots`, `JPEGImages`,
    `images`, in any spelling; or XML lies next to the images.

    Raises ClientError where there are no images or no XML, and as VocSource.
    """
    names = () if split is None else files.split_names(split)
    lists = (_list_folder(folder) / f"{name}.txt" for name in names)
    file = next((path for path in lists if path.is_file()), None)
    if file is None:
        folder = next((folder / name for name in names if (folder / name).is_dir()), folder)
    images = _folder(folder, _IMAGE_FOLDER, files.IMAGE_SUFFIXES)
    notes = _folder(folder, _NOTE_FOLDER, {".xml"})
    for what, kind, found in (("images", "JPEG, PNG, WebP, BMP", images), ("XML", ".xml", notes)):
        if found is None:
            raise ClientError(f"{folder} holds no {what} ({kind}). Give the folder that has them.")
    assert images is not None
    assert notes is not None
    if file is None:
        name = next((name for name in names if name in _common(images, notes)), "")
        images, notes = images / name, notes / name
    return VocSource(images, notes, None if file is None else read_list(file, notes))


def voc_splits(folder: Path) -> list[str]:
    """Names of the splits that lists or folders of a data set tell; none where it is not split."""
    found = {path.stem for path in _list_folder(folder).glob("*.txt")}
    images = _folder(folder, _IMAGE_FOLDER, files.IMAGE_SUFFIXES)
    notes = _folder(folder, _NOTE_FOLDER, {".xml"})
    if not found and images is not None and notes is not None and images != notes:
        found |= {name for name in _common(images, notes) if _USUAL.fullmatch(name)}
    for path in folder.iterdir():
        named = _IMAGE_FOLDER.fullmatch(path.name) or _NOTE_FOLDER.fullmatch(path.name)
        if path.is_dir() and not named and _holds(path, {".xml"}):
            found.add(path.name)
    return sorted(found)


def _common(images: Path, notes: Path) -> set[str]:
    """Names of the folders that both have."""
    return {
        path.name for path in notes.iterdir() if path.is_dir() and (images / path.name).is_dir()
    }


def read_list(file: Path, notes: Path) -> ImageList:
    """The images of a list: a name a line, with or without suffix and a mark, `a.jpg -1`.

    A number behind a blank belongs to the name where `notes` has XML of that name.

    Raises ClientError for a list that is empty or no text.
    """
    lines: dict[str, int] = {}
    remarks: list[str] = []
    marked = 0
    for number, line in enumerate(read_lines(file), 1):
        if not line or line.startswith("#"):
            continue
        name, mark = line, ""
        if (found := _MARKED.fullmatch(line)) and not (notes / f"{line}.xml").is_file():
            name, mark = found.groups()
        marked += mark == "-1"
        name = composed(stem(name) if is_image(name) else name)
        if name in lines:
            first = lines[name]
            remarks.append(f"{file}: line {first} and line {number} name {name}; it is used once.")
        lines.setdefault(name, number)
    if not lines:
        raise ClientError(f"{file} names no images. Write one name a line, without suffix.")
    if marked:
        remarks.append(f"{file}: {marked} images are marked -1; they are used with all objects.")
    return ImageList(file, lines, tuple(remarks))


def _list_folder(folder: Path) -> Path:
    sets = _child(folder, "ImageSets")
    return folder / "ImageSets" if sets is None else _child(sets, "Main") or sets


def _child(folder: Path, name: str) -> Path | None:
    """The folder of that name, in any spelling."""
    inside = (path for path in folder.iterdir() if path.name.lower() == name.lower())
    return next((path for path in inside if path.is_dir()), None)


def _folder(root: Path, name: re.Pattern[str], suffixes: set[str] | frozenset[str]) -> Path | None:
    """The folder of that name with such files in it, or else the root where it holds some."""
    inside = [p for p in sorted(root.iterdir()) if p.is_dir() and name.fullmatch(p.name)]
    found = [path for path in inside if _holds(path, suffixes)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ClientError(f"{root}: several folders could be meant: {names}. Keep one of them.")
    if found:
        return found[0]
    return root if _holds(root, suffixes) else None


def _holds(folder: Path, suffixes: set[str] | frozenset[str]) -> bool:
    return any(path.suffix.lower() in suffixes for path in files.walk(folder))


def _named(listing: Listing, chosen: ImageList) -> list[str]:
    return [name for name in listing.names if not chosen.lines.keys().isdisjoint(_called(name))]


def _called(name: str) -> tuple[str, str]:
    """What a list may call a file: its path or its base name, without the suffix."""
    path = composed(stem(name))
    return path, base(path)


def _check_complete(chosen: ImageList, texts: Listing) -> None:
    there = {called for name in texts.names for called in _called(name)}
    missing = [
        f"{chosen.file}, line {line}: there is no {name}.xml in {texts.folder}. Add it, or remove "
        "the line."
        for name, line in chosen.lines.items()
        if name not in there
    ]
    if missing:
        raise refusal(f"{chosen.file} names images without XML", missing)


def _has_zero(path: Path) -> bool:
    return path.is_file() and _ZERO.search(files.content(str(path))) is not None


def _said(path: Path) -> str | None:
    return _parse(str(path)).findtext("filename") or None


def _parse(note: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(files.content(note))
    except ElementTree.ParseError as error:
        line, column = error.position
        raise ClientError(
            f"{note}, line {line}, column {column + 1}: not valid XML "
            f"({ErrorString(error.code)}). Mend the file at that place."
        ) from None
    except (LookupError, ValueError) as error:
        raise ClientError(
            f"{note}: the XML is in an encoding that cannot be read ({error}). Save the file as "
            "UTF-8."
        ) from None


def _class_name(node: ElementTree.Element, where: str) -> str:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise ClientError(f"{where}: no class <name>. Add it, or remove the object.")
    return name


def _flag(node: ElementTree.Element, tag: str) -> bool:
    return (node.findtext(tag) or "0").strip() == "1"


def _box(node: ElementTree.Element, where: str) -> list[float]:
    corners = []
    for tag in _CORNERS:
        text = node.findtext(f"bndbox/{tag}")
        try:
            value = float(text) if text is not None else np.nan
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            found = "missing" if text is None else repr(text.strip())
            raise ClientError(
                f"{where}: <{tag}> is {found}, it must be a number of pixels. Mend it, or remove "
                "the object."
            )
        corners.append(value)
    return corners


def _declared(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        width, height = (int(float(root.findtext(f"size/{s}") or 0)) for s in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if min(width, height) > 0 else None


def _size(image: bytes) -> tuple[int, int]:
    """As displayed; of an image that cannot be decoded, and is dropped, any."""
    if (size := displayed_size(image)) is not None:
        return size
    try:
        height, width = decode(image, "it").shape[:2]
    except ImageError:
        return (1, 1)
    return width, height
