"""Names of the classes, from wherever the input has them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Protocol

from sagemaker_object_detection.platform.errors import ClientError

log = logging.getLogger(__name__)

CLASSES_FILE = "classes.txt"


def class_names(
    given: tuple[str, ...],
    listed: Mapping[str, tuple[str, ...]],
    folders: Iterable[Path],
    found: Mapping[int, Set[str]],
    num_classes: int,
    earlier: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """One name for each class id, by the first of these that has them.

    Args:
        given: the hyperparameter class_names.
        listed: channel -> its COCO categories in the order of their ids.
        folders: where a `classes.txt` may lie, a name a line.
        found: class id -> names that annotations give to it; used where all agree on one.
        earlier: names of the model that training goes on from, class_0, class_1 and so on without.

    Raises:
        ClientError: classes.txt is not UTF-8 text, or channels list different categories.
    """
    check_categories(listed)
    for channel, categories in listed.items():
        if given and given != categories:
            log.warning(
                "The hyperparameter class_names (%s) renames the categories of the COCO file of "
                "'%s' (%s), in the order of their ids. See that each name stands at its place, or "
                "leave class_names out.",
                ", ".join(given),
                channel,
                ", ".join(categories),
            )
            break
    told = given or next(iter(listed.values()), ()) or _from_files(folders, num_classes)
    names = told or _agreed(found, earlier or tuple(f"class_{i}" for i in range(num_classes)))
    if earlier and names != earlier:
        log.warning(
            "The classes are called %s, and in the model that training goes on from %s. It knows "
            "them by their ids alone: see that these have kept their meaning.",
            ", ".join(names),
            ", ".join(earlier),
        )
    return names


def check_categories(listed: Mapping[str, tuple[str, ...]]) -> None:
    """Raises ClientError when channels list different COCO categories."""
    if len(set(listed.values())) > 1:
        shown = "; ".join(f"{name}: {', '.join(names)}" for name, names in listed.items())
        raise ClientError(
            f"The COCO files of the channels have different categories ({shown}). A class_id is a "
            "category's place in the order of the ids, so they must agree: give every file the "
            "same list of categories."
        )


def _from_files(folders: Iterable[Path], num_classes: int) -> tuple[str, ...]:
    listed = (_from_file(folder / CLASSES_FILE, num_classes) for folder in folders)
    return next((names for names in listed if names), ())


def _from_file(path: Path, num_classes: int) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    listed = read_classes(path)
    if len(listed) == num_classes and len(set(listed)) == num_classes:
        return listed
    log.warning(
        "%s is not used: it holds %d different names, num_classes is %d.",
        path,
        len(set(listed)),
        num_classes,
    )
    return ()


class FoundNames:
    """Names that annotations give to class ids, collected by several threads at once."""

    def __init__(self) -> None:
        self._names: dict[int, set[str]] = {}
        self._lock = threading.Lock()

    def add(self, names: Mapping[int, str]) -> None:
        """What one annotation calls its classes."""
        with self._lock:
            for class_id, name in names.items():
                self._names.setdefault(class_id, set()).add(name)

    def so_far(self) -> dict[int, set[str]]:
        """Class id -> its names; a copy."""
        with self._lock:
            return {class_id: set(names) for class_id, names in self._names.items()}


class Naming(Protocol):
    """A source, or a stream."""

    @property
    def class_names(self) -> Mapping[int, Set[str]]:
        """Names that the records read so far give to a class id."""


def found_names(origins: Iterable[Naming]) -> dict[int, set[str]]:
    """Names that the records of several channels give to a class id."""
    found: dict[int, set[str]] = {}
    for origin in origins:
        for class_id, names in origin.class_names.items():
            found.setdefault(class_id, set()).update(names)
    return found


def _agreed(found: Mapping[int, Set[str]], others: tuple[str, ...]) -> tuple[str, ...]:
    """The name that all give to a class, or else that of `others`, which has one for each."""
    num_classes = len(others)
    agreed = {i: next(iter(names)) for i, names in found.items() if len(names) == 1}
    torn = {i: names for i, names in found.items() if len(names) > 1 and 0 <= i < num_classes}
    for i, several in torn.items():
        log.warning(
            "The annotations call class_id %d by different names (%s): not used.",
            i,
            ", ".join(sorted(several)[:5]),
        )
    names = tuple(agreed.get(i) or name for i, name in enumerate(others))
    if len(set(names)) < num_classes:
        log.warning("The annotations' categories give one name to several classes: not used.")
        return others
    return names


def read_classes(path: Path) -> tuple[str, ...]:
    """The names in a file, one a line. Raises ClientError when it is not text."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ClientError(
            f"{path}: byte {error.start} is not UTF-8 text. Save the class names as UTF-8, one a "
            "line, or remove the file."
        ) from None
    return tuple(line.strip() for line in lines if line.strip())
