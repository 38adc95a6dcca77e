"""What commands print, log and write."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from sagemaker_object_detection.model.artifact import write_text_whole
from sagemaker_object_detection.platform import terminal
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.paths import ensure_writable

printable = terminal.printable


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def logged() -> Iterator[None]:
    """Show on stderr what is logged: which forms the gate found, and how far the work is."""
    root = logging.getLogger()
    on_terminal = terminal.is_shown()
    handler = terminal.Handler() if on_terminal else logging.StreamHandler(sys.stderr)
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
