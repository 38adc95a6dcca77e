"""An option that lists names of classes, as the hyperparameter class_names does."""

from __future__ import annotations

import click

from sagemaker_object_detection.platform.list_kinds import Names


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
