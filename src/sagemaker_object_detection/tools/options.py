"""Options and arguments that several commands have."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from sagemaker_object_detection.platform.channels import DATA_CHANNELS, REQUIRED
from sagemaker_object_detection.platform.kinds import Names
from sagemaker_object_detection.tools.findings import DEFAULTS, NOTES, ValidationShare

_Command = Callable[..., Any]


class Share(click.FloatRange):
    """A number in 0..1. Unlike click's own range it refuses nan, which no comparison finds out."""

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(
        self, value: float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """As click has it: `value` may be a text."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range 0<=x<=1.", param, ctx)
        return number


def class_list(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """`car, dog` or `["car", "dog"]` -> (car, dog); None where the option is not given."""
    if value is None:
        return None
    try:
        names = Names().parse(value.strip())
    except ValueError as error:
        raise click.BadParameter(f"the list {value!r} {error}", ctx, param) from None
    if not names:
        raise click.BadParameter(f"the list {value!r} names no class", ctx, param)
    return names


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


def limit_options(command: _Command) -> _Command:
    """Add --max-dropped-images and --max-dropped-boxes, with the defaults of a training job."""
    for what in ("boxes", "images"):
        name = f"max_dropped_{what}"
        command = click.option(
            f"--max-dropped-{what}",
            type=Share(),
            default=getattr(DEFAULTS, name),
            show_default=True,
            help=f"Share of a channel's {what} that may be unusable.",
        )(command)
    return command


def share_options(command: _Command) -> _Command:
    """Add --validation-share and --seed, which the command gets as `validation`."""

    @wraps(command)
    def with_share(*, validation_share: float | None, seed: int, **given: object) -> object:
        share = None if validation_share is None else ValidationShare(validation_share, seed)
        result: object = command(validation=share, **given)
        return result

    seeded = click.option(
        "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the share."
    )(with_share)
    return click.option(
        "--validation-share",
        type=Share(),
        help="Share of the images of train that becomes validation; copies stay together.",
    )(seeded)


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    names = tuple(name.strip() for name in value.split(","))
    if len(names) != 2 or not all(names):
        raise click.BadParameter(f"{value!r} is not two names with a comma", ctx, param)
    return names


attribute_names_option = click.option(
    "--attribute-names",
    callback=_names,
    metavar="IMAGE,ANNOTATION",
    help="Of a manifest with several annotations, e.g. source-ref,bounding-box.",
)
