"""Folders that a command is given, and where it writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from sagemaker_object_detection.model.artifact import write_text_whole
from sagemaker_object_detection.platform.channels import DATA_CHANNELS, REQUIRED, Channel
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.paths import ensure_writable
from sagemaker_object_detection.tools.report_text import printable

NOTES = "_annotation"
"""The ending of the folder that annotates a channel's."""


def named_folders(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """Take `folder` or `name=folder` apart; a channel's annotations are no channel.

    A folder that holds channels, such as input/data of a job, stands for each of them.
    """
    folders: dict[str, Path] = {}
    for value in values:
        name, equals, folder = value.partition("=")
        path = Path(folder if equals and not Path(value).exists() else value)
        if not path.is_dir():
            raise click.BadParameter(f"{path} is not a folder", ctx, param)
        if path.name in ("", ".."):
            path = path.resolve()
        if equals and str(path) == folder:
            labeled = {name: path}
        else:
            labeled = _channels_in(path) or {path.name: path}
        for label, inside in labeled.items():
            if not label or label in folders:
                raise click.BadParameter(
                    f"{value!r}: the name '{label}' is taken or empty; write name=folder",
                    ctx,
                    param,
                )
            folders[label] = inside
    return {
        name: path
        for name, path in folders.items()
        if not (name.endswith(NOTES) and name.removesuffix(NOTES) in folders)
    }


def _channels_in(folder: Path) -> dict[str, Path]:
    """The sub-folders that are called as channels of a job."""
    found = {name: folder / name for name in DATA_CHANNELS if (folder / name).is_dir()}
    return found if any(name in found for name in REQUIRED) else {}


def channels_of(
    folders: Mapping[str, Path], attribute_names: tuple[str, ...] = ()
) -> dict[str, Channel]:
    """A channel for each folder, and one for the folder of its annotations where it lies beside."""
    channels = {}
    for name, path in folders.items():
        channels[name] = Channel(name, path, attribute_names=attribute_names)
        notes = path.with_name(path.name + NOTES)
        if notes.is_dir():
            channels[name + NOTES] = Channel(name + NOTES, notes)
    return channels


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
