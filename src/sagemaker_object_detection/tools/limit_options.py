"""Options of commands that pass data through the gate: what share of it may be unusable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.tools.share import Share

DEFAULTS = Hyperparameters(num_classes=1, num_training_samples=1)
"""What a training job takes where nothing is given."""

_Command = Callable[..., Any]


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
