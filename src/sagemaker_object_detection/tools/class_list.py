"""An option that lists names of classes, with commas between them."""

from __future__ import annotations

import click


def class_list(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """`car, dog` -> (car, dog); None where the option is not given."""
    names = None if value is None else tuple(name.strip() for name in value.split(","))
    if names is not None and not all(names):
        raise click.BadParameter(f"{value!r} has an empty name", ctx, param)
    return names
