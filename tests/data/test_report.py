"""What stands in data_report.json and in the log."""

import json
import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sagemaker_object_detection.boxes import iou
from sagemaker_object_detection.data import report as report_module
from sagemaker_object_detection.data.judge import Dropped
from sagemaker_object_detection.data.report import QUANTILES, Checked, make_report
from sagemaker_object_detection.data.report_log import log_report
from sagemaker_object_detection.model.specs import get_spec, make_anchors
from tests.data.tallies import MIDDLE, checked, lost, refused, verdict

SPEC = get_spec("resnet-50", 300)


def report_of(*channels: Checked, names: Sequence[str] = ("cell",)) -> dict[str, Any]:
    report = make_report(channels, names, SPEC)
    assert json.loads(json.dumps(report, allow_nan=False)) == report  # plain JSON values
    return report


def test_figures_of_a_channel() -> None:
    flat = Dropped("train/1.jpg", "zero_area", "box 0")
    verdicts = [
        verdict([MIDDLE, MIDDLE], [0, 2], clipped=1),
        verdict([], dropped=[flat], size=(10, 20)),
        lost("train/2.jpg"),
        refused("train/3.jpg"),
    ]
    report = report_of(checked("train", verdicts, 3), names=("red", "white"))
    assert (report["format_version"], report["refused"], report["leakage"]) == (1, [], [])
    channel = report["channels"]["train"]
    anchors, sizes = channel.pop("anchors"), channel.pop("box_sizes")
    assert (anchors["base_network"], anchors["image_shape"]) == ("resnet-50", 300)
    assert sizes["quantiles"] == list(QUANTILES)
    assert channel == {
        "images": 2,
        "boxes": 2,
        "boxes_per_class": {"red": 1, "white": 0, "2": 1},
        "images_without_boxes": 1,
        "boxes_clipped": 1,
        "label_width": 12,
        "dropped": [
            {"record": "train/1.jpg", "reason": "zero_area", "detail": "box 0"},
            {"record": "train/2.jpg", "reason": "truncated", "detail": "it was cut short"},
        ],
        "dropped_counts": {"zero_area": 1, "truncated": 1},
        "noted": [],
        "noted_counts": {},
        "refused_records": 1,
        "duplicates": {"images": 1, "examples": [["train/0.jpg", "train/1.jpg"]]},
        "image_sizes": [
            {"width": 10, "height": 20, "images": 1},
            {"width": 640, "height": 480, "images": 1},
        ],
    }


KEYS = [
    pytest.param(("a", "b"), ["a", "b", "2"], id="ids where names end"),
    pytest.param(("", "b", "c"), ["0", "b", "c"], id="an empty name"),
    pytest.param(("a", "a", "b"), ["a", "1", "b"], id="a name twice"),
    pytest.param(("1", "", "b"), ["1", "class_id 1", "b"], id="a name like an id"),
    pytest.param(("1", "1", "b"), ["1", "class_id 1", "b"], id="that twice"),
    pytest.param(("class_id 2", "x", "x"), ["class_id 2", "x", "2"], id="nor is that one taken"),
]


@pytest.mark.parametrize(("names", "keys"), KEYS)
def test_every_class_has_a_key_of_its_own(names: tuple[str, ...], keys: list[str]) -> None:
    counted = [verdict([MIDDLE] * 6, [0, 1, 1, 2, 2, 2])]
    channel = report_of(checked("train", counted, 3), names=names)["channels"]["train"]
    assert channel["boxes_per_class"] == dict(zip(keys, (1, 2, 3), strict=True))


def test_box_sizes_are_quantiles() -> None:
    boxes = [(0.0, 0.0, side, side / 2) for side in (0.1, 0.2, 0.3, 0.4, 0.5)]
    sizes = report_of(checked("train", [verdict(boxes)]))["channels"]["train"]["box_sizes"]
    np.testing.assert_allclose(sizes["ratio"], 2, rtol=1e-4)
    sides = np.array([0.1, 0.12, 0.2, 0.3, 0.4, 0.48, 0.5])
    np.testing.assert_allclose(sizes["size"], sides / np.sqrt(2), rtol=1e-4)


def test_the_twenty_most_frequent_image_sizes() -> None:
    verdicts = [verdict(size=(100 + i, 50)) for i in range(30) for _ in range(i + 1)]
    sizes = report_of(checked("train", verdicts))["channels"]["train"]["image_sizes"]
    assert [row["width"] for row in sizes] == [129 - i for i in range(20)]
    assert [row["images"] for row in sizes] == [30 - i for i in range(20)]


def test_unmatched_boxes_by_brute_force() -> None:
    generator = np.random.default_rng(3)
    centres, sides = (
        generator.uniform(0.1, 0.9, (300, 2)),
        10 ** generator.uniform(-2, -0.1, (300, 2)),
    )
    corners = np.clip(np.hstack([centres - sides / 2, centres + sides / 2]), 0, 1)
    boxes = [tuple(box) for box in corners.astype(np.float32).tolist()]
    anchors = report_of(checked("train", [verdict(boxes)]))["channels"]["train"]["anchors"]
    best = iou(corners, make_anchors(SPEC)[0].astype(np.float64)).max(axis=1)
    assert np.abs(best - 0.5).min() > 1e-5  # rounding does not decide
    lost_boxes = int((best <= 0.5).sum())
    assert 0 < lost_boxes < 300
    assert anchors["unmatched_boxes"] == lost_boxes
    assert anchors["unmatched_share"] == pytest.approx(lost_boxes / 300, abs=1e-6)
    rows = anchors["unmatched_by_size"]
    assert (rows[0]["from_px"], rows[-1]["to_px"]) == (0, 300)
    assert [row["to_px"] for row in rows[:-1]] == [row["from_px"] for row in rows[1:]]
    sizes_px = np.sqrt(np.prod(corners[:, 2:] - corners[:, :2], axis=1)) * 300
    for row in rows:
        inside = (sizes_px >= row["from_px"]) & (sizes_px < row["to_px"])
        assert (row["boxes"], row["unmatched_boxes"]) == (
            int(inside.sum()),
            int((inside & (best <= 0.5)).sum()),
        )


def test_figures_do_not_depend_on_where_the_parts_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = np.random.default_rng(0).uniform(0, 0.5, (50, 2))
    boxes = [tuple(box) for box in np.hstack([corners, corners * 1.5 + 0.01]).tolist()]
    channel = checked("train", [verdict([box], size=(9, i % 3)) for i, box in enumerate(boxes)])
    whole = report_of(channel)
    monkeypatch.setattr(report_module, "_CHUNK", 7)
    assert report_of(channel) == whole


def test_the_whole_image_is_in_the_last_step() -> None:
    anchors = report_of(checked("train", [verdict([(0, 0, 1, 1)])]))["channels"]["train"]["anchors"]
    assert [row["boxes"] for row in anchors["unmatched_by_size"]][-2:] == [0, 1]
    assert anchors["unmatched_boxes"] == 0


@pytest.mark.parametrize("verdicts", [[], [verdict([])]], ids=["no image", "no box"])
def test_nothing_to_count(verdicts: list[Any]) -> None:
    channel = report_of(checked("train", verdicts))["channels"]["train"]
    assert channel["box_sizes"]["size"] == []
    assert channel["anchors"]["unmatched_share"] == 0


def test_leakage_names_both_records() -> None:
    train = checked("train", [verdict(digest=d) for d in (1, 2, 3)])
    validation = checked("validation", [lost("x"), *(verdict(digest=d) for d in (9, 3, 3))])
    test = checked("test", [verdict(digest=9)])
    report = report_of(train, validation, test)
    assert report["leakage"] == [
        {"train": "train/2.jpg", "validation": "validation/2.jpg"},
        {"train": "train/2.jpg", "validation": "validation/3.jpg"},
        {"validation": "validation/1.jpg", "test": "test/0.jpg"},
    ]
    assert report["leaked_images"] == [
        {"channels": ["train", "validation"], "images": 2},
        {"channels": ["validation", "test"], "images": 1},
    ]
    copies = report["channels"]["validation"]["duplicates"]
    assert copies == {"images": 1, "examples": [["validation/2.jpg", "validation/3.jpg"]]}


@pytest.mark.parametrize(
    ("names", "named"),
    [
        pytest.param(("train", "validation"), [1000], id="two channels"),
        pytest.param(("train", "validation", "test"), [333] * 3, id="three: each pair has a share"),
    ],
)
def test_leakage_is_counted_where_it_is_not_named(
    names: tuple[str, ...], named: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    verdicts = [verdict(digest=d) for d in range(1500)]
    report = report_of(*(checked(name, verdicts) for name in names))
    pairs = [leak["channels"] for leak in report["leaked_images"]]
    assert [sum(set(row) == set(pair) for row in report["leakage"]) for pair in pairs] == named
    assert [leak["images"] for leak in report["leaked_images"]] == [1500] * len(named)
    leaks = [text for _, text in logged(caplog, report) if text.startswith("Leakage")]
    for (first, second), text in zip(pairs, leaks, strict=True):
        assert f"two: {second}/0.jpg is {first}/0.jpg; " in text
        assert text.endswith("; and 1495 more.")


def logged(caplog: pytest.LogCaptureFixture, report: dict[str, Any]) -> list[tuple[int, str]]:
    with caplog.at_level(logging.INFO):
        log_report(report)
    return [(record.levelno, record.getMessage()) for record in caplog.records]


def test_log_of_a_sound_channel(caplog: pytest.LogCaptureFixture) -> None:
    report = report_of(checked("train", [verdict(digest=1), verdict([], digest=2)]))
    assert logged(caplog, report) == [
        (
            logging.INFO,
            "Channel 'train': 2 images with 1 boxes passed the gate (cell 1), 1 of them without "
            "boxes, 0 boxes clipped to the image.",
        ),
        (
            logging.INFO,
            "Channel 'train': 0.0 % of the boxes overlap no anchor of resnet-50 at image_shape 300 "
            "by more than 0.5; each of them is learnt by its best anchor alone.",
        ),
    ]


def test_log_warns_of_what_is_odd(caplog: pytest.LogCaptureFixture) -> None:
    drops = [Dropped(f"train/{i}.jpg", "zero_area", "box 0") for i in range(12)]
    train = checked("train", [verdict(digest=5, dropped=drops), verdict(digest=5)], 25)
    validation = checked("validation", [verdict([MIDDLE] * 25, range(25), digest=5)] * 7, 25)
    lines = logged(caplog, report_of(train, validation))
    warnings = [text for level, text in lines if level == logging.WARNING]
    assert warnings[:10] == [f"Dropped train/{i}.jpg: zero_area, box 0" for i in range(10)]
    empty = ", ".join(str(i) for i in range(1, 21))
    leaked = "; ".join(f"validation/{i}.jpg is train/0.jpg" for i in range(5))
    assert warnings[10:] == [
        "2 more of channel 'train' were dropped.",
        f"Channel 'train' has no box of class {empty}, and 4 more.",
        "Channel 'train': 1 images are copies of others in it, byte for byte, as train/0.jpg and "
        "train/1.jpg.",
        "Channel 'validation': 6 images are copies of others in it, byte for byte, as "
        "validation/0.jpg and validation/1.jpg.",
        "Leakage: 7 images of the channel 'validation' are in 'train' too, byte for byte, so that "
        f"scores come out too high. Remove them from one of the two: {leaked}; and 2 more.",
    ]


def test_200_000_boxes_take_seconds() -> None:
    row = np.random.default_rng(0).uniform(0, 0.5, (1000, 2))
    boxes = [tuple(box) for box in np.hstack([row, row + 0.1]).tolist()]
    channel = checked("train", [verdict(boxes, digest=i) for i in range(200)])
    begun = time.process_time()
    report_of(channel)
    assert time.process_time() - begun < 10
