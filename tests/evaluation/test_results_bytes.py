"""Results of several processes as one."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder
from sagemaker_object_detection.evaluation.results_bytes import join_results, pack_results


def _add(builder: ResultsBuilder, record: int) -> None:
    random = np.random.default_rng(record)
    boxes, found = random.uniform(0, 1, (record % 3, 4)), random.uniform(0, 1, (record % 4, 6))
    labels = Labels(boxes, np.arange(record % 3), np.zeros(record % 3, bool))
    builder.add(record, np.array([record + 5, 7]), found.astype(np.float32), labels)


def _results(records: range) -> Results:
    builder = ResultsBuilder()
    for record in records:
        _add(builder, record)
    return builder.build()


def _same(one: Results, other: Results) -> None:
    for name, value in asdict(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


@pytest.mark.parametrize("processes", [1, 2, 3, 12, 15])
def test_shares_give_what_one_process_gives(processes: int) -> None:
    """Even where some have no image."""
    parts = [pack_results(_results(range(rank, 12, processes))) for rank in range(processes)]
    _same(join_results(parts), _results(range(12)))


def test_only_some() -> None:
    whole = _results(range(9))
    _same(whole.only(whole.records % 2 == 1), _results(range(1, 9, 2)))
