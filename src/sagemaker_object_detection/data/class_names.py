"""Names of the classes, from wherever the input has them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from pathlib import Path

log = logging.getLogger(__name__)

CLASSES_FILE = "classes.txt"


def class_names(folder: Path, found: Mapping[int, Set[str]], num_classes: int) -> tuple[str, ...]:
    """One name for each class id.

    `classes.txt` in the train channel counts first, a name a line; then the names that the
    annotations give, where all agree on one; what is left is called class_0, class_1 and so on.

    Args:
        folder: the train channel.
        found: names that annotations gave to a class id.
    """
    path = folder / CLASSES_FILE
    if path.is_file():
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        names = tuple(line.strip() for line in lines if line.strip())
        if len(names) == num_classes and len(set(names)) == num_classes:
            return names
        log.warning(
            "%s is not used: it holds %d different names, num_classes is %d.",
            path,
            len(set(names)),
            num_classes,
        )
    agreed = {i: next(iter(names)) for i, names in found.items() if len(names) == 1}
    if len(set(agreed.values())) < len(agreed):
        log.warning("The annotations' categories give one name to several classes: not used.")
        agreed = {}
    return tuple(agreed.get(i, f"class_{i}") for i in range(num_classes))
