"""Results made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder

Image = tuple[npt.NDArray[Any], npt.NDArray[Any], Sequence[int], Sequence[bool]]


def results_of(images: Iterable[Image], size: tuple[int, int] = (1, 1)) -> Results:
    """Images of one size, each as detections (d, 6), boxes (n, 4), class ids, difficult flags.

    Of size (1, 1) the boxes may as well be in pixels.
    """
    builder = ResultsBuilder()
    for number, (found, truth, class_ids, difficult) in enumerate(images):
        flags = np.asarray(difficult, dtype=bool)
        labels = Labels(np.asarray(truth), np.asarray(class_ids, dtype=np.int32), flags)
        builder.add(number, np.array(size, np.int32), found, labels)
    return builder.build()
