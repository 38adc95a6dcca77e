"""What verdicts add up to, and when a stream is refused before its end."""

from __future__ import annotations

import numpy as np
import pytest

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.data.judge import Dropped, Verdict
from sagemaker_object_detection.data.tally import EARLIEST_REFUSAL, KEPT_ROWS, Limits, Tally
from sagemaker_object_detection.platform.errors import ClientError


def _passed(boxes: int, dropped: int = 0) -> Verdict:
    labels = Labels(
        np.tile(np.float32([0, 0, 1, 1]), (boxes, 1)),
        np.zeros(boxes, np.int32),
        np.zeros(boxes, bool),
    )
    rows = [Dropped("record", "outside", "box")] * dropped
    return Verdict(labels, boxes + dropped, dropped=rows, size=(4, 3), digest=1)


def _image_dropped() -> Verdict:
    return Verdict(dropped=[Dropped("record", "undecodable", "it is empty")])


def _tally(*groups: tuple[int, Verdict]) -> Tally:
    tally = Tally("train", 1, Limits(0.1, 0.1))
    for count, verdict in groups:
        for _ in range(count):
            tally.add(verdict)
    return tally


@pytest.mark.parametrize(
    ("groups", "expected", "refused"),
    [
        pytest.param([(1, _image_dropped())], 1, False, id="too small a promise concludes nothing"),
        pytest.param([(17, _image_dropped())], 0, False, id="nor does none, before enough came"),
        pytest.param([(21, _image_dropped())], 0, True, id="of 200 that is more than a tenth"),
        pytest.param([(100, _image_dropped())], 1000, False, id="exactly a tenth of what comes"),
        pytest.param([(101, _image_dropped())], 1000, True, id="more than a tenth of what comes"),
        pytest.param(
            [(900, _passed(1)), (99, _image_dropped())], 10, False, id="more came than promised"
        ),
        pytest.param(
            [(900, _passed(1)), (101, _image_dropped())], 10, True, id="and too much of it is bad"
        ),
        pytest.param([(50, _passed(0, 4))], 1000, False, id="boxes: what comes may be all right"),
        pytest.param(
            [(100, _passed(9)), (101, _passed(0, 9))], 1000, True, id="boxes: half of a fifth"
        ),
        pytest.param([(300, _passed(8, 1))], 300, True, id="boxes: one in nine"),
        pytest.param([(300, _passed(9, 1))], 300, False, id="boxes: one in ten"),
    ],
)
def test_refusing_before_the_end(
    groups: list[tuple[int, Verdict]], expected: int, refused: bool
) -> None:
    tally = _tally(*groups)
    if refused:
        with pytest.raises(ClientError, match="cannot be used, more than 10%"):
            tally.refuse_early(expected)
    else:
        tally.refuse_early(expected)


def test_pixel_corners_in_a_stream_are_found_soon() -> None:
    """All boxes outside: known as soon as anything is concluded, not after hours."""
    tally = _tally((EARLIEST_REFUSAL // 10 + 1, _passed(0, 5)))
    with pytest.raises(ClientError, match="105 of 105 boxes"):
        tally.refuse_early(0)


def test_only_so_many_rows_are_kept() -> None:
    tally = _tally((KEPT_ROWS + 5, _image_dropped()))
    assert len(tally.dropped) == KEPT_ROWS
    assert tally.dropped_counts == {"undecodable": KEPT_ROWS + 5}
    with pytest.raises(ClientError, match=rf"\({KEPT_ROWS + 5} in all\)"):
        tally.refuse()


def test_the_first_of_each_reason_are_always_kept() -> None:
    """Boxes before them, however many, do not leave a refusal without names."""
    tally = _tally((KEPT_ROWS // 5 + 1, _passed(50, 5)), (1000, _image_dropped()))
    assert [drop.reason for drop in tally.dropped[KEPT_ROWS:]] == ["undecodable"] * 10
    with pytest.raises(ClientError) as caught:
        tally.refuse()
    heading, *lines = str(caught.value).splitlines()
    assert heading.startswith("1000 of 3001 images")
    assert lines == ["record: undecodable, it is empty"] * 10 + ["... and 990 more."]


def test_a_record_takes_few_bytes() -> None:
    tally = _tally((3, _passed(2)), (2, _image_dropped()), (1, _passed(0)))
    assert tally.records == 6
    assert (tally.images, tally.boxes_kept, tally.images_without_boxes) == (4, 6, 1)
    assert tally.indices.tolist() == [0, 1, 2, 5]
    assert tally.offsets.tolist() == [0, 2, 4, 6, 6]
    assert tally.sizes.tolist() == [[4, 3]] * 4
    arrays = (tally.indices, tally.sizes, tally.digests)
    assert sum(array.nbytes for array in arrays) == 4 * 20
    assert (tally.boxes.nbytes, tally.class_ids.nbytes, tally.difficult.nbytes) == (96, 24, 6)
