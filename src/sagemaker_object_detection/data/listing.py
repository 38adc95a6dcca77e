"""The files of a channel's folder, and which of them a reference in an annotation means.

References come from elsewhere: they are paths on the machine that labeled, S3 URIs, or base names.
They are compared with the names of the files that are there and never opened as paths, so that
none leads out of the channel.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError


class Listing:
    """Files below a folder by their relative names, which are sorted.

    Attributes:
        folder: the channel.
        names: relative to it, with slashes.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self.names = sorted(names)

    @classmethod
    def of(cls, folder: Path, suffixes: Container[str] | None = None) -> Listing:
        """The files whose suffix, in lower case, is one of these; None takes all.

        Hidden files are skipped. Raises OSError where a folder cannot be read.
        """
        names = files.walk_names(folder)
        return cls(folder, (n for n in names if suffixes is None or _suffix(n) in suffixes))

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> Path:
        """Where a file is."""
        return self.folder / self.names[index]

    def resolve(self, reference: str) -> list[int]:
        """The file that a reference means; none or several where that cannot be said.

        Of the files with the base name of the reference those count that share the longest ending
        with it: `s3://bucket/day1/a.jpg` means `day1/a.jpg`, or else the one `a.jpg` that there is.
        A reference that is percent-encoded, has a query, or is a path of Windows is read as it is
        written and then, where that means no file, decoded.
        """
        for text in _readings(reference):
            if found := self._resolve([part for part in text.split("/") if part not in ("", ".")]):
                return found
        return []

    def _resolve(self, parts: list[str]) -> list[int]:
        if not parts:
            return []
        named = self._by_base.get(composed(parts[-1]), [])
        if len(named) < 2:
            return named
        wanted = [composed(part) for part in reversed(parts)]
        best: list[int] = []
        longest = (0, False)
        for index in named:
            own = [composed(part) for part in reversed(self.names[index].split("/"))]
            common = 0
            while common < min(len(own), len(wanted)) and own[common] == wanted[common]:
                common += 1
            rank = (common, common == len(own))  # of equals, the one whose whole name it is
            if rank > longest:
                best, longest = [], rank
            if rank == longest:
                best.append(index)
        return best

    @cached_property
    def _by_base(self) -> dict[str, list[int]]:
        return grouped(self.names, base)


def _readings(reference: str) -> Iterator[str]:
    """As it is written, which nearly always means a file, and then decoded."""
    yield reference
    yield reference.replace("\\", "/")
    yield unquote(reference)
    yield unquote(reference.partition("?")[0])


def grouped(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[int]]:
    """Key -> the positions of the names that have it, in their order.

    Letters with accents are found however they are composed: macOS takes the names of files apart,
    and what a program has written about them may be whole (Unicode's forms NFD and NFC).
    """
    found: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        found.setdefault(composed(key(name)), []).append(position)
    return found


def composed(text: str) -> str:
    """Unicode's form NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def base(name: str) -> str:
    """The name without folders."""
    return name.rpartition("/")[2]


def stem(name: str) -> str:
    """The relative name without its suffix."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)


def unlisted_remark(unlisted: int, file: Path) -> tuple[str, ...]:
    """A sentence on images that a file does not list, where there are any."""
    return (f"{unlisted} images are not used, since {file} does not list them.",) * bool(unlisted)


def is_image(name: str) -> bool:
    """Whether the suffix of a file says that it is an image."""
    return _suffix(name) in files.IMAGE_SUFFIXES


def _suffix(name: str) -> str:
    """In lower case, with its dot."""
    _, dot, suffix = base(name).rpartition(".")
    return dot + suffix.lower()


def read_text(path: Path) -> str:
    """The text of a file. Raises ClientError when it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClientError(
            f"{path}: byte {error.start} is not UTF-8 text. Save the file as UTF-8."
        ) from None


def read_lines(path: Path) -> list[str]:
    """The lines of a file without white space around them. Raises ClientError as `read_text`."""
    return [line.strip() for line in read_text(path).splitlines()]
