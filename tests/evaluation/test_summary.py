"""All scores of a data set at once."""

import numpy as np
import pytest

from sagemaker_object_detection.evaluation.average_precision import score
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.summary import DEFAULT_THRESHOLD, summarise
from tests.evaluation.reports import class_names, made_results, without_detections

CASES = [
    pytest.param(made_results(30, 4), 4, id="usual"),
    pytest.param(made_results(3, 40), 40, id="classes without boxes"),
    pytest.param(made_results(3, 2, boxes=0), 2, id="no boxes"),
    pytest.param(without_detections(made_results(3, 2)), 2, id="no detections"),
]


@pytest.mark.parametrize(("results", "classes"), CASES)
@pytest.mark.parametrize("overlap", [0.5, 0.8])
def test_the_mean_is_that_of_the_score(results: Results, classes: int, overlap: float) -> None:
    summary = summarise(results, class_names(classes), overlap)
    expected = score(results, classes, overlap)
    assert summary.mean == expected.mean
    assert np.array([c.average_precision for c in summary.curves]) == pytest.approx(
        np.array(expected.per_class), nan_ok=True, abs=0
    )


def test_a_class_without_a_best_score_has_a_threshold_all_the_same() -> None:
    summary = summarise(without_detections(made_results(3, 2)), class_names(2), 0.5)
    assert summary.best == (None, None)
    assert summary.thresholds == (DEFAULT_THRESHOLD, DEFAULT_THRESHOLD)


def test_the_confusion_is_at_the_thresholds_of_best_f1() -> None:
    results = made_results(50, 3)
    summary = summarise(results, class_names(3), 0.5)
    scores = results.detections[:, 1]
    reach = np.array(summary.thresholds)[results.detections[:, 0].astype(int)]
    assert summary.confusion[:, :-1].sum() == (scores >= reach).sum() < len(scores)
