"""The page of the data report: whole, safe and readable at any width."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sagemaker_object_detection.data.judge import Dropped, Verdict
from sagemaker_object_detection.data.reasons import REASONS
from sagemaker_object_detection.data.report import Checked, make_report
from sagemaker_object_detection.data.report_html import render, write_report
from sagemaker_object_detection.model.specs import get_spec
from tests.browser import layouts
from tests.data.tallies import MIDDLE, checked, lost, refused, verdict
from tests.html_page import Page

SPEC = get_spec("resnet-50", 300)
Report = dict[str, Any]
LONG = "a_very_long_name_without_any_place_to_break_it_" * 4


def report_of(
    *channels: Checked, names: Sequence[str] = ("cell",), refused: Sequence[str] = ()
) -> Report:
    return make_report(channels, names, SPEC, refused)


def small() -> Report:
    return report_of(checked("train", [verdict(digest=1)]), checked("validation", [verdict()]))


def crowded() -> Report:
    """Everything that a page can show, with names and numbers that are hard to place."""
    generator = np.random.default_rng(0)

    def boxes(count: int) -> list[Any]:
        corners = generator.uniform(0, 0.6, (count, 2))
        sides = 10 ** generator.uniform(-2, -0.4, (count, 2))
        return [tuple(box) for box in np.hstack([corners, corners + sides]).tolist()]

    drops = [Dropped(f"/{LONG}/{i}.jpg", "zero_area", f"box {i}") for i in range(150)]
    channels = [
        checked(
            name,
            [
                *[verdict(boxes(50), range(50), (9999 + i, 12345), i % 30) for i in range(40)],
                verdict([], dropped=drops, clipped=1234567),
                *[lost(f"/{LONG}.jpg", reason, LONG) for reason in ("truncated", "undecodable")],
                refused(f"/{LONG}.jpg"),
            ],
            50,
        )
        for name in ("train", "validation", "test")
    ]
    refusal = f"The channel 'train' has records that cannot be used:\n/{LONG}.jpg: class_id"
    names = ["cell", "white cell", LONG, "weiße Zelle 白血球"]
    return report_of(*channels, names=names, refused=[refusal])


def empty() -> Report:
    return report_of(checked("train", []), checked("validation", [verdict([])]))


def without_channels() -> Report:
    return report_of(refused=["no record was found"])


REPORTS = [small, crowded, empty, without_channels]


@pytest.mark.parametrize("make", REPORTS)
def test_the_page_stands_alone(make: Callable[[], Report]) -> None:
    page = Page(render(make()))
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object"}
    attributes = {name for _, given in page.elements for name in given}
    assert not attributes & {"src", "href", "onload", "onclick"}
    assert "undefined" not in page.text.lower().replace("undecodable", "")
    assert "nan" not in re.findall(r"\w+", page.text.lower())


@pytest.mark.parametrize("make", REPORTS)
def test_nothing_overflows(make: Callable[[], Report], tmp_path: Path) -> None:
    for width, layout in zip(
        (1280, 390), layouts(render(make()), (1280, 390), tmp_path), strict=True
    ):
        assert layout["height"] > 100
        assert layout["scroll_width"] <= layout["width"] <= width
        assert layout["clipped"] == layout["broken"] == []
        assert layout["requests"] == 0


def test_both_files_are_written_whole(tmp_path: Path) -> None:
    report = crowded()
    write_report(tmp_path, report)
    assert json.loads((tmp_path / "data_report.json").read_text()) == report
    assert (tmp_path / "data_report.html").read_text(encoding="utf-8") == render(report)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "data_report.html",
        "data_report.json",
    ]


def test_a_page_says_what_the_report_says() -> None:
    train = checked("train", [verdict([MIDDLE] * 3, [0, 0, 1], digest=i) for i in range(1200)], 2)
    validation = checked("validation", [verdict([MIDDLE], [1], digest=0)], 2)
    words = Page(render(report_of(train, validation, names=("cell", "nucleus")))).words
    assert "1,200 images 3,600 boxes" in words
    assert "Leakage: 1 of 1 images of validation are in train too" in words
    assert "validation/0.jpg is train/0.jpg" in words
    assert re.search(r"cell .*2,400 66\.7 %.* 0 0 % nucleus", words)
    assert "0 % of the boxes match no anchor (0 of 3,600)" in words
    assert "640 \u00d7 480" in words


def test_every_reason_is_shown_with_its_cure() -> None:
    droppable = [name for name, reason in REASONS.items() if reason.policy.endswith("dropped")]
    verdicts = [lost(f"{name}.jpg", name, f"detail of {name}") for name in droppable]
    report = report_of(checked("train", [*verdicts, verdict(clipped=3)]))
    words = Page(render(report)).words
    for name in (*droppable, "overhang"):
        assert REASONS[name].text in words
        assert REASONS[name].cure in words
    for name in droppable:
        assert f"{name}.jpg: detail of {name}" in words
    assert "3 overhang box changed" in words


def test_a_clean_channel_says_that_nothing_was_left_out() -> None:
    assert "Nothing: every image and every box passed as it was." in Page(render(small())).words


BADGES = [
    pytest.param([], [], "Passed", id="clean"),
    pytest.param([lost("x.jpg")], [], "Passed, 1 left out", id="dropped"),
    pytest.param([lost("x.jpg")], ["too bad"], "Refused", id="refused"),
]


@pytest.mark.parametrize(("verdicts", "why", "badge"), BADGES)
def test_the_heading_says_how_it_went(verdicts: list[Verdict], why: list[str], badge: str) -> None:
    report = report_of(checked("train", [verdict(), *verdicts]), refused=why)
    words = Page(render(report)).words
    assert f"Data report {badge} for resnet-50" in words


def test_a_refusal_is_shown_whole() -> None:
    report = report_of(checked("train", [refused("a.jpg")]), refused=["one\ntwo", "three"])
    page = Page(render(report))
    assert all(
        text in page.text for text in ("This data cannot be trained on", "one\ntwo", "three")
    )
    assert "Records that refuse the channel 1" in page.words


HOSTILE = [
    pytest.param("<script>alert(1)</script>", id="script"),
    pytest.param('"><img src=x onerror=alert(1)>', id="out of an attribute"),
    pytest.param("{{ 7 * 7 }}{% raw %}", id="template"),
    pytest.param("]]>--><!--", id="comment"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_of_the_data_are_only_text(text: str) -> None:
    train = checked(text, [verdict(digest=1), verdict(digest=1), lost(text, detail=text)])
    validation = checked("validation", [verdict(digest=1)])
    page = Page(render(report_of(train, validation, names=[text], refused=[text])))
    assert page.text.count(text) > 8
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "img"})


def test_names_that_are_no_text_are_written_as_escapes(tmp_path: Path) -> None:
    """File names are bytes; those that are not UTF-8 come as lone surrogates."""
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    report = report_of(checked("train", [verdict(), lost(name)]), names=["\ud800"])
    write_report(tmp_path, report)
    assert "caf\\udce9.jpg" in (tmp_path / "data_report.html").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "data_report.json").read_text()) == report


def test_bars_are_shares_of_their_own_channel() -> None:
    train = checked("train", [verdict([MIDDLE] * 8, [0] * 6 + [1] * 2)], 2)
    validation = checked("validation", [verdict([MIDDLE] * 4, [0] * 3 + [1])], 2)
    page = Page(render(report_of(train, validation, names=("a", "b"))))
    drawn = [given for tag, given in page.elements if tag == "rect" and given["height"] == "9"]
    assert [float(given["width"] or 0) for given in drawn[:4]] == [100, 100, 33.33, 33.33]
    assert [given["class"] for given in drawn[:4]] == ["c0", "c1", "c0", "c1"]


def test_columns_are_as_high_as_their_boxes() -> None:
    """Three boxes of one size that anchors match, and one so small that none does."""
    tiny = (0.5, 0.5, 0.51, 0.51)
    page = Page(render(report_of(checked("train", [verdict([MIDDLE] * 3 + [tiny])]))))
    drawn = [given for tag, given in page.elements if tag == "rect" and "x" in given]
    heights = [(given["class"], float(given["height"] or 0)) for given in drawn]
    assert [row for row in heights if row[1]] == [("lost", 33.33), ("c0", 100)]
    lines = [float(given["x1"] or 0) for tag, given in page.elements if tag == "line"]
    assert lines == sorted(lines)
    assert len(drawn) == 2 * 13
    assert 0 < lines[0] < lines[-1] <= 13


@pytest.mark.parametrize(
    ("classes", "folded"), [(40, False), (41, True)], ids=["as many as fit", "one more"]
)
def test_many_classes_are_folded(classes: int, folded: bool) -> None:
    report = report_of(checked("train", [verdict([MIDDLE] * classes, range(classes))], classes))
    assert ("1 more classes" in Page(render(report)).words) == folded
