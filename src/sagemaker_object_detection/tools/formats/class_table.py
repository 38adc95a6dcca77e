"""Which class has which number in what is written, and what it is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.record import ClassKey, Split, is_text

MAX_CLASSES = 10_000
"""Numbers are kept as they are, so that a stray one would bring as many classes with it."""

_BY_HAND = "Give --classes with the name of every class, class id 0 first."


@dataclass(frozen=True, slots=True)
class ClassTable:
    """Class names, class id 0 first, and the class id of each class of the data."""

    names: tuple[str, ...]
    ids: Mapping[ClassKey, int]

    @classmethod
    def build(
        cls, counts: Mapping[ClassKey, int], splits: Sequence[Split], given: Sequence[str] | None
    ) -> ClassTable:
        """Number the classes of `splits`, of which `counts` boxes each were found.

        With `given` names in that order. Without, classes that the data tells by number keep their
        numbers, and those it tells by name are in the order of the splits if all have the same,
        else sorted. A number without a name takes the one at its place in `given`, or is called
        class_0, class_1 and so on.

        Raises ClientError for a class with boxes that is not in `given`, for a number that has
        several names, for a name that several numbers have, and for a name of several lines.
        """
        called = _names_of_numbers(counts, splits, given)
        if given is not None:
            names = tuple(given)
        elif called:
            names = tuple(called[number] for number in range(max(called) + 1))
        else:
            names = _in_order(counts, splits)
        faults = _repeated(names) if given is not None else _shared(called)
        faults += [
            f"The class name {name!r} cannot be a line of text. Rename the class in the data."
            for name in names
            if len(name.splitlines()) != 1 or not is_text(name)
        ]
        places = {name: class_id for class_id, name in enumerate(names)}
        ids: dict[ClassKey, int] = {}
        for key in sorted(counts, key=str):
            name = key if isinstance(key, str) else called[key]
            if name in places:
                ids[key] = places[name]
            else:
                faults.append(
                    f"The class '{name}' has {counts[key]} boxes but is not among the classes "
                    f"{', '.join(names)}. Add it to the list."
                )
        if given is not None:
            faults += _merged(ids, names)
        if faults:
            raise ClientError(*faults)
        return cls(names, ids)

    def text(self) -> str:
        """The names as training reads them from a file: one a line, class id 0 first."""
        return "".join(f"{name}\n" for name in self.names)


def _names_of_numbers(
    counts: Mapping[ClassKey, int], splits: Sequence[Split], given: Sequence[str] | None
) -> dict[int, str]:
    """What each number up to the highest is called; empty where classes are told by name."""
    told: dict[int, set[str]] = {}
    for split in splits:
        for number, found in split.class_names.items():
            told.setdefault(number, set()).update(name.strip() for name in found if name.strip())
    numbers = {key for key in counts if isinstance(key, int)} | {n for n in told if n >= 0}
    if numbers and max(numbers) >= MAX_CLASSES:
        raise ClientError(
            f"Class id {max(numbers)} is used or named in the data; up to {MAX_CLASSES - 1} are "
            "converted. Number the classes from 0 without gaps."
        )
    called: dict[int, str] = {}
    faults = []
    for number in range(max(numbers, default=-1) + 1):
        names = sorted(told.get(number, ()))
        if len(names) == 1:
            called[number] = names[0]
        elif given is not None and number < len(given):
            called[number] = given[number]
        elif len(names) > 1:
            faults.append(f"Class id {number} is called {_quoted(names)}. {_BY_HAND}")
        else:
            called[number] = f"class_{number}"
    if faults:
        raise ClientError(*faults)
    return called


def _in_order(counts: Mapping[ClassKey, int], splits: Sequence[Split]) -> tuple[str, ...]:
    """Names in the order that all splits agree on (one may list more than another), or sorted."""
    orders = [tuple(split.class_order) for split in splits]
    longest = max(orders, key=len, default=())
    if all(order == longest[: len(order)] for order in orders) and all(orders):
        return longest
    names = {name for order in orders for name in order}
    return tuple(sorted(names | {key for key in counts if isinstance(key, str)}))


def _repeated(given: Sequence[str]) -> list[str]:
    return [
        f"The class '{name}' is listed {count} times. Name each class once."
        for name, count in Counter(given).items()
        if count > 1
    ]


def _shared(called: Mapping[int, str]) -> list[str]:
    """Numbers that have one name."""
    return [
        f"Class ids {_listed(n for n in called if called[n] == name)} are all called '{name}'. "
        + _BY_HAND
        for name, count in Counter(called.values()).items()
        if count > 1
    ]


def _merged(ids: Mapping[ClassKey, int], names: Sequence[str]) -> list[str]:
    """Numbers that would become one class since one of them has no name in the data."""
    numbers = Counter(class_id for key, class_id in ids.items() if isinstance(key, int))
    return [
        f"Class ids {_listed(key for key in ids if ids[key] == class_id)} would all be "
        f"'{names[class_id]}' by the names in the data and by --classes. Leave --classes out, or "
        "give it in the order of the class ids."
        for class_id, count in numbers.items()
        if count > 1
    ]


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)
