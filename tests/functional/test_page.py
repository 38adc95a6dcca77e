"""The page of a real endpoint in a real browser: pictures, threshold, classes, answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sagemaker_object_detection.model import artifact
from tests import tiny_model
from tests.devtools import Browser
from tests.functional.endpoint_process import Endpoint, running
from tests.functional.shown_page import (
    CELLS,
    WEAK,
    ShownPage,
    caption,
    cell_box,
    picture,
    write_picture,
)
from tests.orientation import stored, with_tag

STRONG_BOXES = sorted(cell_box(*cell) for cell in CELLS)
ALL_BOXES = sorted([*STRONG_BOXES, cell_box(*WEAK)])
RED_BOXES = sorted(cell_box(*cell) for cell, colour in CELLS.items() if "red" in colour)
MARKUP = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture(
    browser: Browser, page_endpoint: Endpoint, tmp_path: Path, width: int, suffix: str
) -> None:
    page = ShownPage(browser, page_endpoint, width)
    page.choose(write_picture(tmp_path / f"cells{suffix}"))
    assert page.boxes == STRONG_BOXES
    assert page.text("#caption") == caption(f"cells{suffix}", 640, 480)
    assert page.text("#status") == "3 of 4 detections shown."
    labels = page.texts(".label text")
    assert sorted(labels) == ["blue 1.00", "red 0.73", "red 1.00"]
    assert labels[0] == "red 0.73"  # the best lie on top
    predictions = page.answer["predictions"]
    score = f"{predictions[2]['score']:.3f}"
    assert page.texts("#found .row")[2] == (
        f"red{score}160 \N{MULTIPLICATION SIGN} 120 px at 160, 360"
    )
    assert sorted(one["class_name"] for one in predictions) == ["blue", "red", "red", "red"]
    assert predictions[2]["bbox"] == [160, 360, 320, 480]
    assert page.text("#total").endswith(" ms")
    stages = ["receive", "decode", "queue", "model", "encode", "total"]
    assert page.texts("#stages dt") == stages
    assert browser.requests == [page.address, f"{page.address}invocations"]
    assert browser.problems == []


def test_boxes_stay_where_they_belong_when_the_window_changes(
    page: ShownPage, browser: Browser, tmp_path: Path
) -> None:
    page.choose(write_picture(tmp_path / "cells.png"))
    for width in (390, 700, 1280):
        browser.resize(width)
        browser.wait_until("true")
        assert page.boxes == STRONG_BOXES


def test_the_slider_hides_boxes(page: ShownPage, tmp_path: Path) -> None:
    page.choose(write_picture(tmp_path / "cells.png"))
    page.set_threshold(0.2)
    assert page.boxes == ALL_BOXES
    page.set_threshold(0.9)
    assert page.boxes == sorted(set(STRONG_BOXES) - {cell_box(1, 3)})
    assert page.text("output") == "0.90"
    assert page.text("#found-count") == "2 of 4"
    page.set_threshold(1)
    assert page.boxes == []
    assert page.text("#nothing").startswith("All are below the threshold")
    page.set_threshold(0)
    assert page.boxes == ALL_BOXES


def test_the_slider_keeps_its_place_for_the_next_picture(page: ShownPage, tmp_path: Path) -> None:
    page.set_threshold(0.9)
    page.choose(write_picture(tmp_path / "cells.png"))
    assert page.text("#found-count") == "2 of 4"


def test_the_page_tells_which_scores_are_left_out(page: ShownPage, tmp_path: Path) -> None:
    page.choose(write_picture(tmp_path / "cells.png"))
    assert page.text("#least") == "The endpoint leaves out scores up to 0.2."


def test_classes_are_counted_and_toggled(page: ShownPage, browser: Browser, tmp_path: Path) -> None:
    page.choose(write_picture(tmp_path / "cells.png"))
    assert page.texts(".toggle") == ["red 2", "blue 1"]
    page.set_threshold(0.2)
    assert page.texts(".toggle") == ["red 3", "blue 1"]
    page.set_threshold(0.5)
    browser.click("label[for=class-1]")
    assert page.boxes == RED_BOXES
    assert page.texts(".toggle") == ["red 2", "blue 1"]
    browser.click("#none")
    assert page.boxes == []
    browser.click("label[for=class-0]")
    assert page.boxes == RED_BOXES
    browser.click("#all")
    assert page.boxes == STRONG_BOXES


def test_a_detection_in_the_list_stands_out_in_the_picture(
    page: ShownPage, browser: Browser, tmp_path: Path
) -> None:
    page.choose(write_picture(tmp_path / "cells.png"))
    browser.point_at("#found li:nth-child(2) .row")
    assert page.texts(".label.picked text") == page.texts(".label text")[1:2]
    browser.point_at("h1")
    assert page.texts(".picked") == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_samples(page: ShownPage, browser: Browser, number: int) -> None:
    assert len(page.texts(".thumb")) == 3
    browser.click(f".thumb:nth-child({number})")
    page.wait_settled()
    width, height = (400, 300) if number < 3 else (300, 400)
    assert page.text("#caption") == caption(f"sample-{number}.jpg", width, height)
    assert "predictions" in page.answer
    assert browser.evaluate("document.querySelector('[aria-pressed=true]').dataset.name") == (
        f"sample-{number}.jpg"
    )


def test_a_picture_without_detections(page: ShownPage, tmp_path: Path) -> None:
    black = tmp_path / "black.png"
    black.write_bytes(tiny_model.encoded(tiny_model.picture({})))
    page.choose(black)
    assert page.text("#status") == "The model finds nothing on this picture."
    assert (page.boxes, page.texts(".toggle")) == ([], [])
    page.set_threshold(0.1)
    assert page.text("#nothing") == "The model finds nothing on this picture."


def test_a_dropped_picture(page: ShownPage, browser: Browser, tmp_path: Path) -> None:
    file = write_picture(tmp_path / "dropped.png")
    shown = {step: page.text("#drop") for step in browser.drop_file(file, 640, 700)}
    assert shown == {"dragEnter": "", "dragOver": "Drop the picture", "drop": ""}
    page.wait_settled()
    assert page.text("#caption") == caption("dropped.png", 640, 480)
    assert page.boxes == STRONG_BOXES


def test_the_same_file_can_be_chosen_again(page: ShownPage, tmp_path: Path) -> None:
    file = tmp_path / "cells.png"
    file.write_bytes(tiny_model.encoded(tiny_model.picture({(0, 0): "red"})))
    page.choose(file)
    assert page.boxes == [cell_box(0, 0)]
    page.choose(write_picture(file))
    assert page.boxes == STRONG_BOXES


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("tag", [3, 6, 7])
def test_a_picture_with_an_orientation_tag_is_shown_as_the_model_sees_it(
    page: ShownPage, tmp_path: Path, suffix: str, tag: int
) -> None:
    file = tmp_path / f"phone{suffix}"
    file.write_bytes(with_tag(tiny_model.encoded(stored(picture(), tag), suffix), tag))
    page.choose(file)
    assert page.text("#caption") == caption(file.name, 640, 480)
    assert page.boxes == STRONG_BOXES
    assert page.answer["predictions"][2]["bbox"] == [160, 360, 320, 480]


def test_a_picture_that_only_the_endpoint_can_read(page: ShownPage, tmp_path: Path) -> None:
    """As a JPEG whose coding the browser does not know: here it is one that refuses the first."""
    page.browser.evaluate("""(decode => {
      HTMLImageElement.prototype.decode = () => {
        HTMLImageElement.prototype.decode = decode;
        return Promise.reject(new DOMException("no picture", "EncodingError"));
      };
    })(HTMLImageElement.prototype.decode)""")
    page.choose(write_picture(tmp_path / "scan.png"))
    assert "cannot show the picture" in page.text("#unshowable")
    assert len(page.texts("#found .row")) == 3
    page.choose(write_picture(tmp_path / "cells.png"))
    assert page.text("#unshowable") == ""
    assert page.boxes == STRONG_BOXES


def test_the_latest_picture_counts(page: ShownPage, browser: Browser, tmp_path: Path) -> None:
    """The answer to the first one never comes."""
    asked: list[dict[str, Any]] = []

    def handle(event: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        asked.append(event)
        return None if len(asked) == 1 else ("continueResponse", {})

    browser.intercept("/invocations", handle)
    try:
        browser.click(".thumb")
        browser.wait_until("document.querySelector('#status').innerText === 'Asking the endpoint…'")
        page.choose(write_picture(tmp_path / "second.png"))
    finally:
        browser.let_through()
    assert len(asked) == 2
    assert page.text("#caption") == caption("second.png", 640, 480)
    assert page.boxes == STRONG_BOXES


def test_class_names_are_text(browser: Browser, tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    names = (MARKUP, "weiße Zelle 白血球")
    artifact.write_config(tmp_path / "model", artifact.ModelConfig(names, tiny_model.SIDE, "tiny"))
    with running(tmp_path, OBJECT_DETECTION_RESPONSE="builtin") as endpoint:
        endpoint.wait_ready()
        page = ShownPage(browser, endpoint)
        page.choose(write_picture(tmp_path / f"{MARKUP.partition('>')[0]}.png"))
        assert page.texts("#knows li") == list(names)
        assert page.texts(".toggle .name") == list(names)
        assert page.texts("#found .name") == [MARKUP, names[1], MARKUP]
        assert page.text("#caption").startswith("<img src=x onerror=window.hacked=1.png, 640")
        assert browser.evaluate("window.hacked") is None
        assert browser.evaluate("document.querySelectorAll('[onerror]').length") == 0
        assert browser.problems == []


def test_without_the_page(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path, OBJECT_DETECTION_PAGE="0") as endpoint:
        endpoint.wait_ready()
        assert endpoint.request("GET", "/")[:2] == (404, "application/json")
