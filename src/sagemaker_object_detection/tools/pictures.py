"""The pictures that a command is given, and where what is made of each of them goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sagemaker_object_detection.data.listing import Listing
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.files import IMAGE_SUFFIXES

JSON_ENDING = ".json"
"""What is appended to the name of a picture for the file of its detections."""

_ENDINGS = ", ".join(sorted(IMAGE_SUFFIXES))


@dataclass(frozen=True)
class Picture:
    """A picture, and the path of its annotated copy relative to the folder of the output.

    The copy's suffix is one of platform.files.IMAGE_SUFFIXES, in any case of letters.
    """

    file: Path
    place: Path


class Pictures:
    """The pictures among paths: files as they are given, of folders those that a suffix tells.

    What is made of a file goes to the output folder itself under the file's name, what is made of
    a folder keeps the folder's structure: in the output folder itself when one folder is all that
    is given, else in a folder of the same name there. A name that is taken gets a number:
    `a.jpg`, `a-2.jpg`. Hidden files are left out, and links to folders are followed once.

    Args:
        paths: files and folders.
        out: the output folder, which may lie in one of them: what is in it is no input.

    Raises:
        ClientError: a path that is not there, is no file or folder, has no pictures, or lies in
            the output folder, where it might be written over.
    """

    def __init__(self, paths: Sequence[Path], out: Path) -> None:
        self._out = out.resolve()
        self._taken: set[str] = set()
        self._groups: list[tuple[Path, Path, Sequence[str]]] = []
        faults: list[str] = []
        for path in paths:
            self._check(path, faults)
        if faults:
            raise ClientError(*faults)
        for path in paths:
            if not path.is_dir():
                self._groups.append((path, self._claim(_picture_name(path.name)), ()))
                continue
            names = self._inside(path)
            if names:
                alone = len(paths) == 1
                place = Path() if alone else self._claim(_folder_name(path))
                self._groups.append((path, place, names))
            else:
                faults.append(
                    f"{path} holds no pictures ({_ENDINGS}). Give another folder, or the files "
                    "themselves."
                )
        if faults:
            raise ClientError(*faults)

    def __len__(self) -> int:
        return sum(len(names) or 1 for _, _, names in self._groups)

    def __iter__(self) -> Iterator[Picture]:
        for path, place, names in self._groups:
            if not names:
                yield Picture(path, place)
            for name in names:
                yield Picture(path / name, place / name)

    def _check(self, path: Path, faults: list[str]) -> None:
        if not path.exists():
            faults.append(f"{path} does not exist. Give a picture, or a folder with pictures.")
        elif not (path.is_file() or path.is_dir()):
            faults.append(f"{path} is neither a file nor a folder. Give a picture, or a folder.")
        elif path.resolve().is_relative_to(self._out):
            faults.append(
                f"{path} lies in the output folder, where it might be written over. Give another "
                "folder as --out."
            )

    def _inside(self, folder: Path) -> Sequence[str]:
        """Relative names of the pictures in a folder, without those in the output folder."""
        found = Listing.of(folder, IMAGE_SUFFIXES).names
        resolved = folder.resolve()
        if not self._out.is_relative_to(resolved):
            return found
        start = f"{self._out.relative_to(resolved).as_posix()}/"
        return Listing(folder, (name for name in found if not name.startswith(start))).names

    def _claim(self, name: str) -> Path:
        """The name, or with a number where it or its JSON would meet another, in any case."""
        path = Path(name)
        number = 1
        while _folded(path) & self._taken:
            number += 1
            path = Path(name).with_stem(f"{Path(name).stem}-{number}")
        self._taken |= _folded(path)
        return path


def _folded(path: Path) -> set[str]:
    """The names of a picture's two files, where case does not count."""
    return {path.name.casefold(), f"{path.name}{JSON_ENDING}".casefold()}


def _folder_name(path: Path) -> str:
    return path.name if path.name not in ("", "..") else path.resolve().name or "root"


def _picture_name(name: str) -> str:
    """A name that an annotated picture can have: with the suffix of a form that is written."""
    return name if Path(name).suffix.lower() in IMAGE_SUFFIXES else f"{name}.png"
