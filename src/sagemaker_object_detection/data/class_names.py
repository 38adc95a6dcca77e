"""Names of the classes, from wherever the input has them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from pathlib import Path

from sagemaker_object_detection.platform.errors import ClientError

log = logging.getLogger(__name__)

CLASSES_FILE = "classes.txt"


def class_names(folder: Path, found: Mapping[int, Set[str]], num_classes: int) -> tuple[str, ...]:
    """One name for each class id.

    `classes.txt` in the train channel counts first, a name a line; then the names that the
    annotations give, where all agree on one; what is left is called class_0, class_1 and so on.

    Args:
        folder: the train channel.
        found: names that annotations gave to a class id.

    Raises:
        ClientError: classes.txt is not UTF-8 text.
    """
    path = folder / CLASSES_FILE
    listed = _listed(path) if path.is_file() else ()
    if len(listed) == num_classes and len(set(listed)) == num_classes:
        return listed
    if path.is_file():
        log.warning(
            "%s is not used: it holds %d different names, num_classes is %d.",
            path,
            len(set(listed)),
            num_classes,
        )
    agreed = {i: next(iter(names)) for i, names in found.items() if len(names) == 1}
    numbered = [f"class_{i}" for i in range(num_classes)]
    names = tuple(agreed.get(i) or name for i, name in enumerate(numbered))
    if len(set(names)) < num_classes:
        log.warning("The annotations' categories give one name to several classes: not used.")
        return tuple(numbered)
    return names


def _listed(path: Path) -> tuple[str, ...]:
    """The names in a file, one a line. Raises ClientError when it is not text."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ClientError(
            f"{path}: byte {error.start} is not UTF-8 text. Save the class names as UTF-8, one a "
            "line, or remove the file."
        ) from None
    return tuple(line.strip() for line in lines if line.strip())
