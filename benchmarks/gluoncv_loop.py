"""GluonCV's own training, as its scripts/detection/ssd/train_ssd.py does it.

Its loader (DataLoader, SSDDefaultTrainTransform), its network, its SSDMultiBoxLoss and a
gluon.Trainer, on a .rec file read by its RecordFileDetection. What differs from a user's run:
boxes without area are taken out (one would make every anchor positive), and the first weights can
be ours, so that only loader, loss and loop differ. Its BatchNorm would start at random variances.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from gluoncv.data import RecordFileDetection
from gluoncv.data.batchify import Pad, Stack, Tuple
from gluoncv.data.transforms.presets.ssd import SSDDefaultTrainTransform, SSDDefaultValTransform
from gluoncv.loss import SSDMultiBoxLoss
from mxnet import autograd, gluon

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision, score
from sagemaker_object_detection.evaluation.results import ResultsBuilder
from sagemaker_object_detection.model import network as ours
from sagemaker_object_detection.model.specs import Spec

DATA_WORKERS = 2


class WithoutFlatBoxes(gluon.data.Dataset):
    """A detection data set whose boxes without area are left out."""

    def __init__(self, path: Path) -> None:
        self._records = RecordFileDetection(str(path))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[Any, np.ndarray]:
        image, label = self._records[index]
        good = (label[:, 2] > label[:, 0]) & (label[:, 3] > label[:, 1])
        return image, label[good]


def build(spec: Spec, num_classes: int, seed: int) -> gluon.HybridBlock:
    """GluonCV's SSD of the spec's table, starting from our first weights."""
    net = ours.make_ssd(spec, num_classes)
    reference = ours.build_network(spec, num_classes)
    ours.initialize(reference, [mx.cpu()], seed)
    values = {name: parameter.data() for name, parameter in reference.parameters.items()}
    for name, parameter in net.collect_params().items():
        if name in values:
            parameter.shape = values[name].shape
    net.initialize(init=mx.init.Zero())
    for name, parameter in net.collect_params().items():
        if name in values:
            parameter.set_data(values[name])
    return net


def training_batches(
    net: gluon.HybridBlock, path: Path, side: int, batch_size: int
) -> gluon.data.DataLoader:
    """GluonCV's loader with its training transform."""
    with autograd.train_mode():
        _, _, anchors = net(mx.nd.zeros((1, 3, side, side)))
    return gluon.data.DataLoader(
        WithoutFlatBoxes(path).transform(SSDDefaultTrainTransform(side, side, anchors)),
        batch_size,
        shuffle=True,
        batchify_fn=Tuple(Stack(), Stack(), Stack()),
        last_batch="rollover",
        num_workers=DATA_WORKERS,
    )


def make_trainer(net: gluon.HybridBlock, optimizer: str, options: dict[str, Any]) -> gluon.Trainer:
    """Hybridise and make the trainer, as train_ssd.py does."""
    net.hybridize(static_alloc=True, static_shape=True)
    return gluon.Trainer(net.collect_params(), optimizer, options)


def train(
    net: gluon.HybridBlock,
    trainer: gluon.Trainer,
    batches: gluon.data.DataLoader,
    learning_rate: Callable[[int], float],
    update: int = 0,
) -> Iterator[tuple[float, float, int]]:
    """One epoch; yields cross entropy, smooth L1 and the images of every batch."""
    multi_box_loss = SSDMultiBoxLoss()
    for images, class_targets, box_targets in batches:
        images, class_targets, box_targets = (
            part.as_in_context(mx.cpu()) for part in (images, class_targets, box_targets)
        )
        trainer.set_learning_rate(learning_rate(update))
        update += 1
        with autograd.record():
            scores, offsets, _ = net(images)
            total, cross_entropy, smooth_l1 = multi_box_loss(
                [scores], [offsets], [class_targets], [box_targets]
            )
            autograd.backward(total)
        trainer.step(1)
        means = [float(mx.nd.sum(part[0]).asscalar()) for part in (cross_entropy, smooth_l1)]
        yield means[0], means[1], len(images)


def evaluate(
    net: gluon.HybridBlock, path: Path, side: int, num_classes: int
) -> tuple[AveragePrecision, float]:
    """GluonCV's own detections of a .rec file, scored by our definition; and the seconds taken."""
    started = time.perf_counter()
    net.hybridize(active=False)
    loader = gluon.data.DataLoader(
        WithoutFlatBoxes(path).transform(SSDDefaultValTransform(side, side)),
        8,
        shuffle=False,
        batchify_fn=Tuple(Stack(), Pad(pad_val=-1)),
        last_batch="keep",
        num_workers=0,
    )
    found = ResultsBuilder()
    for images, labels in loader:
        class_ids, scores, boxes = (part.asnumpy() for part in net(images.as_in_context(mx.cpu())))
        rows = np.concatenate([class_ids, scores, np.clip(boxes / side, 0, 1)], axis=2)
        for row, label in zip(rows, labels.asnumpy(), strict=True):
            kept = label[label[:, 4] >= 0]
            truth = Labels(
                kept[:, :4] / side, kept[:, 4].astype(np.int32), np.zeros(len(kept), bool)
            )
            found.add(len(found), np.array([side, side]), row, truth)
    net.hybridize(static_alloc=True, static_shape=True)
    return score(found.build(), num_classes, 0.5), time.perf_counter() - started
