"""What commands print, log and write."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import click
from tqdm import tqdm

from sagemaker_object_detection.model.artifact import write_text_whole
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.paths import ensure_writable

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """A text that any terminal can show: what is no character, or steers it, as an escape."""
    shown = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class _BesideBars(logging.StreamHandler[TextIO]):
    """Lines above a progress bar, which would else run through them."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=self.stream)
        self.flush()


@contextmanager
def logged() -> Iterator[None]:
    """Show on stderr what is logged: which forms the gate found, and how far the work is."""
    root = logging.getLogger()
    handler = _BesideBars(sys.stderr)
    handler.setFormatter(_Printable())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


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


def make_writable(folder: Path) -> None:
    """As `make_folder`, and see that files can be written there: before the work, not after it.

    Raises also OSError naming the folder.
    """
    make_folder(folder)
    ensure_writable(folder)


def prepare_file(file: Path | None) -> None:
    """Make the folder of a file that a command is to write at its end, where it is to write one.

    Raises as `make_writable`.
    """
    if file is not None and not _is_special(file):
        make_writable(file.parent)


def write_file(file: Path, text: str) -> None:
    """Write a file that the user asked for, and say so; it is there whole or not at all.

    A pipe or a device, as /dev/stdout, is written to and stays what it is.
    """
    if _is_special(file):
        file.write_text(text, encoding="utf-8")
    else:
        write_text_whole(file, text)
    click.echo(printable(f"Written: {file}"))


def _is_special(file: Path) -> bool:
    return file.exists() and not file.is_file()
