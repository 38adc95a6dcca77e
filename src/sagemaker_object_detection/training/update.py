"""One update of a network by a batch that devices and processes share, and its copies on them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd
from numpy.typing import NDArray

from sagemaker_object_detection.data.loader import Batch, label_rows
from sagemaker_object_detection.model.loss import MultiBoxLoss, Targets
from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.training.communicator import (
    Communicator,
    average,
    require_equal,
    spread,
)
from sagemaker_object_detection.training.optimizer import (
    GradientTrainer,
    WeightAverage,
    without_gradient,
)

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


_MATCHING_BYTES = 2**28
"""Memory for the targets of images that are matched together."""
_BYTES_A_PAIR = 44  # MultiBoxTarget has 11 numbers for each anchor and row of labels


@dataclass(frozen=True)
class _Part:
    """What one device has of a batch.

    Attributes:
        device: its number.
        images, class_targets, box_targets: see MultiBoxLoss.
        positives: (1,).
    """

    device: int
    images: mx.nd.NDArray
    class_targets: mx.nd.NDArray
    box_targets: mx.nd.NDArray
    positives: mx.nd.NDArray


@dataclass(frozen=True)
class NextUpdate:
    """An update that is about to be made.

    Attributes:
        agreement: of all processes.
        parts: what the devices of this process have of it.
    """

    agreement: Agreement
    parts: Sequence[_Part]


class Updates:
    """Makes updates.

    Args:
        devices: where the network's parameters lie; they share every batch.
        communicator: to the other processes that train the same network.
    """

    def __init__(
        self,
        network: Network,
        trainer: GradientTrainer,
        devices: Sequence[mx.Context],
        communicator: Communicator,
    ) -> None:
        self._network = network
        self._block = network.block
        self._targets, self._loss = Targets(), MultiBoxLoss()
        for block in (self._block, self._targets, self._loss):
            block.hybridize(static_alloc=True, static_shape=True)
        self._anchors = [mx.nd.array(network.anchors, ctx=ctx) for ctx in devices]
        self._trainer = trainer
        self._devices = devices
        self._communicator = communicator

    def prepare(self, batch: Batch | None, stopped: bool, line_due: bool) -> NextUpdate:
        """Compute the targets of a batch, and agree with the other processes.

        Args:
            batch: None where this process has no more in this epoch.
            stopped: whether it was asked to stop.
            line_due: whether it has to log a line.
        """
        parts = [] if batch is None else self._parts(batch)
        agreement = agree(
            self._communicator,
            batch is not None,
            stopped,
            line_due,
            0 if batch is None else len(batch.images),
            [part.positives for part in parts],
            self._devices[0],
        )
        return NextUpdate(agreement, parts)

    def make(self, update: NextUpdate) -> list[Any]:
        """Make it; returns the losses of each device's part, by LOSS_PARTS."""
        losses = []
        with autograd.record():
            for part in update.parts:
                scores, offsets = self._block(part.images)
                positives = update.agreement.positives.as_in_context(self._devices[part.device])
                losses.append(
                    self._loss(scores, offsets, part.class_targets, part.box_targets, positives)
                )
            totals = [pair[0] + pair[1] for pair in losses]
        if totals:
            autograd.backward(totals)
        for device in set(range(len(self._devices))) - {part.device for part in update.parts}:
            without_gradient(self._network.parameters, device)
        self._trainer.step()
        return losses

    def set_learning_rate(self, rate: float) -> None:
        """For the next updates."""
        self._trainer.trainer.set_learning_rate(rate)

    def _parts(self, batch: Batch) -> list[_Part]:
        """The batch by devices, with its targets; a device without a record is missing."""
        parts = []
        rows = np.array_split(np.arange(len(batch.images)), len(self._devices))
        for device, (mine, ctx) in enumerate(zip(rows, self._devices, strict=True)):
            if len(mine):
                images = mx.nd.array(batch.images[mine], ctx=ctx, dtype=np.float32)
                parts.append(_Part(device, images, *self._matched(batch.labels[mine], device)))
        return parts

    def _matched(self, labels: NDArray[Any], device: int) -> list[mx.nd.NDArray]:
        """Targets of labels (B, M, 5): of a few images at a time where M is large.

        Padding takes as much memory as boxes do, so that each few are padded by their own fullest.
        """
        anchors = self._anchors[device]
        pairs = labels.shape[1] * anchors.shape[1]
        step = max(1, _MATCHING_BYTES // (_BYTES_A_PAIR * pairs))
        found = []
        for start in range(0, len(labels), step):
            few = labels[start : start + step]
            rows = label_rows(int((few[:, :, 0] >= 0).sum(axis=1).max()))
            few = mx.nd.array(few[:, :rows], ctx=self._devices[device])
            found.append(self._targets(anchors, few))
        if len(found) == 1:
            return list(found[0])
        classes, boxes, positives = zip(*found, strict=True)
        return [mx.nd.concat(*classes, dim=0), mx.nd.concat(*boxes, dim=0), mx.nd.add_n(*positives)]


Copies = Mapping[str, Sequence[mx.nd.NDArray]]


@dataclass(frozen=True)
class Replicas:
    """All copies of one network and of the average of its weights.

    Gradients keep the weights equal. BatchNorm's running statistics do not go that way: every
    device follows its own records, and MXNet has no BatchNorm that is synchronised between
    processes. So they are averaged whenever the network is to be used.
    """

    communicator: Communicator
    network: Network
    average: WeightAverage | None

    @property
    def _alone(self) -> bool:
        devices = len(next(iter(self._weights().values())))
        return self.communicator.world.size == 1 and devices == 1

    def begin(self) -> None:
        """Take over the main process's values everywhere."""
        if not self._alone:
            spread(self.communicator, self._weights() | self._averages())

    def settle(self, when: str) -> None:
        """Make all copies equal.

        Args:
            when: for a message, as "epoch 3".

        Raises:
            AlgorithmError: the weights of processes were not equal before.
        """
        if self._alone:
            return
        weights, averages = self._weights(), self._averages()
        statistics = set(self.network.heads.list_auxiliary_states())
        average(self.communicator, _only(weights, statistics))
        if averages:
            average(self.communicator, _only(averages, {f"average:{n}" for n in statistics}))
        require_equal(self.communicator, weights | averages, when)

    def _weights(self) -> dict[str, Sequence[mx.nd.NDArray]]:
        return {name: p.list_data() for name, p in self.network.parameters.items()}

    def _averages(self) -> dict[str, Sequence[mx.nd.NDArray]]:
        arrays = self.average.arrays if self.average else {}
        return {f"average:{name}": [array] for name, array in arrays.items()}


def _only(copies: Copies, names: set[str]) -> Copies:
    return {name: arrays for name, arrays in copies.items() if name in names}
