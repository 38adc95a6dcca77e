"""Targets and loss of SSD (Liu et al. 2016, arXiv:1512.02325, section 2.2) as one block."""

from __future__ import annotations

from typing import Any

from mxnet import gluon

from sagemaker_object_detection.model.specs import VARIANCES

MATCHING_THRESHOLD = 0.5
NEGATIVES_PER_POSITIVE = 3
NEGATIVES_OF_EMPTY_IMAGE = 3
LOSS_PARTS = ("cross_entropy", "smooth_l1")


def match(F: Any, anchors: Any, labels: Any, class_scores: Any) -> tuple[Any, Any]:
    """Targets by MXNet's MultiBoxTarget.

    GluonCV's matcher marks every anchor positive on a degenerate box and gives NaN for an image
    without boxes; this operator does neither. It answers -1 for every anchor of such an image,
    which we make background.

    Args:
        anchors: (1, N, 4) xyxy in 0..1.
        labels: (B, M, 5) rows [class_id, xmin, ymin, xmax, ymax] in 0..1, padded with -1.
        class_scores: (B, N, C+1); only its shape matters.

    Returns:
        class targets (B, N), 0 is background, class_id + 1 else; box targets (B, N, 4).
    """
    box_targets, _, class_targets = F.contrib.MultiBoxTarget(
        anchors,
        labels,
        F.transpose(class_scores, axes=(0, 2, 1)),
        overlap_threshold=MATCHING_THRESHOLD,
        negative_mining_ratio=-1,
        variances=VARIANCES,
    )
    return F.maximum(class_targets, 0), F.reshape(box_targets, shape=(0, -1, 4))


class MultiBoxLoss(gluon.HybridBlock):
    """Softmax cross entropy with hard negatives, and smooth L1 on the positives.

    Hard negatives are the three worst background anchors per positive of the same image; an image
    without positives still gives a few, so that it teaches what background is. Both parts are
    divided by the positives of the batch. On the same targets equal to GluonCV's SSDMultiBoxLoss.
    """

    def hybrid_forward(
        self, F: Any, class_scores: Any, box_offsets: Any, anchors: Any, labels: Any
    ) -> tuple[Any, Any]:
        """Losses of one batch: cross_entropy (1,) and smooth_l1 (1,)."""
        class_targets, box_targets = match(F, anchors, labels, class_scores)
        return self.given_targets(F, class_scores, box_offsets, class_targets, box_targets)

    @staticmethod
    def given_targets(
        F: Any, class_scores: Any, box_offsets: Any, class_targets: Any, box_targets: Any
    ) -> tuple[Any, Any]:
        """The loss for targets that are already known (shapes as `match` returns them)."""
        positive = class_targets > 0
        positives = F.sum(positive, axis=1)  # (B,)
        normaliser = F.maximum(F.sum(positives), 1)
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
