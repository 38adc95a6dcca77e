"""Names of the classes, from wherever the input has them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sagemaker_object_detection.data.annotations import shown
from sagemaker_object_detection.platform.errors import ClientError

log = logging.getLogger(__name__)

CLASSES_FILE = "classes.txt"
_SHOWN_IDS = 3


def class_names(
    given: tuple[str, ...],
    listed: Mapping[str, tuple[str, ...]],
    folders: Iterable[Path],
    found: AnnotatedNames,
    num_classes: int,
    earlier: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """One name for each class id, by the first of these that has them.

    Args:
        given: the hyperparameter class_names.
        listed: channel -> its COCO categories in the order of their ids.
        folders: where a `classes.txt` may lie, a name a line.
        found: names in annotations; a warning says so where they do not number the labels.
        earlier: names of the model that training goes on from, class_0, class_1 and so on without.

    Raises:
        ClientError: classes.txt is not UTF-8 text; or, if no names are `given`, annotations call
            one class id by different names.
    """
    if not given:
        _refuse_contradictions(listed, found, num_classes)
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
    names = told or _annotated(found, earlier or tuple(f"class_{i}" for i in range(num_classes)))
    if earlier and names != earlier:
        log.warning(
            "The classes are called %s, and in the model that training goes on from %s. It knows "
            "them by their ids alone: see that these have kept their meaning.",
            ", ".join(names),
            ", ".join(earlier),
        )
    return names


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


@dataclass(frozen=True)
class AnnotatedNames:
    """What annotations call the classes.

    Attributes:
        places: (class id, name) -> the first file or manifest line with it, the first one first.
        misfit: what is wrong with the first of them that annotates a class id which it does not
            list; None where all fit.
    """

    places: Mapping[tuple[int, str], str] = field(default_factory=dict)
    misfit: str | None = None

    @classmethod
    def merged(cls, parts: Iterable[AnnotatedNames]) -> AnnotatedNames:
        """Those of several sources, the first of which counts."""
        places: dict[tuple[int, str], str] = {}
        misfit = None
        for part in parts:
            for named, place in part.places.items():
                places.setdefault(named, place)
            misfit = misfit or part.misfit
        return cls(places, misfit)


class FoundNames:
    """Collects AnnotatedNames from several threads at once."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, str], tuple[int, str]] = {}
        self._misfit: tuple[int, str] | None = None
        self._lock = threading.Lock()

    def add(
        self, names: Mapping[int, str], class_ids: Iterable[int], index: int, place: str
    ) -> None:
        """What one annotation calls its classes.

        Args:
            names: class id -> name, as the annotation lists them; empty if it lists none.
            class_ids: those of its objects.
            index: its place among all annotations, whatever the order in which they are added.
            place: its file or manifest line.
        """
        if not names:
            return
        missing = set(class_ids) - names.keys()
        with self._lock:
            for class_id, name in names.items():
                if name := name.strip():
                    first = self._places.get((class_id, name), (index, place))
                    self._places[class_id, name] = min(first, (index, place))
            if missing:
                fault = index, f"{place} annotates class_id {min(missing)}, which it does not list"
                self._misfit = min(self._misfit or fault, fault)

    def so_far(self) -> AnnotatedNames:
        """What was added until now."""
        with self._lock:
            ordered = sorted(self._places.items(), key=lambda item: item[1])
            misfit = self._misfit
        places = {named: place for named, (_, place) in ordered}
        return AnnotatedNames(places, misfit[1] if misfit else None)


def _refuse_contradictions(
    listed: Mapping[str, tuple[str, ...]], found: AnnotatedNames, num_classes: int
) -> None:
    """Raises ClientError if a class id has two names; misfits do not count."""
    if found.misfit:
        return
    places: dict[int, dict[str, str]] = {i: {} for i in range(num_classes)}
    for channel, names in listed.items():
        for class_id, name in enumerate(names[:num_classes]):
            places[class_id].setdefault(name, f"the categories of channel '{channel}'")
    for (class_id, name), place in found.places.items():
        if class_id in places:
            places[class_id].setdefault(name, place)
    torn = {i: list(named.items())[:2] for i, named in places.items() if len(named) > 1}
    if torn:
        faults = [
            f"class_id {i} is {' and '.join(f'{shown(name)} in {place}' for name, place in named)}"
            for i, named in list(torn.items())[:_SHOWN_IDS]
        ]
        more = f"; {len(torn) - _SHOWN_IDS} more class ids" if len(torn) > _SHOWN_IDS else ""
        raise ClientError(
            f"The annotations contradict each other: {'; '.join(faults)}{more}. Number the classes "
            "alike everywhere. If the numbers mean the same and only the names differ, set "
            "class_names (--classes of a command)."
        )


def _annotated(found: AnnotatedNames, others: tuple[str, ...]) -> tuple[str, ...]:
    """The names in annotations, those of `others` for classes without."""
    if found.misfit:
        log.warning(
            "No names from annotations are used: %s among its categories. The list does not number "
            "the labels. Set class_names (--classes of a command), class id 0 first.",
            found.misfit,
        )
        return others
    called = dict(found.places.keys())
    names = tuple(called.get(i, name) for i, name in enumerate(others))
    if len(set(names)) < len(names):
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
