"""Folders for what a command writes."""

from pathlib import Path

from sagemaker_object_detection.platform.errors import ClientError


def make_folder(folder: Path) -> None:
    """Make a folder and those around it, where they are not there yet.

    Raises ClientError when its path leads through a file, or where no folder can be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
        raise ClientError(
            f"{folder} cannot be made: {error.filename}: {error.strerror}. Give another path."
        ) from None
