"""What all processes have to know of an update before any of them makes it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import mxnet as mx

from sagemaker_object_detection.training.communicator import Communicator

_FORMAT = "<???Iq"


@dataclass(frozen=True)
class Agreement:
    """The next update, over all processes.

    Attributes:
        goes_on: whether any process still has a batch of this epoch.
        stopped: whether any process was asked to stop.
        line_due: whether any process has to log a line.
        images: that the update takes in.
        positives: (1,), anchors that are not background in all of them.
    """

    goes_on: bool
    stopped: bool
    line_due: bool
    images: int
    positives: mx.nd.NDArray


def agree(
    communicator: Communicator,
    has_batch: bool,
    stopped: bool,
    line_due: bool,
    images: int,
    positives: list[mx.nd.NDArray],
    ctx: mx.Context,
) -> Agreement:
    """Add up what the processes have.

    A process alone agrees with itself, and does not wait for its positives to be known.

    Args:
        positives: (1,) of each device's part of this process's batch.
        ctx: where the sum is to lie.
    """
    ours = mx.nd.zeros((1,), ctx=ctx)
    for count in positives:
        ours = ours + count.as_in_context(ctx)
    world = communicator.world
    if world.size == 1:
        return Agreement(has_batch, stopped, line_due, images, ours)
    content = struct.pack(_FORMAT, has_batch, stopped, line_due, images, int(ours.asscalar()))
    rows = [struct.unpack(_FORMAT, part) for part in communicator.gather(content)]
    have, stops, lines, counts, positive = zip(*rows, strict=True)
    everyone = mx.nd.array([sum(positive)], ctx=ctx)
    return Agreement(any(have), any(stops), any(lines), sum(counts), everyone)
