"""Options on which part of the data is used, and as what."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from sagemaker_object_detection.tools.findings import ValidationShare
from sagemaker_object_detection.tools.share import Share

_Command = Callable[..., Any]


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
