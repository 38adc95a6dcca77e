"""The page of a training job: whole, safe, readable at any width, and with its plots on it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sagemaker_object_detection.evaluation.report_html import Report, render, write_report
from sagemaker_object_detection.evaluation.results import ResultsBuilder
from sagemaker_object_detection.evaluation.summary import best_threshold, curves
from sagemaker_object_detection.images import ImageError
from sagemaker_object_detection.inference.twins import Int8Score
from tests.browser import layouts, pictures
from tests.evaluation.reports import (
    class_names,
    labels_of,
    made_epochs,
    made_picture,
    made_report,
    made_results,
    without_detections,
)
from tests.html_page import Page

LONG = "a_very_long_name_without_any_place_to_break_it_" * 4
HEADINGS = (
    "Learning",
    "Precision and recall",
    "Which score to trust",
    "What is taken for what",
    "Pictures",
    "Data",
    "Time",
    "Configuration",
    "Versions",
)


def usual() -> Report:
    """Three classes, thirty epochs."""
    return made_report(made_results(9, 3), class_names(3))


def one_class_one_epoch() -> Report:
    """The least that can be trained."""
    epochs = made_epochs(1, 1)
    return made_report(made_results(4, 1), ["cell"], epochs=epochs, best_epoch=0)


def crowded() -> Report:
    """Many classes, with names and numbers that are hard to place."""
    names = [LONG, "white cell", "weiße Zelle 白血球" * 5, *class_names(80)[3:]]
    int8 = Int8Score(0.81234567, 0.8203, 0.005).figures()
    twins = {"int8": int8, LONG: {LONG: 0.81234567, "why": LONG, "mAP": None}}
    return made_report(
        made_results(40, 80, boxes=12),
        names,
        epochs=made_epochs(1200, 80, first=12345),
        best_epoch=13000,
        name=lambda record: f"/{LONG}/{LONG}.rec, record {record}",
        configuration={LONG: LONG, "base_network": "vgg-16", "class_names": ""},
        versions={LONG: LONG},
        test={"mAP": 0.7512},
        twins=twins,
    )


def no_boxes() -> Report:
    """A validation channel without a box."""
    return made_report(made_results(5, 2, boxes=0), class_names(2))


def no_detections() -> Report:
    """A detector that finds nothing."""
    return made_report(without_detections(made_results(5, 2)), class_names(2))


def no_boxes_no_detections() -> Report:
    """Neither."""
    return made_report(without_detections(made_results(5, 2, boxes=0)), class_names(2))


def no_images() -> Report:
    """Not even an image: a stream that was given up."""
    return made_report(ResultsBuilder().build(), class_names(2))


def pipe() -> Report:
    """Pictures cannot be read again."""
    return made_report(made_results(5, 2), class_names(2), picture=None)


REPORTS = [
    usual,
    one_class_one_epoch,
    crowded,
    no_boxes,
    no_detections,
    no_boxes_no_detections,
    no_images,
    pipe,
]


@pytest.mark.parametrize("make", REPORTS)
def test_the_page_stands_alone(make: Callable[[], Report]) -> None:
    source = render(make())
    page = Page(source)
    assert not {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe", "object"}
    links = {v for _, given in page.elements for k, v in given.items() if k in ("href", "src")}
    assert {link for link in links if not (link or "").startswith("data:image/jpeg;base64,")} == {
        "data_report.html"
    }
    assert "url(" not in source
    assert not {"undefined", "nan", "none"} & set(re.findall(r"\w+", page.text.lower()))


@pytest.mark.parametrize("make", REPORTS)
def test_every_section_is_there(make: Callable[[], Report]) -> None:
    words = Page(render(make())).words
    assert all(f" {heading} " in words for heading in ("Training report", *HEADINGS))
    assert [words.index(f" {heading} ") for heading in HEADINGS] == sorted(
        words.index(f" {heading} ") for heading in HEADINGS
    )


@pytest.mark.parametrize("make", REPORTS)
def test_nothing_is_cut_off(make: Callable[[], Report], tmp_path: Path) -> None:
    for width, layout in zip(
        (1280, 390), layouts(render(make()), (1280, 390), tmp_path), strict=True
    ):
        assert layout["height"] > 1000
        assert layout["scroll_width"] <= layout["width"] <= width
        assert layout["clipped"] == layout["broken"] == []
        assert layout["requests"] == 0


def near(pixels: NDArray[Any], colour: tuple[int, int, int]) -> NDArray[Any]:
    """Which pixels have a colour or one almost like it."""
    return np.abs(pixels.astype(np.int64) - colour).max(axis=2) <= 12


def bluish(pixels: NDArray[Any], least: int) -> NDArray[Any]:
    """Which pixels have so much more blue than red."""
    return pixels[..., 2].astype(np.int64) - pixels[..., 0] > least


BLUE, ORANGE, GREEN = (0x32, 0x66, 0xC8), (0xD9, 0x82, 0x2B), (0x1F, 0x9A, 0x7F)
WASH = (0xE0, 0xE8, 0xF7)  # the blue at 15 % over white


@pytest.mark.parametrize("width", [1280, 390])
def test_the_plots_are_seen(width: int, tmp_path: Path) -> None:
    report = made_report(made_results(6, 3), class_names(3))
    seen: dict[str, list[NDArray[Any]]] = {}
    for kind, pixels in pictures(render(report), width, tmp_path):
        seen.setdefault(kind, []).append(pixels)
    assert {kind: len(some) for kind, some in seen.items()} | {"picture": 0} == {
        "map": 1,
        "loss": 1,
        "curve": 3,
        "confusion": 1,
        "picture": 0,
        "time": 1,
    }
    for chart, colours in (("map", [BLUE]), ("loss", [BLUE, ORANGE])):
        for colour in colours:
            columns = np.flatnonzero(near(seen[chart][0], colour).any(axis=0))
            assert np.ptp(columns) > 0.75 * seen[chart][0].shape[1], "the curve spans the epochs"
    for curve in seen["curve"]:
        assert near(curve, WASH).mean() > 0.2, "the area below"
        assert bluish(curve, 75).sum() > 100, (
            "the line, which is thin and blends with what is below"
        )
        assert near(curve, ORANGE).sum() > 20, "the point of best F1"
    assert all(near(seen["time"][0], colour).any() for colour in (BLUE, ORANGE, GREEN))
    assert bluish(seen["confusion"][0], 60).mean() > 0.05, "the cells of the diagonal"
    assert len(seen["picture"]) >= 4
    for picture in seen["picture"]:
        assert picture.shape[1] > 200
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1000, "the photograph"


PLACES = {
    "right": (0.1, 0.1, 0.3, 0.5),
    "missed": (0.6, 0.1, 0.8, 0.5),
    "false": (0.4, 0.6, 0.9, 0.9),
}
COLOURS = {"right": (0x2F, 0x7D, 0xF6), "missed": (0xFF, 0xB3, 0x00), "false": (0xFF, 0x33, 0x55)}


def one_of_each() -> Report:
    """One right detection, one false, one missed box."""
    builder = ResultsBuilder()
    rows = [[0, 0.9, *PLACES["right"]], [0, 0.95, *PLACES["false"]]]
    labels = labels_of([PLACES["right"], PLACES["missed"]], [0, 0])
    builder.add(0, np.array([320, 240]), np.array(rows, np.float32), labels)
    return made_report(builder.build(), ["cell"])


def test_the_boxes_are_seen_on_the_picture(tmp_path: Path) -> None:
    shown = pictures(render(one_of_each()), 1280, tmp_path)
    (picture,) = (pixels for kind, pixels in shown if kind == "picture")
    height, width = picture.shape[:2]
    for kind, (left, top, right, bottom) in PLACES.items():
        # Captions have the colour too, but lie outside the lower half of their boxes.
        middle = round((top + bottom) / 2 * height)
        lower = near(picture, COLOURS[kind])[middle : round(bottom * height) + 3]
        columns = np.flatnonzero(lower.any(axis=0))
        assert columns.min() == pytest.approx(left * width, abs=3)
        assert columns.max() == pytest.approx(right * width, abs=3)


@pytest.mark.parametrize("hidden", list(PLACES))
def test_a_kind_of_box_can_be_hidden(hidden: str, tmp_path: Path) -> None:
    ticked = f'id="show-{hidden}" checked'
    source = render(one_of_each())
    assert ticked in source
    shown = pictures(source.replace(ticked, ticked.removesuffix(" checked")), 1280, tmp_path)
    (picture,) = (pixels for kind, pixels in shown if kind == "picture")
    assert {kind for kind, colour in COLOURS.items() if near(picture, colour).sum() > 20} == {
        *PLACES
    } - {hidden}


def test_a_page_says_what_the_report_says() -> None:
    report = made_report(made_results(50, 3), class_names(3), test={"mAP": 0.61237})
    words = Page(render(report)).words
    assert f"{report.summary.mean:.4f} validation mAP 0.6124 test mAP 30 epochs" in words
    assert "50 validation images" in words
    assert "Kept: epoch 27" in words
    assert "resnet-50 at image_shape 300, 3 classes" in words
    curve, best = report.summary.curves[1], report.summary.best[1]
    assert best is not None
    assert f"kind 1 AP {curve.average_precision:.3f}" in words
    figures = (best.score, best.f1, best.precision, best.recall)
    assert f"kind 1 {' '.join(f'{figure:.3f}' for figure in figures)}" in words
    assert f"AP50 IoU 0.50 {report.summary.coco['AP50']:.3f}" in words
    assert "steps 34 min 30 s 81.2 %" in words
    assert "validation 6 min 30 s 15.3 %" in words
    assert "mxnet 1.9.1" in words


def test_classes_stand_by_their_score() -> None:
    report = made_report(made_results(50, 5), class_names(5))
    curves = enumerate(report.summary.curves)
    order = sorted(curves, key=lambda item: -item[1].average_precision)
    bars = re.findall(r"kind (\d): 0\.\d{4}", render(report))
    assert [int(bar) for bar in bars[::2]] == [number for number, _ in order]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(no_boxes, "The validation channel has no boxes", id="no boxes"),
        pytest.param(no_detections, "Nothing was detected", id="no detections"),
        pytest.param(pipe, "In Pipe mode the validation pictures stream past", id="Pipe mode"),
        pytest.param(no_boxes_no_detections, "There is nothing to show", id="no pictures"),
        pytest.param(crowded, "The 20 classes most often taken for others; 60 are left", id="many"),
        pytest.param(crowded, "int8 mAP 0.8123 reference mAP 0.8203", id="twins"),
    ],
)
def test_what_is_odd_is_said(make: Callable[[], Report], text: str) -> None:
    assert text in Page(render(make())).words


def test_leaked_images_are_told_of() -> None:
    report = usual()
    leak = {"channels": ["train", "validation"], "images": 1234}
    data = {**report.data_report, "leaked_images": [leak]}
    words = Page(render(made_report(made_results(5, 3), class_names(3), data_report=data))).words
    assert "Leakage: 1,234 images of validation are in train too" in words


def test_a_curve_of_one_epoch_is_a_point() -> None:
    source = render(one_class_one_epoch())
    assert len(re.findall(r'class="point s\d" d="M500 \d+h0"', source)) == 3


def test_as_many_pictures_as_there_are_and_twelve_of_a_kind() -> None:
    few = Page(render(made_report(made_results(2, 1), ["cell"]))).count("rect", "halo")
    assert few > 0
    many = render(made_report(made_results(100, 3, skill=0.7), class_names(3)))
    assert len(re.findall("<figure>", many)) == 36


def test_long_names_are_cut_where_they_stand_upright() -> None:
    source = render(made_report(made_results(6, 2), [LONG, "cell"]))
    heads = re.findall(r'<th title="([^"]*)"><span>([^<]*)</span></th>', source)
    assert heads == [(LONG, f"{LONG[:17]}\N{HORIZONTAL ELLIPSIS}"), ("cell", "cell")]


HOSTILE = [
    pytest.param("<script>alert(1)</script>", id="script"),
    pytest.param('"><img src=x onerror=alert(1)>', id="out of an attribute"),
    pytest.param("{{ 7 * 7 }}{% raw %}", id="template"),
    pytest.param("]]>--><!--", id="comment"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_of_the_data_are_only_text(text: str) -> None:
    report = made_report(
        made_results(6, 1),
        [text],
        name=lambda record: text,
        configuration={text: text},
        versions={text: text},
        twins={text: {text: text}},
    )
    page = Page(render(report))
    assert page.text.count(text[:18]) > 8
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "img"})


def test_names_that_are_no_text_are_written_as_escapes(tmp_path: Path) -> None:
    """File names are bytes; those that are not UTF-8 come as lone surrogates."""
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    write_report(tmp_path, made_report(made_results(6, 1), ["\ud800"], name=lambda record: name))
    assert "caf\\udce9.jpg" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_picture_that_is_gone_is_an_error_for_the_caller() -> None:
    def gone(record: int) -> bytes:
        raise FileNotFoundError(record)

    results = made_results(6, 1)
    with pytest.raises(FileNotFoundError):
        render(made_report(results, ["cell"], picture=gone))
    cut = made_report(results, ["cell"], picture=lambda record: made_picture(record)[:100])
    with pytest.raises(ImageError, match=r"/0000\d\.jpg"):
        render(cut)


def test_pages_of_large_data_sets_stay_small() -> None:
    """Pictures that JPEG cannot make small, and a million points of curves."""
    random = np.random.default_rng(0)
    noise = cv2.imencode(".png", random.integers(0, 256, (700, 700, 3)).astype(np.uint8))[1]
    results = made_results(1000, 20, skill=0.7, false=97)
    summary = made_report(made_results(5, 20), class_names(20)).summary  # COCO's takes long
    found = curves(results, 20, 0.5)
    summary = replace(summary, curves=found, best=tuple(map(best_threshold, found)))
    report = made_report(
        results, class_names(20), picture=lambda record: noise.tobytes(), summary=summary
    )
    page = render(report)
    assert page.count("<figure>") == 36
    assert len(page) < 5_000_000
