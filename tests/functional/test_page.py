"""The page of a real endpoint in a real browser: images, threshold, classes, answer."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sagemaker_object_detection.colors import color_of
from sagemaker_object_detection.images import decode
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.tools.demo_data import CLASS_NAMES
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
RED_BOXES = sorted(
    [cell_box(*c) for c, color in CELLS.items() if "red" in color] + [cell_box(*WEAK)]
)
MARKUP = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>"
SHOWN_TOGGLES = ".toggle:not([hidden])"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image(
    browser: Browser, page_endpoint: Endpoint, tmp_path: Path, width: int, suffix: str
) -> None:
    page = ShownPage(browser, page_endpoint, width)
    page.choose(write_picture(tmp_path / f"cells{suffix}"))
    assert page.boxes == ALL_BOXES
    assert page.text("figcaption") == caption(f"cells{suffix}", 640, 480)
    assert page.text("#status") == "4 of 4 detections shown."
    labels = page.texts(".label text")
    assert sorted(labels) == ["blue 1.00", "red 0.38", "red 0.73", "red 1.00"]
    assert labels[:2] == ["red 0.38", "red 0.73"]  # the best lie on top
    predictions = page.answer["predictions"]
    score = f"{predictions[2]['score']:.3f}"
    assert page.texts(".found .row")[2] == (
        f"red{score}160 \N{MULTIPLICATION SIGN} 120 px at 160, 360"
    )
    assert sorted(one["class_name"] for one in predictions) == ["blue", "red", "red", "red"]
    assert predictions[2]["bbox"] == [160, 360, 320, 480]
    assert page.text(".total").endswith(" ms")
    stages = [one.split(" ")[0] for one in page.text(".stages").split(", ")]
    assert stages == ["receive", "decode", "queue", "model", "encode", "total"]
    assert browser.requests == [page.address, f"{page.address}invocations"]
    assert browser.problems == []


def test_what_the_page_tells_of_the_model(page: ShownPage) -> None:
    model, network, engine = page.texts("#facts > div")
    assert model.startswith("Model/")
    assert model.endswith("/model")
    assert (network, engine) == ("Networktiny, 32 px", "EngineOpenVINO, float32")


def test_boxes_stay_where_they_belong_when_the_window_changes(
    page: ShownPage, browser: Browser, tmp_path: Path
) -> None:
    page.choose(write_picture(tmp_path / "cells.png"))
    for width in (390, 700, 1280):
        browser.resize(width)
        browser.wait_until("true")
        assert page.boxes == ALL_BOXES
        browser.wait_until("""Math.abs(
          document.querySelector(".label rect").getBoundingClientRect().height - 18) < 0.5""")


def test_several_images(page: ShownPage, tmp_path: Path) -> None:
    """Each with its own boxes; the filter counts and filters all of them."""
    red = tmp_path / "red.png"
    red.write_bytes(tiny_model.encoded(tiny_model.picture({(0, 0): "red"})))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    page.choose(red, broken, write_picture(tmp_path / "cells.png"))
    assert page.texts("figcaption .name")[0] == "red.png"
    assert page.boxes == sorted([cell_box(0, 0), *ALL_BOXES])
    assert page.texts(".count.soft") == ["1 of 1", "", "4 of 4"]
    assert page.text("#status") == "2 of 3 images: 5 of 5 detections shown."
    assert page.texts(SHOWN_TOGGLES) == ["red 4", "blue 1"]
    assert "not an image" in page.texts(".failure-title")[1]
    page.set_threshold(0.9)
    assert page.boxes == sorted([cell_box(0, 0), cell_box(0, 0), cell_box(3, 2)])
    page.choose(red)
    assert page.text("#status") == "1 of 1 detection shown."


def test_the_slider_hides_boxes(page: ShownPage, tmp_path: Path) -> None:
    """It starts at the endpoint's threshold, and keeps its place for the next image."""
    assert page.texts("output") == ["0.20"]
    page.choose(write_picture(tmp_path / "cells.png"))
    assert page.text("#least") == "Starts where other answers of the endpoint do: above 0.2."
    page.set_threshold(0.5)
    assert page.boxes == STRONG_BOXES
    page.set_threshold(0.9)
    assert page.boxes == sorted(set(STRONG_BOXES) - {cell_box(1, 3)})
    assert page.text("output") == "0.90"
    assert page.text(".answer .count") == "2 of 4"
    page.set_threshold(1)
    assert page.boxes == []
    assert page.text(".nothing").startswith("All are below the threshold")
    page.set_threshold(0.9)
    page.choose(write_picture(tmp_path / "again.png"))
    assert page.text(".answer .count") == "2 of 4"


def test_the_slider_starts_at_the_threshold_of_the_endpoint(
    browser: Browser, tmp_path: Path
) -> None:
    """And a model that was trained on the demo's classes has the samples."""
    tiny_model.write(tmp_path / "model")
    config = artifact.ModelConfig(CLASS_NAMES, tiny_model.SIDE, "tiny", validation={"mAP": 0.8125})
    artifact.write_config(tmp_path / "model", config)
    with running(tmp_path, OBJECT_DETECTION_THRESHOLD="0.6") as endpoint:
        endpoint.wait_ready()
        page = ShownPage(browser, endpoint)
        assert page.texts("output") == ["0.60"]
        assert browser.evaluate("document.querySelector('#threshold').value") == "0.6"
        assert page.texts("#facts dd")[2] == "0.8125"
        for number in (1, 3):
            browser.click(f".thumb:nth-child({number})")
            page.wait_settled()
            width, height = (400, 300) if number < 3 else (300, 400)
            browser.wait_until(
                f"document.querySelector('figcaption .name').textContent === 'sample-{number}.jpg'"
                " && document.querySelector('.answer').checkVisibility()"
            )
            assert page.text("figcaption") == caption(f"sample-{number}.jpg", width, height)
            assert "predictions" in page.answer


def test_classes_are_counted_and_toggled(page: ShownPage, browser: Browser, tmp_path: Path) -> None:
    assert page.texts(".thumb") == []  # drawings of other classes
    page.choose(write_picture(tmp_path / "cells.png"))
    assert page.texts(SHOWN_TOGGLES) == ["red 3", "blue 1"]
    page.set_threshold(0.5)
    assert page.texts(SHOWN_TOGGLES) == ["red 2", "blue 1"]
    page.set_threshold(0.2)
    browser.click("label[for=class-1]")
    assert page.boxes == RED_BOXES
    assert page.texts(SHOWN_TOGGLES) == ["red 3", "blue 1"]
    browser.click("#none")
    assert page.boxes == []
    browser.click("label[for=class-0]")
    assert page.boxes == RED_BOXES
    browser.click("#all")
    assert page.boxes == ALL_BOXES


def test_a_detection_in_the_list_stands_out_in_the_image(
    page: ShownPage, browser: Browser, tmp_path: Path
) -> None:
    page.choose(write_picture(tmp_path / "cells.png"))
    browser.point_at(".found li:nth-child(3) .row")
    assert page.texts(".label.picked text") == page.texts(".label text")[1:2]
    browser.point_at("h1")
    assert page.texts(".picked") == []


def test_class_colors_are_those_of_the_predictions(
    page: ShownPage, browser: Browser, tmp_path: Path
) -> None:
    page.choose(write_picture(tmp_path / "cells.png"))
    colors = browser.evaluate("""[
      getComputedStyle(document.querySelector("#class-1 + label .dot")).backgroundColor,
      getComputedStyle(document.querySelector(".found .c1")).backgroundColor,
      getComputedStyle([...document.querySelectorAll(".label")]
        .find(label => label.textContent.startsWith("blue")).firstChild).fill,
    ]""")
    assert colors == [f"rgb{color_of(1)}"] * 3


def test_the_annotated_image_is_saved(page: ShownPage, browser: Browser, tmp_path: Path) -> None:
    page.choose(write_picture(tmp_path / "my.cells.jpg"))
    folder = tmp_path / "downloads"
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    browser.click(".download")
    file = folder / "my.cells-detections.png"
    for _ in range(100):
        browser.wait_until("new Promise(done => setTimeout(() => done(true), 50))")
        if file.is_file():
            break
    drawn = decode(file.read_bytes()).astype(np.int64)
    assert drawn.shape == (480, 640, 3)
    for class_id, (y, x) in enumerate([(120, 80), (300, 480)]):
        assert np.abs(drawn[y, x] - color_of(class_id)).max() < 8  # at the edge of a box
    assert np.abs(drawn - picture()).mean() < 12
    assert browser.problems == []


_ON_COPY = """addEventListener("copy", event => {
  const {value, selectionStart, selectionEnd} = event.target;
  window.copied = value.slice(selectionStart, selectionEnd);
})"""


def test_the_answer_and_the_request_are_copied(
    page: ShownPage, browser: Browser, tmp_path: Path
) -> None:
    file = write_picture(tmp_path / "it's $(here).png")
    page.choose(file)
    browser.evaluate(_ON_COPY)
    browser.click(".copy-json")
    assert page.text("#status") == "JSON copied."
    answer = json.loads(browser.evaluate("copied"))
    assert answer == page.answer
    browser.click(".copy-curl")
    assert page.text("#status") == "Command copied."
    command = browser.evaluate("copied")
    assert shlex.split(command)[-1] == f"@{file.name}"
    run = subprocess.run(
        ["bash", "-c", f"{command} --silent"], capture_output=True, cwd=tmp_path, check=True
    )
    assert json.loads(run.stdout) == answer
    assert browser.evaluate("document.activeElement.className") == "copy-curl button"


def test_an_image_without_detections(page: ShownPage, tmp_path: Path) -> None:
    black = tmp_path / "black.png"
    black.write_bytes(tiny_model.encoded(tiny_model.picture({})))
    page.choose(black)
    assert page.text("#status") == "0 of 0 detections shown."
    assert page.text(".nothing") == "The model found nothing."
    assert page.answer == {"predictions": []}
    assert (page.boxes, page.texts(SHOWN_TOGGLES)) == ([], [])


def test_dropped_images(page: ShownPage, browser: Browser, tmp_path: Path) -> None:
    files = [write_picture(tmp_path / f"dropped-{k}.png") for k in range(2)]
    shown = {step: page.text("#drop") for step in browser.drop_files(files, 640, 700)}
    assert shown == {"dragEnter": "", "dragOver": "Drop the images", "drop": ""}
    page.wait_settled(2)
    assert page.texts("figcaption .name") == ["dropped-0.png", "dropped-1.png"]
    assert page.boxes == sorted(ALL_BOXES * 2)


def test_a_pasted_image(page: ShownPage, browser: Browser, tmp_path: Path) -> None:
    data = base64.b64encode(write_picture(tmp_path / "cells.png").read_bytes()).decode()
    browser.evaluate(f"""(bytes => {{
      const clipboardData = new DataTransfer();
      clipboardData.items.add(new File([bytes], "image.png", {{type: "image/png"}}));
      document.body.dispatchEvent(new ClipboardEvent("paste", {{clipboardData, bubbles: true}}));
    }})(Uint8Array.from(atob("{data}"), one => one.charCodeAt(0)))""")
    page.wait_settled()
    assert page.text("figcaption") == caption("image.png", 640, 480)
    assert page.boxes == ALL_BOXES


def test_the_same_file_can_be_chosen_again(page: ShownPage, tmp_path: Path) -> None:
    file = tmp_path / "cells.png"
    file.write_bytes(tiny_model.encoded(tiny_model.picture({(0, 0): "red"})))
    page.choose(file)
    assert page.boxes == [cell_box(0, 0)]
    page.choose(write_picture(file))
    assert page.boxes == ALL_BOXES


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_images_with_an_orientation_tag_are_shown_as_the_model_sees_them(
    page: ShownPage, tmp_path: Path, suffix: str
) -> None:
    files = [tmp_path / f"phone-{tag}{suffix}" for tag in (3, 6, 7)]
    for tag, file in zip((3, 6, 7), files, strict=True):
        file.write_bytes(with_tag(tiny_model.encoded(stored(picture(), tag), suffix), tag))
    page.choose(*files)
    captions = [caption(file.name, 640, 480) for file in files]
    assert [one.strip() for one in page.texts(".card figcaption")] == captions
    assert page.boxes == sorted(ALL_BOXES * 3)
    assert page.answer["predictions"][2]["bbox"] == [160, 360, 320, 480]


def test_an_image_that_only_the_endpoint_can_read(page: ShownPage, tmp_path: Path) -> None:
    """As a JPEG whose coding the browser does not know: here it is one that refuses the first."""
    page.browser.evaluate("""(width => {
      Object.defineProperty(HTMLImageElement.prototype, "naturalWidth", {configurable: true, get() {
        Object.defineProperty(HTMLImageElement.prototype, "naturalWidth", width);
        return 0;
      }});
    })(Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "naturalWidth"))""")
    page.choose(write_picture(tmp_path / "scan.png"))
    assert "cannot show the image" in page.text(".unshowable")
    assert len(page.texts(".found .row")) == 4
    assert page.text(".download") == ""
    page.choose(write_picture(tmp_path / "cells.png"))
    assert page.text(".unshowable") == ""
    assert page.boxes == ALL_BOXES


def test_the_latest_images_count(page: ShownPage, browser: Browser, tmp_path: Path) -> None:
    """The answer to the first one never comes."""
    asked: list[dict[str, Any]] = []

    def handle(event: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        asked.append(event)
        return None if len(asked) == 1 else ("continueResponse", {})

    browser.intercept("/invocations", handle)
    try:
        browser.choose_files(
            [write_picture(tmp_path / "first.png"), write_picture(tmp_path / "waiting.png")],
            lambda: browser.click("label[for=file]"),
        )
        browser.wait_until("document.querySelector('#status').innerText === 'Asking the endpoint…'")
        page.choose(write_picture(tmp_path / "second.png"))
    finally:
        browser.let_through()
    assert len(asked) <= 2
    assert page.text("figcaption") == caption("second.png", 640, 480)
    assert page.boxes == ALL_BOXES


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
        assert page.texts(".found .name") == [MARKUP, names[1], MARKUP, MARKUP]
        assert page.text("figcaption").startswith("<img src=x onerror=window.hacked=1.png, 640")
        assert browser.evaluate("window.hacked") is None
        assert browser.evaluate("document.querySelectorAll('[onerror]').length") == 0
        assert browser.problems == []


def test_without_the_page(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path, OBJECT_DETECTION_PAGE="0") as endpoint:
        endpoint.wait_ready()
        assert endpoint.request("GET", "/")[:2] == (404, "application/json")
