"""Intervals of mAP: they hold what the score itself is, and shrink with more images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.evaluation.average_precision import score
from sagemaker_object_detection.evaluation.interval import in_words, interval, sample_means
from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder
from tests.evaluation.reports import made_results


def _drawn(results: Results, images: Sequence[int]) -> Results:
    """The results of these images, of some several times."""
    builder = ResultsBuilder()
    for record, image in enumerate(images):
        builder.add(record, results.sizes[image], results.found(image), results.labels(image))
    return builder.build()


@pytest.mark.parametrize("classes", [1, 3])
def test_a_sample_is_the_score_of_the_images_drawn(classes: int) -> None:
    """Drawn here by the same generator, and scored by the definition itself."""
    results = made_results(12, classes)
    means = sample_means(results, classes, 0.5, samples=20, seed=3)
    random = np.random.Generator(np.random.Philox(3))
    for found, drawn in zip(means, random.integers(12, size=(20, 12)), strict=True):
        expected = score(_drawn(results, sorted(drawn.tolist())), classes, 0.5).mean
        assert found == pytest.approx(expected, abs=0.02)  # of equal scores any may come first


def test_it_holds_the_score_and_shrinks_with_more_images() -> None:
    results = made_results(40, 3)
    exact = score(results, 3, 0.5).mean
    low, high = interval(sample_means(results, 3, 0.5))
    assert low < exact < high
    less, more = interval(sample_means(_drawn(results, [*range(40)] * 9), 3, 0.5))
    assert (more - less) * 3 == pytest.approx(high - low, rel=0.25)


def test_models_on_the_same_images_are_compared_pair_by_pair() -> None:
    results = made_results(40, 3)
    same = sample_means(results, 3, 0.5) - sample_means(results, 3, 0.5)
    assert interval(same) == (0, 0)


def test_samples_without_a_box() -> None:
    """Such a data set scores 0, as `score` has it."""
    results = _drawn(made_results(2, 1), [0, 0])
    empty = Labels(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool))
    builder = ResultsBuilder()
    builder.add(0, results.sizes[0], results.found(0), results.labels(0))
    builder.add(1, results.sizes[0], np.zeros((0, 6)), empty)
    means = sample_means(builder.build(), 1, 0.5, samples=200)
    assert (means == 0).any()
    assert (means > 0).any()


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ((0.021, 0.004, 0.038), "B is better by 0.0210, 95 % interval 0.0040 to 0.0380."),
        ((-0.021, -0.038, -0.004), "A is better by 0.0210, 95 % interval 0.0040 to 0.0380."),
        (
            (0.01, -0.02, 0.04),
            "B is better by 0.0100, 95 % interval -0.0200 to 0.0400: these images do not tell B "
            "and A apart.",
        ),
    ],
)
def test_in_words(figures: tuple[float, float, float], words: str) -> None:
    assert in_words("A", "B", *figures) == words
