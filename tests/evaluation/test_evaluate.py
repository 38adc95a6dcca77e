"""Evaluation of an engine on a data set: every record once, padding never."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt
import pytest

from sagemaker_object_detection.data.dataset import Dataset
from sagemaker_object_detection.data.loader import Loader
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision, score
from sagemaker_object_detection.evaluation.evaluate import evaluate
from tests.data.samples import HEIGHT, WIDTH, dataset, plain, raw

SIDE = 16
BOX, OTHER = (0.0, 0.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0)
COUNT = 7


class Knowing:
    """An engine that answers by the red of a picture, record r being of red r + 1.

    Whatever it is not told of, such as black, has a detection of class 0 with score 0.99.
    """

    image_shape = SIDE

    def __init__(self, answers: dict[int, list[tuple[float, ...]]]) -> None:
        self.answers = answers
        self.seen: list[int] = []
        self.sizes: list[int] = []

    def detect(self, planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.sizes.append(len(planes))
        found = np.full((len(planes), 3, 6), -1, np.float32)
        for rows, picture in zip(found, planes, strict=True):
            assert picture.shape == (3, SIDE, SIDE)
            record = int(picture[0, 0, 0]) - 1
            self.seen.append(record)
            answer = self.answers.get(record, [(0, 0.99, *OTHER)])
            rows[: len(answer)] = np.reshape(answer, (-1, 6))
        return found


def scored(
    engine: Knowing, loader: Loader, batch_size: int, threshold: float = 0.5
) -> AveragePrecision:
    """Evaluate and score all that the loader has."""
    results = evaluate(engine, loader.evaluation_pass(batch_size))
    assert results is not None
    return score(results, 2, threshold)


@pytest.fixture
def data() -> Dataset:
    """Record r: a box of class r % 2; record 6 has none."""
    return dataset(
        [
            raw(plain((r + 1, 0, 0)), [BOX] * (r < 6), [r % 2] * (r < 6), [r == 4] * (r < 6))
            for r in range(COUNT)
        ]
    )


@pytest.fixture
def loader(data: Dataset) -> Iterator[Loader]:
    made = Loader(data, SIDE, threads=2)
    yield made
    made.close()


RIGHT = {r: [(r % 2, 0.5 + r / 100, *BOX)] for r in range(6)} | {6: []}


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 16])
def test_each_record_counts_once_and_padding_never(
    data: Dataset, loader: Loader, batch_size: int
) -> None:
    """Were a filled row scored, its detection of score 0.99 would come first and be wrong."""
    engine = Knowing(RIGHT)
    found = scored(engine, loader, batch_size)
    assert (found.mean, found.per_class) == (1.0, (1.0, 1.0))
    assert set(engine.sizes) == {batch_size}  # an engine is bound for one size
    assert [record for record in engine.seen if record >= 0] == list(range(COUNT))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_batch_size_does_not_change_the_score(
    data: Dataset, loader: Loader, batch_size: int
) -> None:
    answers = RIGHT | {1: [(1, 0.9, *OTHER)], 3: [(1, 0.2, *BOX), (0, 0.9, *BOX)], 2: []}
    found = scored(Knowing(answers), loader, batch_size)
    # Class 0: boxes of 0 and 2 count, 4 is difficult; a wrong one comes first. Class 1: boxes of
    # 1, 3 and 5; ranked wrong (0.9), right (5), right (3).
    assert found.per_class == pytest.approx((0.5 * 0.5, 2 / 3 * 2 / 3))
    assert found.mean == pytest.approx((0.25 + 4 / 9) / 2)


def test_detections_in_an_image_without_boxes_cost(data: Dataset, loader: Loader) -> None:
    found = scored(Knowing(RIGHT | {6: [(0, 0.9, *BOX)]}), loader, 4)
    assert found.per_class == pytest.approx((2 / 3, 1.0))


@pytest.mark.parametrize(("threshold", "mean"), [(0.5, 1.0), (0.8, 0.0)])
def test_overlap_threshold(data: Dataset, loader: Loader, threshold: float, mean: float) -> None:
    near = {r: [(r % 2, 0.5, 0.0, 0.0, 0.5, 0.375)] for r in range(6)} | {6: []}  # IoU 0.75
    found = scored(Knowing(near), loader, 4, threshold)
    assert found.mean == mean


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_stops_before_the_next_batch(data: Dataset, loader: Loader, batches: int) -> None:
    engine = Knowing(RIGHT)
    batched = loader.evaluation_pass(2)
    assert evaluate(engine, batched, lambda: len(engine.sizes) == batches) is None
    assert len(engine.sizes) == batches


def test_a_stream_that_is_given_up_is_not_scored(loader: Loader) -> None:
    """It ends as if it were complete: the question comes after the last batch too."""
    engine = Knowing(RIGHT)
    some = islice(loader.evaluation_pass(2), 2)
    assert evaluate(engine, some, lambda: len(engine.sizes) == 2) is None


def test_evaluating_twice_gives_the_same(data: Dataset, loader: Loader) -> None:
    engine = Knowing(RIGHT | {1: []})
    assert scored(engine, loader, 3) == scored(engine, loader, 3)


def test_results_are_in_the_order_of_the_records(loader: Loader) -> None:
    answers = RIGHT | {1: [(0, 0.1, *BOX), (-1, 0.9, *BOX), (1, 0.4, *OTHER)]}
    results = evaluate(Knowing(answers), loader.evaluation_pass(3))
    assert results is not None
    assert results.records.tolist() == list(range(COUNT))
    assert results.sizes.tolist() == [[WIDTH, HEIGHT]] * COUNT
    assert results.found(1)[:, 0].tolist() == [1, 0]  # best first, nothing suppressed
    assert [len(results.labels(r).boxes) for r in range(COUNT)] == [1] * 6 + [0]
    assert results.labels(4).difficult.tolist() == [True]
