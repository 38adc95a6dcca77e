"""From a batch to the gradients of all devices and processes, and to one update of the network."""

from __future__ import annotations

import struct
from collections.abc import Sequence
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

_AGREEMENT = "<???Iq"
_MATCHING_BYTES = 2**28
"""Memory for the targets of images that are matched together."""
_BYTES_A_PAIR = 44  # MultiBoxTarget has 11 numbers for each anchor and row of labels


@dataclass(frozen=True)
class Part:
    """What one device, by its number, has of a batch; see MultiBoxLoss. positives: (1,)."""

    device: int
    images: mx.nd.NDArray
    class_targets: mx.nd.NDArray
    box_targets: mx.nd.NDArray
    positives: mx.nd.NDArray


@dataclass(frozen=True)
class Update:
    """An update that is about to be made, over all processes once they have agreed.

    Attributes:
        goes_on: whether any process still has a batch of this epoch.
        stopped: whether any process was asked to stop.
        line_due: whether any process has to log a line.
        images: that the update takes in.
        positives: (1,), anchors that are not background in all of them.
        parts: what the devices of this process have of it.
    """

    goes_on: bool
    stopped: bool
    line_due: bool
    images: int
    positives: mx.nd.NDArray
    parts: Sequence[Part] = ()


def agree(communicator: Communicator, ours: Update) -> Update:
    """The update with what all processes have.

    A process alone agrees with itself, and does not wait for its positives to be known.
    """
    if communicator.world.size == 1:
        return ours
    flags = ours.goes_on, ours.stopped, ours.line_due
    content = struct.pack(_AGREEMENT, *flags, ours.images, int(ours.positives.asscalar()))
    rows = [struct.unpack(_AGREEMENT, part) for part in communicator.gather(content)]
    have, stops, lines, counts, positives = zip(*rows, strict=True)
    everyone = mx.nd.array([sum(positives)], ctx=ours.positives.context)
    return Update(any(have), any(stops), any(lines), sum(counts), everyone, ours.parts)


class Learner:
    """A network that learns: its copies on devices and in processes, their updates, their average.

    Gradients keep the weights of all copies equal. BatchNorm's running statistics do not go that
    way: every device follows its own records, and MXNet has no BatchNorm that is synchronised
    between processes. So they are averaged whenever the network is to be used.

    Args:
        trainer: of those parameters that learn.
        devices: where the network's parameters lie; they share every batch.
        average: of all that training changes.
    """

    def __init__(
        self,
        network: Network,
        trainer: GradientTrainer,
        devices: Sequence[mx.Context],
        communicator: Communicator,
        average: WeightAverage | None = None,
    ) -> None:
        self.network, self.trainer, self.average = network, trainer, average
        self._targets, self._loss = Targets(), MultiBoxLoss()
        for block in (network.block, self._targets, self._loss):
            block.hybridize(static_alloc=True, static_shape=True)
        self._anchors = [mx.nd.array(network.anchors, ctx=ctx) for ctx in devices]
        self._devices = devices
        self._communicator = communicator
        self._alone = communicator.world.size == 1 and len(devices) == 1

    def begin(self) -> None:
        """Take over the main process's values everywhere."""
        if not self._alone:
            spread(self._communicator, self._weights() | self._averages())

    def prepare(self, batch: Batch | None, stopped: bool, line_due: bool) -> Update:
        """Compute the targets of a batch, None after the last, and agree with the others."""
        parts = [] if batch is None else self._parts(batch)
        positives = mx.nd.zeros((1,), ctx=self._devices[0])
        for part in parts:
            positives = positives + part.positives.as_in_context(self._devices[0])
        images = 0 if batch is None else len(batch.images)
        ours = Update(batch is not None, stopped, line_due, images, positives, parts)
        return agree(self._communicator, ours)

    def make(self, update: Update, number: int, rate: float) -> list[Any]:
        """Make the update of this number, from 1, at this learning rate.

        Returns the losses of each device's part, by LOSS_PARTS.
        """
        losses = []
        with autograd.record():
            for part in update.parts:
                scores, offsets = self.network.block(part.images)
                positives = update.positives.as_in_context(self._devices[part.device])
                losses.append(
                    self._loss(scores, offsets, part.class_targets, part.box_targets, positives)
                )
            totals = [pair[0] + pair[1] for pair in losses]
        if totals:
            autograd.backward(totals)
        for device in set(range(len(self._devices))) - {part.device for part in update.parts}:
            without_gradient(self.network.parameters, device)
        self.trainer.step(rate)
        if self.average is not None:
            self.average.update(number)
        return losses

    def settle(self, when: str) -> None:
        """Make all copies equal; `when` is for a message, as "epoch 3".

        Raises AlgorithmError: the weights of processes were not equal before.
        """
        if self._alone:
            return
        weights, averages = self._weights(), self._averages()
        statistics = self.network.heads.list_auxiliary_states()
        average(self._communicator, {name: weights[name] for name in statistics})
        if averages:
            names = [f"average:{name}" for name in statistics]
            average(self._communicator, {name: averages[name] for name in names})
        require_equal(self._communicator, weights | averages, when)

    def _weights(self) -> dict[str, Sequence[mx.nd.NDArray]]:
        return {name: p.list_data() for name, p in self.network.parameters.items()}

    def _averages(self) -> dict[str, Sequence[mx.nd.NDArray]]:
        arrays = self.average.arrays if self.average else {}
        return {f"average:{name}": [array] for name, array in arrays.items()}

    def _parts(self, batch: Batch) -> list[Part]:
        """The batch by devices, with its targets; a device without a record is missing."""
        parts = []
        rows = np.array_split(np.arange(len(batch.images)), len(self._devices))
        for device, (mine, ctx) in enumerate(zip(rows, self._devices, strict=True)):
            if len(mine):
                images = mx.nd.array(batch.images[mine], ctx=ctx, dtype=np.float32)
                parts.append(Part(device, images, *self._matched(batch.labels[mine], device)))
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
