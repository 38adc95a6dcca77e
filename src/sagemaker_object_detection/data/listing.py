"""The files of a channel's folder, and which of them a reference in an annotation means.

References come from elsewhere: they are paths on the machine that labelled, S3 URIs, or base names.
They are compared with the names of the files that are there and never opened as paths, so that
none leads out of the channel.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from functools import cached_property
from itertools import islice
from pathlib import Path

from sagemaker_object_detection.data.names import Lookup, Names
from sagemaker_object_detection.platform import files

_SHOWN_CANDIDATES = 5


class Listing:
    """Files below a folder by their relative names, which are sorted.

    Attributes:
        folder: the channel.
        names: relative to it, with slashes.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self.names = Names.in_order(names)
        self._depth = max((name.count("/") + 1 for name in self.names), default=0)
        self._by_depth: dict[int, Lookup] = {}

    @classmethod
    def of(cls, folder: Path, suffixes: Container[str] | None = None) -> Listing:
        """The files whose suffix, in lower case, is one of these; None takes all.

        Hidden files are left out. Raises OSError where a folder cannot be read.
        """
        return cls(
            folder,
            (
                path.relative_to(folder).as_posix()
                for path in files.walk(folder)
                if suffixes is None or path.suffix.lower() in suffixes
            ),
        )

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _by_path(self) -> Lookup:
        return Lookup(self.names, str)

    def path(self, index: int) -> Path:
        """Where a file is."""
        return self.folder / self.names[index]

    def find(self, name: str) -> int | None:
        """The file with exactly this relative name."""
        return next(self._by_path.find(name), None)

    def resolve(self, reference: str) -> list[int]:
        """The file that a reference means; none or several where that cannot be said.

        Either the file's name ends the reference (`s3://bucket/some/folder/a.jpg` means
        `folder/a.jpg`, or else `a.jpg`): the longest counts. Or else the reference ends the file's
        name (`a.jpg` means `some/folder/a.jpg`), if it does so for one file only. Of several, the
        first five are given.
        """
        found = self._resolve([part for part in reference.split("/") if part not in ("", ".")])
        if not found and "\\" in reference:
            path = reference.replace("\\", "/")
            found = self._resolve([part for part in path.split("/") if part not in ("", ".")])
        return found

    def _resolve(self, parts: list[str]) -> list[int]:
        for count in range(min(len(parts), self._depth), 0, -1):
            found = self.find("/".join(parts[-count:]))
            if found is not None:
                return [found]
        if not 0 < len(parts) < self._depth:
            return []
        if len(parts) not in self._by_depth:
            self._by_depth[len(parts)] = Lookup(self.names, _Ending(len(parts)))
        return list(islice(self._by_depth[len(parts)].find("/".join(parts)), _SHOWN_CANDIDATES))


class _Ending:
    """The last few parts of a relative name."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, name: str) -> str:
        return "/".join(name.rsplit("/", self._count)[-self._count :])


def is_image(name: str) -> bool:
    """Whether the suffix of a file says that it is an image."""
    _, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() in files.IMAGE_SUFFIXES
