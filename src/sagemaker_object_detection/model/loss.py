"""Targets and loss of SSD (Liu et al. 2016, arXiv:1512.02325, section 2.2) as one block."""

from __future__ import annotations

from typing import Any

from mxnet import gluon

from sagemaker_object_detection.model.specs import VARIANCES

MATCHING_THRESHOLD = 0.5
NEGATIVES_PER_POSITIVE = 3
NEGATIVES_OF_EMPTY_IMAGE = 3
LOSS_PARTS = ("cross_entropy", "smooth_l1")


class Targets(gluon.HybridBlock):
    """Targets by MXNet's MultiBoxTarget.

    GluonCV's matcher marks every anchor positive on a degenerate box and gives NaN for an image
    without boxes; this operator does neither. It answers -1 for every anchor of such an image,
    which we make background. They depend on the labels alone, so that they, and how many anchors
    are positive, are known before the network has computed anything.
    """

    def hybrid_forward(self, F: Any, anchors: Any, labels: Any) -> tuple[Any, Any, Any]:
        """Targets of a batch.

        Args:
            anchors: (1, N, 4) xyxy in 0..1.
            labels: (B, M, 5) rows [class_id, xmin, ymin, xmax, ymax] in 0..1, padded with -1.

        Returns:
            class targets (B, N), 0 is background, class_id + 1 else; box targets (B, N, 4);
            positives (1,): anchors that are not background.
        """
        # The operator wants class scores (B, C+1, N) and uses only their shape.
        batch = F.slice_axis(F.slice_axis(labels, axis=1, begin=0, end=1), axis=2, begin=0, end=2)
        anchor = F.reshape(F.slice_axis(anchors, axis=2, begin=0, end=1), shape=(1, 1, -1))
        scores = F.broadcast_mul(F.transpose(batch, axes=(0, 2, 1)), anchor)
        box_targets, _, class_targets = F.contrib.MultiBoxTarget(
            anchors,
            labels,
            scores,
            overlap_threshold=MATCHING_THRESHOLD,
            negative_mining_ratio=-1,
            variances=VARIANCES,
        )
        class_targets = F.maximum(class_targets, 0)
        positives = F.reshape(F.sum(class_targets > 0), shape=(1,))
        return class_targets, F.reshape(box_targets, shape=(0, -1, 4)), positives


class MultiBoxLoss(gluon.HybridBlock):
    """Softmax cross entropy with hard negatives, and smooth L1 on the positives.

    Hard negatives are the three worst background anchors per positive of the same image; an image
    without positives still gives a few, so that it teaches what background is. Both parts are
    divided by the positives of the whole update, which may be spread over several devices and
    processes. On the same targets equal to GluonCV's SSDMultiBoxLoss.
    """

    def hybrid_forward(
        self,
        F: Any,
        class_scores: Any,
        box_offsets: Any,
        class_targets: Any,
        box_targets: Any,
        positives_of_update: Any,
    ) -> tuple[Any, Any]:
        """Losses of one batch: cross_entropy (1,) and smooth_l1 (1,).

        Args:
            class_targets, box_targets: of Targets.
            positives_of_update: (1,), of all batches whose losses are added up.
        """
        positive = class_targets > 0
        positives = F.sum(positive, axis=1)  # (B,)
        normaliser = F.maximum(positives_of_update, 1)
        entropy = -F.pick(F.log_softmax(class_scores, axis=-1), class_targets, axis=-1)
        rank = F.argsort(F.argsort(entropy * (positive - 1), axis=1), axis=1)
        quota = F.maximum(
            positives * NEGATIVES_PER_POSITIVE, (positives == 0) * NEGATIVES_OF_EMPTY_IMAGE
        )
        hard = F.broadcast_lesser(rank, F.expand_dims(quota, axis=1))
        chosen = F.broadcast_maximum(positive, hard)
        cross_entropy = F.broadcast_div(F.sum(entropy * chosen), normaliser)
        distance = F.smooth_l1(box_offsets - box_targets, scalar=1.0)
        distance = F.broadcast_mul(distance, F.expand_dims(positive, axis=2))
        return cross_entropy, F.broadcast_div(F.sum(distance), normaliser)
