"""What the files of a channel's folder are: RecordIO, single images, or something beside them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Form = Literal["recordio", "image"]

RECORDIO_SUFFIX = ".rec"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
_BESIDE = frozenset({".idx", ".lst", ".json", ".jsonl", ".manifest", ".txt", ".csv", ".xml", ".md"})

_MAGICS: tuple[tuple[bytes, Form], ...] = (
    (b"\x0a\x23\xd7\xce", "recordio"),
    (b"\xff\xd8\xff", "image"),
    (b"\x89PNG\r\n\x1a\n", "image"),
)


def forms(folder: Path) -> set[Form]:
    """The forms that suffixes tell, or, where none does, what the first file that tells is."""
    paths = list(walk(folder))
    named = {form for path in paths if (form := _by_suffix(path)) is not None}
    if named:
        return named
    contents = (_by_content(path) for path in paths)
    first = next((form for form in contents if form is not None), None)
    return set() if first is None else {first}


def of_form(folder: Path, form: Form) -> tuple[Path, ...]:
    """The files of one form, sorted: those whose suffix says so, or else whose content does."""
    paths = sorted(walk(folder))
    named = tuple(path for path in paths if _by_suffix(path) == form)
    return named or tuple(path for path in paths if _by_content(path) == form)


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder but hidden ones, such as .DS_Store; links are followed once.

    Raises OSError where a folder cannot be read: files must not vanish silently.
    """
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _by_suffix(path: Path) -> Form | None:
    suffix = path.suffix.lower()
    if suffix == RECORDIO_SUFFIX:
        return "recordio"
    return "image" if suffix in IMAGE_SUFFIXES else None


def _by_content(path: Path) -> Form | None:
    """What the first bytes tell of a file whose suffix tells nothing."""
    if path.suffix.lower() in _BESIDE or _by_suffix(path) is not None:
        return None
    with path.open("rb") as file:
        head = file.read(8)
    return next((form for magic, form in _MAGICS if head.startswith(magic)), None)
