"""An artefact comes from outside: nothing beside its folder is read in its name."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sagemaker_object_detection.model.artifact import ArtifactError


def require_inside(folder: Path) -> None:
    """Raise ArtifactError if something below `folder` is a link to outside of it, or is neither a
    file nor a folder; links inside, and `folder` being one itself, are fine.

    Raises OSError where it cannot be read.
    """
    root = Path(os.path.realpath(folder))
    for path in _entries(root):
        target = Path(os.path.realpath(path))
        if root not in target.parents:
            raise ArtifactError(
                f"{path} is a link to outside of {folder}; put the file itself there"
            )
        if not target.exists():
            raise ArtifactError(f"{path} is a link to a file that does not exist")
        mode = target.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ArtifactError(f"{path} is neither a file nor a folder")


def _entries(folder: Path) -> Iterator[Path]:
    """All that lies below; links are not followed."""

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=fail):
        yield from (Path(parent, name) for name in (*folders, *files))
