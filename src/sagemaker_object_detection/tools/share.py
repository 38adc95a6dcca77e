"""A kind of option: a number in 0..1."""

from __future__ import annotations

import math

import click


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
