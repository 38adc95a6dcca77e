"""YOLO: images, and a text for each with a line for each object.

A line is ``class_id center_x center_y width height``, in 0..1 of the image as displayed. An image
without a text, or with an empty one, has no objects. Longer lines are polygons and turned boxes,
whose upright box counts, or boxes with keypoints, where data.yaml says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from sagemaker_object_detection.data.dataset import RawRecord, Source
from sagemaker_object_detection.data.listing import Listing, composed, read_lines, stem
from sagemaker_object_detection.data.refusal import refusal
from sagemaker_object_detection.data.sources.yolo_yaml import YoloConfig, find_config
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError

_LARGEST = 2.0
_NAME_FILES = ("classes.txt", "obj.names", "data.names")
_FORM = "A line is 'class_id center_x center_y width height', the last four in 0..1"
_IDS = 10_000


class YoloSource(Source):
    """The images of a split, in the order of their names or of their list.

    Args:
        images: the files, and what each is called inside the data set.
        root: of the data set.
        names: of the classes, class id 0 first; () where nothing tells them.
        keypoint_numbers: numbers behind the box of each row.
        labels: folder of the texts; by default they are next to the images, or in `labels`.

    Raises ClientError when no image has a text.
    """

    def __init__(
        self,
        images: Sequence[tuple[str, str]],
        root: Path,
        names: Sequence[str] = (),
        keypoint_numbers: int = 0,
        labels: Path | None = None,
    ) -> None:
        self._images = images
        self.listed_names = tuple(names)
        self._ids = np.arange(len(names) or _IDS)
        self._keypoint_numbers = keypoint_numbers
        self._longer: dict[int, int] = {}
        find = cache(_texts)
        beside = cache(lambda folder: str(_label_folder(Path(folder) / "a.jpg", root)))
        self._labels: list[str | None] = []
        folder = str(root)
        for path, name in images:
            folder, _, file = (path if labels is None else f"{labels}/{name}").rpartition("/")
            if labels is None:
                folder = beside(folder)
            text = find(folder).get(composed(stem(file)))
            self._labels.append(None if text is None else f"{folder}/{text}")
        if not any(self._labels):
            raise ClientError(
                f"{root}: none of {len(images)} images has a label, a .txt of its name. They were "
                f"looked for in {folder}, for example. Put the labels there."
            )

    @property
    def remarks(self) -> Sequence[str]:
        """What the rows read so far had beside a box."""
        if not self._longer:
            return ()
        what = (
            "have keypoints, which are left out"
            if self._keypoint_numbers
            else "are polygons or turned boxes; the upright box around each is used"
        )
        where = self._labels[min(self._longer)]
        rows = sum(self._longer.values())
        return (f"{rows} rows in {len(self._longer)} labels {what}, such as in {where}.",)

    def renumber(self, names: Sequence[str]) -> None:
        """Number the classes by their places in `names`, which has all that are listed."""
        new = np.array([names.index(name) for name in self.listed_names], np.int64)
        self._ids = new[self._ids]
        self.listed_names = tuple(names)

    def __len__(self) -> int:
        return len(self._images)

    def name(self, index: int) -> str:
        """The image's file."""
        return self._images[index][0]

    def image_name(self, index: int) -> str:
        """Inside the folder of the images."""
        return self._images[index][1]

    def read(self, index: int) -> RawRecord:
        """Image and boxes, corners in 0..1. Raises ClientError for a line that is no box."""
        label = self._labels[index]
        lines = [] if label is None else read_lines(Path(label))
        rows = [
            self._row(line.split(), f"{label}, line {number}")
            for number, line in enumerate(lines, 1)
            if line
        ]
        if longer := sum(row[2] for row in rows):
            self._longer[index] = longer
        return RawRecord(
            self.read_image(index),
            np.array([row[1] for row in rows], np.float64).reshape(-1, 4),
            self._ids[np.array([row[0] for row in rows], np.int64)],
            np.zeros(len(rows), np.bool_),
            label_name=label,
        )

    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""
        return files.content(self._images[index][0])

    def _row(self, words: list[str], where: str) -> tuple[int, list[float], bool]:
        """Class id, corners, and whether the row has more than a box."""
        try:
            numbers = np.array([float(word) for word in words])
        except ValueError as error:
            raise ClientError(f"{where}: {error}. {_FORM}.") from None
        limit = len(self._ids)
        if not numbers[0].is_integer() or not 0 <= numbers[0] < limit:
            cure = "Correct the line, or name the class" if self.listed_names else "Correct it"
            raise ClientError(
                f"{where}: the class id is {words[0]}, it must be in 0..{limit - 1}. {cure}."
            )
        count, values = len(words), numbers[1:]
        if not (np.isfinite(values).all() and (np.abs(values) <= _LARGEST).all()):
            raise ClientError(
                f"{where}: the box is {' '.join(words[1:9])}. {_FORM}: divide pixels by the "
                "image's width and height."
            )
        if count in (5, 5 + self._keypoint_numbers):
            center, half = values[:2], values[2:4] / 2
            corners = [*(center - half), *(center + half)]
        elif not self._keypoint_numbers and count >= 7 and count % 2:
            points = values.reshape(-1, 2)
            corners = [*points.min(axis=0), *points.max(axis=0)]
        else:
            raise ClientError(f"{where}: {self._fault(count)}. {_FORM}.")
        return int(numbers[0]), corners, count > 5

    def _fault(self, count: int) -> str:
        if self._keypoint_numbers:
            return f"{count} numbers, by kpt_shape it is {5 + self._keypoint_numbers}"
        if count < 5:
            return f"{count} numbers are too few"
        if count == 6:
            return "6 numbers: a detection with its score, or a label with a further column"
        return f"{count} numbers: if it is a box with keypoints, data.yaml must tell kpt_shape"


def open_yolo(folder: Path, split: str | None, labels: Path | None = None) -> YoloSource:
    """A split of a data set, or all of a folder where `split` is None or nothing is split.

    Splits are where data.yaml says, in `images/<split>`, `<split>/images`, `<split>`, or listed in
    `<split>.txt`, here or in `data`. Names come from data.yaml, or a classes.txt or obj.names: the
    nearest to the labels counts. `folder` may be the data.yaml itself; `labels` as of YoloSource.

    Raises ClientError as `find_config`, for listed images that are missing, for texts without an
    image, and as YoloSource.
    """
    config = find_config(folder)
    folder = folder if folder.is_dir() else folder.parent
    places = _places(folder, split, config) if split is not None else []
    places = places or [next((p for p in _children(folder) if p.name == "images"), folder)]
    images = list(dict.fromkeys(image for p in places for image in _images(p, folder)))
    names = config.names if config is not None else ()
    if not names:
        nearest = [_label_folder(Path(path), folder) for path, _ in images[:1]]
        names = _listed_names(folder, [*([labels] if labels else []), *nearest, *places])
    numbers = config.keypoint_numbers if config is not None else 0
    return YoloSource(images, folder, names, numbers, labels)


def yolo_splits(folder: Path) -> list[str]:
    """Names of the splits of a data set; none where it is not split."""
    config = find_config(folder)
    folder = folder if folder.is_dir() else folder.parent
    found = set(config.splits) if config is not None else set()
    found |= {path.name for path in _children(folder / "images")}
    found |= {path.parent.name for path in folder.glob("*/images")}
    for path in (*folder.glob("*.txt"), *folder.glob("data/*.txt")):
        if path.stem in {"train", *files.split_names("val"), "test"}:
            found.add(path.stem)
    reserved = {"images", "labels", "data"}
    found |= {p.name for p in _children(folder) if p.name not in reserved and _pairs_in(p)}
    return sorted(found - {"data"} if (folder / "data/images").is_dir() else found)


def _children(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _pairs_in(folder: Path) -> bool:
    names = [path.name for path in folder.iterdir()]
    texts = {stem(name) for name in names if name.lower().endswith(".txt")}
    return any(stem(n) in texts for n in names if n.lower().endswith(tuple(files.IMAGE_SUFFIXES)))


def _places(folder: Path, split: str, config: YoloConfig | None) -> list[Path]:
    """Folders, lists and images of a split; none where there is none of that name."""
    names = files.split_names(split)
    told = config.splits if config is not None else {}
    values = next((told[name] for name in names if name in told), None)
    if config is not None and values:
        return [_find(folder, value, config) for value in values]
    for name in names:
        for place in (
            folder / "images" / name,
            folder / name / "images",
            folder / f"{name}.txt",
            folder / "data" / f"{name}.txt",
            folder / name,
        ):
            if place.exists():
                return [place]
    return []


def _find(folder: Path, value: str, config: YoloConfig) -> Path:
    """What a path in data.yaml means, which was written on another machine or for another tool."""
    inside = value.removeprefix("../").removeprefix("./")
    candidates = [folder / (config.root or "") / value, folder / value, folder / inside]
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        tried = ", ".join(str(path) for path in dict.fromkeys(candidates))
        raise ClientError(
            f"{config.file}: '{value}' leads to no folder, list or image (looked for {tried}). "
            "Correct the path."
        )
    return found


def _images(place: Path, root: Path) -> Iterator[tuple[str, str]]:
    """(file, name inside the data set) of the images in a folder or a list, or of one image."""
    if place.is_dir():
        listing = Listing.of(place, files.IMAGE_SUFFIXES)
        if not len(listing):
            raise ClientError(
                f"{place} holds no images ({', '.join(sorted(files.IMAGE_SUFFIXES))})."
            )
        labels = _label_folder(place / "a.jpg", root)
        if labels != place and labels.is_dir():
            _check_labels(listing, labels)
        yield from ((f"{place}/{name}", name) for name in listing.names)
    elif place.suffix.lower() in files.IMAGE_SUFFIXES:
        yield str(place), place.name
    else:
        yield from _in_list(place, root)


def _in_list(file: Path, root: Path) -> Iterator[tuple[str, str]]:
    listing = Listing.of(root, files.IMAGE_SUFFIXES)
    lines = read_lines(file)
    if not any(lines):
        raise ClientError(f"{file} lists no images. Write one path a line.")
    faults = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        if (direct := file.parent / line).is_file():
            path = direct
        else:
            found = listing.resolve(line)
            if len(found) != 1:
                several = ", ".join(listing.names[n] for n in found[:4])
                why = f"can be several images: {several}" if found else f"is no image in {root}"
                faults.append(f"{file}, line {number}: {line} {why}. Correct the path.")
                continue
            path = listing.path(found[0])
        yield str(path), _name(path, root)
    if faults:
        raise refusal(f"{file} lists images that are missing", faults)


def _name(path: Path, root: Path) -> str:
    """The path inside the data set, without the folder that all images are in."""
    if not path.is_relative_to(root) or ".." in path.relative_to(root).parts:
        return path.name
    parts = path.relative_to(root).parts
    return "/".join(parts[1:] if parts[0] == "images" else parts)


def _label_folder(image: Path, root: Path) -> Path:
    """`labels` where the image is in `images`, whose last one counts; else the image's folder."""
    inside = image.parent.relative_to(root) if image.is_relative_to(root) else image.parent
    parts = list(inside.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return root.joinpath(*parts)


def _texts(folder: str) -> dict[str, str]:
    """Name without suffix -> the text of that name."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        names = []
    return {composed(stem(name)): name for name in names if name.lower().endswith(".txt")}


def _check_labels(images: Listing, labels: Path) -> None:
    stems = {composed(stem(name)) for name in images.names}
    lonely = [
        f"{labels / name}: there is no image {stem(name)} in {images.folder}. Add the image or "
        "remove the label."
        for name in Listing.of(labels, {".txt"}).names
        if not name.endswith(_NAME_FILES) and composed(stem(name)) not in stems
    ]
    if lonely:
        raise refusal(f"Labels and images of {images.folder} do not match", lonely)


def _listed_names(root: Path, places: Iterable[Path]) -> tuple[str, ...]:
    """From the folders of labels or images, those around them up to the root, or the root's."""
    folders: list[Path] = []
    for folder in places:
        folders += [folder, *(f for f in folder.parents if f.is_relative_to(root))]
    for folder in dict.fromkeys((*folders, root, root / "data", root / "labels")):
        for name in _NAME_FILES:
            if (folder / name).is_file():
                return tuple(line for line in read_lines(folder / name) if line)
    return ()
