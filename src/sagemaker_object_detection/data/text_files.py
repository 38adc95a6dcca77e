"""Lists that data sets keep as text files, one entry a line."""

from pathlib import Path

from sagemaker_object_detection.platform.errors import ClientError


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
