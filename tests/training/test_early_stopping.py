"""The rule of early stopping, by tables of validation mAPs."""

from __future__ import annotations

import pytest

from sagemaker_object_detection.training.epochs import EarlyStopping


@pytest.mark.parametrize(
    ("min_epochs", "patience", "tolerance", "values", "stops_after"),
    [
        pytest.param(1, 2, 0, [0.5, 0.5, 0.5, 0.9], 3, id="two epochs without a gain"),
        pytest.param(1, 2, 0, [0.5, 0.4, 0.6, 0.5, 0.6, 0.7], 5, id="a gain starts the count anew"),
        pytest.param(1, 1, 0, [0.5, 0.6, 0.7, 0.8], None, id="it always gains"),
        pytest.param(1, 1, 0, [0.5, 0.5], 2, id="the same is no gain"),
        pytest.param(1, 2, 0, [0.5, 0.3, 0.4, 0.9], 3, id="better than the last, not the best"),
        pytest.param(6, 2, 0, [0.5, 0.4, 0.4, 0.4, 0.4, 0.4], 6, id="never before min_epochs"),
        pytest.param(5, 2, 0, [0.5, 0.4, 0.4, 0.4, 0.6, 0.5, 0.5], 7, id="a gain at min_epochs"),
        pytest.param(1, 1, 0.1, [0.5, 0.54], 2, id="8 % more, 10 % wanted"),
        pytest.param(1, 1, 0.1, [0.5, 0.56, 0.62], None, id="12 % and 11 % more"),
        pytest.param(
            1, 2, 0.1, [0.5, 0.54, 0.58], 3, id="small gains add up to none: the best moves along"
        ),
        pytest.param(1, 2, 0.1, [0.0, 0.001, 0.002], None, id="any gain on zero is a gain"),
        pytest.param(1, 3, 0, [0.0, 0.0, 0.0, 0.0], 4, id="zero is no gain on zero"),
        pytest.param(1, 1, 0, [0.5], None, id="one epoch has nothing to be compared with"),
        pytest.param(10, 5, 0, [0.1] * 12, 10, id="the defaults"),
    ],
)
def test_when_it_stops(
    min_epochs: int, patience: int, tolerance: float, values: list[float], stops_after: int | None
) -> None:
    rule = EarlyStopping(min_epochs, patience, tolerance)
    stopped = next((i for i, v in enumerate(values, 1) if rule.should_stop(i, v)), None)
    assert stopped == stops_after
